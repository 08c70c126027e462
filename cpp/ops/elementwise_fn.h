// Makes a type of each line of the table: `exp_fn::value(x, p)` and `exp_fn::dx(g, x, y, p)`, generic in what x is: a
// virtual vector (kernels), a double (the scalar engine), a Tensor (recorded ops) or a Probe (what must be saved?).
// The types stand in CR_ISA's namespace, because each instruction set has its own instances of them.
#pragma once
#include <cstdint>
#include <limits>

#include "kernels/isa.h"
#include "kernels/scalar_math.h"

namespace chainrule {
// clang-format off
enum class Unary {
#define UNARY(name, ...) name,
#define UNARY_P(name, ...) name,
#define PREDICATE(name, ...) name,
#define BINARY(...)
#define COMPARE(...)
#define BITWISE(...)
#include "ops/elementwise_table.inc"
  count
};
enum class Binary {
#define UNARY(...)
#define UNARY_P(...)
#define PREDICATE(...)
#define BINARY(name, ...) name,
#define COMPARE(name, ...) name,
#define BITWISE(name, ...) name,
#include "ops/elementwise_table.inc"
  count
};
// clang-format on

// What is added to x: scale * a, scale * (a * b), scale * (a / b), or, from the nearer end, so that all of it gives a
// exactly, scale * (a - x) or b * (a - x).
enum class Term { Itself, Product, Quotient, Towards, TowardsEach };

}  // namespace chainrule

namespace chainrule::CR_ISA::fn {

inline constexpr double kLn2 = 0.69314718055994530942, kLn10 = 2.30258509299404568402;
inline constexpr double kTwoOverSqrtPi = 1.12837916709551257390, kHalfSqrtPi = 0.88622692545275801365;
inline constexpr double kSqrtHalf = 0.70710678118654752440, kInvSqrt2Pi = 0.39894228040143267794;
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The normal distribution's, and gelu's derivative; vectors of floats have cheaper ones (simd/normal.h).
template <class X> constexpr auto normal_cdf(const X& x) { return 0.5 * erfc(x * -kSqrtHalf); }
template <class X> constexpr auto gelu_slope(const X& x) {
  return normal_cdf(x) + x * (kInvSqrt2Pi * exp(-0.5 * (x * x)));
}

// gelu's tanh form, 0.5 x (1 + tanh(s)) with s = sqrt(2/pi) (x + 0.044715 x^3), equals x sigmoid(2 s).
// Hendrycks and Gimpel 2016, "Gaussian Error Linear Units".
inline constexpr double kGelu1 = 1.59576912160573071176, kGelu3 = kGelu1 * 0.044715;
template <class X> constexpr auto gelu_inner(const X& x) { return x * (kGelu1 + kGelu3 * (x * x)); }
template <class X> constexpr auto gelu_inner_dx(const X& x) { return kGelu1 + 3 * kGelu3 * (x * x); }

#define P1(a) [[maybe_unused]] const double a = p[0];
#define P2(a, b) [[maybe_unused]] const double a = p[0], b = p[1];

#define UNARY(name, kind, y_expr, dx_expr) UNARY_P(name, kind, , y_expr, dx_expr)
#define UNARY_P(name, kind, params, y_expr, dx_expr)                                               \
  struct name##_fn {                                                                               \
    template <class X> static constexpr auto value(const X& x, [[maybe_unused]] const double* p) { \
      params return y_expr;                                                                        \
    }                                                                                              \
    template <class X, class G>                                                                    \
    static constexpr auto dx([[maybe_unused]] const G& g, [[maybe_unused]] const X& x,             \
                             [[maybe_unused]] const X& y, [[maybe_unused]] const double* p) {      \
      params return dx_expr;                                                                       \
    }                                                                                              \
  };
#define PREDICATE(name, y_expr)                                                                  \
  struct name##_fn {                                                                             \
    template <class X> static constexpr auto value(const X& x, const double*) { return y_expr; } \
  };
#define BINARY(name, kind, y_expr, da_expr, db_expr)                                          \
  struct name##_fn {                                                                          \
    template <class X> static constexpr auto value(const X& a, const X& b) { return y_expr; } \
    template <class X, class G>                                                               \
    static constexpr auto da([[maybe_unused]] const G& g, [[maybe_unused]] const X& a,        \
                             [[maybe_unused]] const X& b, [[maybe_unused]] const X& y) {      \
      return da_expr;                                                                         \
    }                                                                                         \
    template <class X, class G>                                                               \
    static constexpr auto db([[maybe_unused]] const G& g, [[maybe_unused]] const X& a,        \
                             [[maybe_unused]] const X& b, [[maybe_unused]] const X& y) {      \
      return db_expr;                                                                         \
    }                                                                                         \
  };
#define COMPARE(name, y_expr)                                                                 \
  struct name##_fn {                                                                          \
    template <class X> static constexpr auto value(const X& a, const X& b) { return y_expr; } \
  };
#define BITWISE(name, y_expr) COMPARE(name, y_expr)
#include "ops/elementwise_table.inc"
#undef P1
#undef P2

}  // namespace chainrule::CR_ISA::fn
