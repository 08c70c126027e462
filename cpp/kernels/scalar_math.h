// The table's functions on single numbers: integers (exact, wrapping, without the traps of the machine's division) and,
// for predicates and the scalar engine, doubles.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "kernels/isa.h"

namespace chainrule::CR_ISA {

template <class T>
concept Integer = std::is_integral_v<T>;

template <Integer T> constexpr T sign(T x) { return static_cast<T>((x > 0) - (x < 0)); }
template <Integer T> constexpr T abs(T x) { return x < 0 ? static_cast<T>(0 - static_cast<uint64_t>(x)) : x; }
template <Integer T> constexpr T max(T a, T b) { return a < b ? b : a; }
template <Integer T> constexpr T min(T a, T b) { return b < a ? b : a; }
// Of an integer and a parameter of the table: a whole number, or one beyond all of T's.
template <Integer T> constexpr T nearest(double b) {
  constexpr T lowest = T(-1) < T(0) ? T(uint64_t(1) << (8 * sizeof(T) - 1)) : T(0),
              highest = static_cast<T>(~lowest);
  return b <= static_cast<double>(lowest)    ? lowest
         : b >= static_cast<double>(highest) ? highest
                                             : static_cast<T>(b);
}
template <Integer T> constexpr T max(T a, double b) { return CR_ISA::max(a, nearest<T>(b)); }
template <Integer T> constexpr T min(T a, double b) { return CR_ISA::min(a, nearest<T>(b)); }
template <Integer T> constexpr T where(bool c, T a, T b) { return c ? a : b; }
template <Integer T>
  requires(!std::is_same_v<T, int>)
constexpr T where(bool c, int a, T b) {
  return c ? static_cast<T>(a) : b;
}

// The caller has made sure that no divisor is zero; the smallest number divided by -1 wraps. There is no branch that
// chance decides.
template <Integer T> constexpr T fmod(T a, T b) {
  return b == static_cast<T>(-1) && b < 0 ? T{0} : static_cast<T>(a % b);
}
template <Integer T> constexpr T remainder(T a, T b) {
  const T r = CR_ISA::fmod(a, b);
  return static_cast<T>(r + (b & static_cast<T>(-static_cast<int>((r != 0) & ((r < 0) != (b < 0))))));
}
template <Integer T> constexpr T floor_divide(T a, T b) {
  if (b < 0 && b == static_cast<T>(-1)) return static_cast<T>(0 - static_cast<uint64_t>(a));
  const T q = static_cast<T>(a / b);
  return static_cast<T>(q - ((a % b != 0) & ((a < 0) != (b < 0))));
}
// Bits that are shifted out are gone, by however many places.
template <Integer T> constexpr T shift_left(T a, T b) {
  using U = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  return b < 0 || b >= static_cast<T>(8 * sizeof(T)) ? T{0} : static_cast<T>(static_cast<U>(a) << b);
}
template <Integer T> constexpr T shift_right(T a, T b) {
  constexpr T most = static_cast<T>(8 * sizeof(T) - 1);
  if (std::is_unsigned_v<T> && b > most) return T{0};
  return static_cast<T>(a >> (b < 0 || b > most ? most : b));
}
// By squaring; negative exponents have been refused, but for the bases 1 and -1 they would be right.
template <Integer T> constexpr T pow(T a, T n) {
  uint64_t result = 1, base = static_cast<uint64_t>(a);
  for (uint64_t e = static_cast<uint64_t>(n); e != 0 && n > 0; e >>= 1, base *= base)
    if (e & 1) result *= base;
  return static_cast<T>(result);
}

inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
inline double where(bool c, double a, double b) { return c ? a : b; }
inline double sign(double x) { return (x > 0) - (x < 0); }
inline double zero(double) { return 0; }
inline double square(double x) { return x * x; }
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
using std::cos;
using std::exp;
using std::log;
using std::pow;
using std::sin;
using std::sqrt;
using std::tanh;

}  // namespace chainrule::CR_ISA
