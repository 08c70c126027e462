// Pair<T>: two vectors, and every operation on the one followed by the same on the other. For functions that are one long
// chain, each operation waiting for the last: the machine sees only some sixty operations ahead, so that two chains side by
// side take less time than one after the other.
#pragma once
#include "simd/vec.h"

namespace chainrule::CR_ISA {

template <class T> struct Pair {
  Vec<T> a, b;
  CR_INLINE Pair(const Vec<T>& first, const Vec<T>& second) : a(first), b(second) {}
  CR_INLINE Pair(T s) : a(s), b(a) {}

#define CR_PAIR_OPERATOR(op) \
  friend CR_INLINE Pair operator op(const Pair& x, const Pair& y) { return {x.a op y.a, x.b op y.b}; }
  CR_PAIR_OPERATOR(+)
  CR_PAIR_OPERATOR(-)
  CR_PAIR_OPERATOR(*)
  CR_PAIR_OPERATOR(/)
#undef CR_PAIR_OPERATOR
  friend CR_INLINE Pair operator<<(const Pair& x, int count) { return {x.a << count, x.b << count}; }
  friend CR_INLINE Pair shift_right_logical(const Pair& x, int count) {
    return {shift_right_logical(x.a, count), shift_right_logical(x.b, count)};
  }
#define CR_PAIR_FUNCTION(f) \
  friend CR_INLINE Pair f(const Pair& x, const Pair& y) { return {f(x.a, y.a), f(x.b, y.b)}; }
  CR_PAIR_FUNCTION(greater)
  CR_PAIR_FUNCTION(lesser)
#undef CR_PAIR_FUNCTION
  friend CR_INLINE Pair fma(const Pair& x, const Pair& y, const Pair& z) {
    return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)};
  }
  friend CR_INLINE Pair abs(const Pair& x) { return {abs(x.a), abs(x.b)}; }
};

CR_INLINE Pair<int32_t> bits(const Pair<float>& x) { return {bits(x.a), bits(x.b)}; }
CR_INLINE Pair<float> from_bits(const Pair<int32_t>& x) { return {from_bits(x.a), from_bits(x.b)}; }
CR_INLINE Pair<float> pick(const Table8& table, const Pair<int32_t>& index) {
  return {pick(table, index.a), pick(table, index.b)};
}

}  // namespace chainrule::CR_ISA
