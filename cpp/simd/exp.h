// exp and what is made of it. Branch-free: x = n ln 2 + r, a polynomial in |r| <= ln 2 / 2, and 2^n by
// exponent bits.
//
// Largest errors found, in units in the last place, over random bit patterns and the whole useful range:
//            exp   exp2  expm1  tanh  sigmoid  sinh  cosh
//   float    0.97  0.99  1.5    2.2   2.2      1.6   1.5
//   double   0.95  1.1   1.9    2.3   2.0      1.6   1.4
#pragma once
#include "simd/vec.h"

namespace chainrule::CR_ISA {

// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class V, class C>
CR_INLINE V poly(const V&, C c0) {
  return V(c0);
}
template <class V, class C, class... Rest>
CR_INLINE V poly(const V& x, C c0, Rest... rest) {
  return fma(poly(x, rest...), x, V(c0));
}

template <class T>
inline constexpr T infinity = static_cast<T>(__builtin_inf());
template <class T>
inline constexpr T not_a_number = static_cast<T>(__builtin_nan(""));

// y * 2^n, rounded once, for integral n and y in [0.25, 4): n within +-250 (float), +-2040 (double).
CR_INLINE Vec<float> scale(const Vec<float>& y, const Vec<float>& n) {
#if defined(CR_SIMD_AVX512)
  Vec<float> v;
  CR_REGISTERS(v.r[i] = native::scale(y.r[i], n.r[i]))
  return v;
#else
  // In two factors, as 2^n alone may not be representable.
  const Vec<int32_t> k = to_int(n), half = k >> 1;
  return y * from_bits((half + 127) << 23) * from_bits((k - half + 127) << 23);
#endif
}
CR_INLINE Vec<double> scale(const Vec<double>& y, const Vec<double>& n) {
#if defined(CR_SIMD_AVX512)
  Vec<double> v;
  CR_REGISTERS(v.r[i] = native::scale(y.r[i], n.r[i]))
  return v;
#else
  const Vec<double> half = floor(n * 0.5);
  return y * from_bits((to_int(half) + 1023) << 52) * from_bits((to_int(n - half) + 1023) << 52);
#endif
}

// x = n ln 2 + r, and p = e^r - 1.
template <class T>
struct ExpParts {
  Vec<T> n, p;
};
CR_INLINE Vec<float> expm1_reduced(const Vec<float>& r) {
  const Vec<float> q =
      poly(r, 0x1.0000p-1f, 0x1.555554p-3f, 0x1.55548ep-5f, 0x1.111270p-7f, 0x1.6d8d50p-10f, 0x1.9f091ap-13f);
  return fma(r * r, q, r);
}
CR_INLINE Vec<double> expm1_reduced(const Vec<double>& r) {
  const Vec<double> q =
      poly(r, 0x1.0p-1, 0x1.555555555555bp-3, 0x1.5555555555503p-5, 0x1.111111110ec40p-7,
           0x1.6c16c16c304ddp-10, 0x1.a01a01b389e0ap-13, 0x1.a01a01368996dp-16, 0x1.71ddf002f8b50p-19,
           0x1.27e5b42d7ca5ap-22, 0x1.af6c1d05134dfp-26, 0x1.1e3d8a03d8e3bp-29);
  return fma(r * r, q, r);
}
CR_INLINE ExpParts<float> exp_parts(const Vec<float>& x) {
  const Vec<float> n = round(x * 0x1.715476p0f);
  // The high part of ln 2 ends in zeros, so that n times it is exact.
  const Vec<float> r = fma(n, -0x1.7f7d1cp-20f, fma(n, -0x1.62e4p-1f, x));
  return {n, expm1_reduced(r)};
}
CR_INLINE ExpParts<double> exp_parts(const Vec<double>& x) {
  const Vec<double> n = round(x * 0x1.71547652b82fep0);
  const Vec<double> r = fma(n, -0x1.cf79abc9e3b3ap-40, fma(n, -0x1.62e42fefap-1, x));
  return {n, expm1_reduced(r)};
}

// Outside of these bounds the result no longer changes. Written so that NaN passes.
template <class T>
CR_INLINE Vec<T> clamp_exponent(const Vec<T>& x) {
  const T low = sizeof(T) == 4 ? -105 : -750, high = sizeof(T) == 4 ? 90 : 712;
  return greater(Vec<T>(low), lesser(Vec<T>(high), x));
}

template <class T>
CR_INLINE Vec<T> exp_any(const Vec<T>& x) {
  const ExpParts<T> e = exp_parts(clamp_exponent(x));
  return scale(e.p + 1, e.n);
}
CR_INLINE Vec<float> exp(const Vec<float>& x) { return exp_any(x); }
CR_INLINE Vec<double> exp(const Vec<double>& x) { return exp_any(x); }

template <class T>
CR_INLINE Vec<T> exp2_any(const Vec<T>& x0, T ln2) {
  const T low = sizeof(T) == 4 ? -152 : -1080, high = sizeof(T) == 4 ? 129 : 1025;
  const Vec<T> x = greater(Vec<T>(low), lesser(Vec<T>(high), x0));
  const Vec<T> n = round(x);
  return scale(expm1_reduced((x - n) * ln2) + 1, n);
}
CR_INLINE Vec<float> exp2(const Vec<float>& x) { return exp2_any(x, 0x1.62e43p-1f); }
CR_INLINE Vec<double> exp2(const Vec<double>& x) { return exp2_any(x, 0x1.62e42fefa39efp-1); }

// e^x - 1 = 2^n (p + (1 - 2^-n)), without care for the sign of zero.
template <class T>
CR_INLINE Vec<T> expm1_core(const Vec<T>& x) {
  const T low = sizeof(T) == 4 ? -20 : -44, high = sizeof(T) == 4 ? 90 : 712;
  const ExpParts<T> e = exp_parts(greater(Vec<T>(low), lesser(Vec<T>(high), x)));
  return scale(e.p + (1 - scale(Vec<T>(1), 0 - e.n)), e.n);
}
template <class T>
CR_INLINE Vec<T> expm1_any(const Vec<T>& x) {
  return where(x == 0, x, expm1_core(x));
}
CR_INLINE Vec<float> expm1(const Vec<float>& x) { return expm1_any(x); }
CR_INLINE Vec<double> expm1(const Vec<double>& x) { return expm1_any(x); }

// With e = e^(-2|x|): tanh |x| = (1 - e) / (1 + e) near zero, 1 - 2 e / (1 + e) from 0.55 on; one division,
// and the rounding errors of neither form are magnified.
template <class T>
CR_INLINE Vec<T> tanh_any(const Vec<T>& x) {
  const Vec<T> a = abs(x);
  const Mask<T> near = a < T(0.55);
  const ExpParts<T> parts = exp_parts(clamp_exponent(a * -2));
  const Vec<T> s = scale(parts.p + where(near, 1 - scale(Vec<T>(1), 0 - parts.n), 1), parts.n);  // e - 1 or e
  const Vec<T> q = s * where(near, -1, 2) / (s + where(near, 2, 1));
  return copysign(where(near, q, 1 - q), x);
}
CR_INLINE Vec<float> tanh(const Vec<float>& x) { return tanh_any(x); }
CR_INLINE Vec<double> tanh(const Vec<double>& x) { return tanh_any(x); }

// 1 / (1 + e^-x), and e^x / (1 + e^x) below zero, so that small results keep their digits.
template <class T>
CR_INLINE Vec<T> sigmoid_any(const Vec<T>& x) {
  const Vec<T> e = exp_any(-abs(x));
  return where(x >= 0, 1, e) / (e + 1);
}
CR_INLINE Vec<float> sigmoid(const Vec<float>& x) { return sigmoid_any(x); }
CR_INLINE Vec<double> sigmoid(const Vec<double>& x) { return sigmoid_any(x); }

// cosh = e/2 + 1/(2e); the half goes into the exponent, so that only a result that is too large overflows.
template <class T>
CR_INLINE Vec<T> half_exp(const Vec<T>& x) {
  const ExpParts<T> e = exp_parts(clamp_exponent(x));
  return scale(e.p + 1, e.n - 1);
}
template <class T>
CR_INLINE Vec<T> cosh_any(const Vec<T>& x) {
  const Vec<T> e = half_exp(abs(x));
  return e + T(0.25) / e;
}
CR_INLINE Vec<float> cosh(const Vec<float>& x) { return cosh_any(x); }
CR_INLINE Vec<double> cosh(const Vec<double>& x) { return cosh_any(x); }

// sinh: an odd polynomial up to 1, (e - 1/e) / 2 from there.
CR_INLINE Vec<float> sinh(const Vec<float>& x) {
  const Vec<float> z = x * x, e = half_exp(abs(x));
  const Vec<float> small =
      fma(x * z, poly(z, 0x1.555556p-3f, 0x1.111136p-7f, 0x1.9ffe14p-13f, 0x1.7a265ep-19f), x);
  return where(abs(x) < 1, small, copysign(e - 0.25f / e, x));
}
CR_INLINE Vec<double> sinh(const Vec<double>& x) {
  const Vec<double> z = x * x, e = half_exp(abs(x));
  const Vec<double> small =
      fma(x * z,
          poly(z, 0x1.5555555555556p-3, 0x1.11111111110a1p-7, 0x1.a01a01a0291f2p-13, 0x1.71de3a45f7563p-19,
               0x1.ae64676688d68p-26, 0x1.611a3a15e3a69p-33, 0x1.b4cf7e402983bp-41),
          x);
  return where(abs(x) < 1, small, copysign(e - 0.25 / e, x));
}

}  // namespace chainrule::CR_ISA
