// exp and what is made of it. Branch-free: x = n ln 2 + r, a polynomial in r, and 2^n by a table and exponent bits. n is
// a multiple of 1/8 in float and an integer in double.
//
// Largest errors found, in units in the last place, over random bit patterns and the whole useful range:
//            exp   exp2  expm1  tanh  sigmoid  sinh  cosh
//   float    0.97  0.99  1.2    1.7   1.9      2.0   1.4
//   double   0.97  1.1   1.9    1.4   1.7      1.6   1.4
#pragma once
#include "simd/pieces.h"

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

// In float, n is a multiple of 1/8, so that a polynomial of three terms is enough: e^x = 2^n (1 + q). 2^n is an entry
// of a table, two numbers to be exact, and its exponent.
struct ExpFloat {
  Vec<float> n;
  Vec<int32_t> eighths;  // 8 n in the low bits
  Vec<float> r, q;
};
inline constexpr Table8 power_of_2(0x1.0p+0f, 0x1.f72b84p-1f, 0x1.f06fep-1f, 0x1.ebfdaep-1f, 0x1.ea09e6p-1f,
                                   0x1.eace54p-1f, 0x1.ee89fap-1f, 0x1.f5818ep-1f);
inline constexpr Table8 power_of_2_rest(0.0f, -0x1.9c0c22p-27f, 0x1.125002p-25f, -0x1.0a355p-25f,
                                        0x1.26055cp-26f, 0x1.67a1cap-28f, -0x1.f9c304p-27f, -0x1.a5217cp-28f);
// The sum of a float and 1.5 * 2^20 is a multiple of 1/8, and shows in its bits which.
CR_INLINE ExpFloat exp_reduced(const Vec<float>& x) {
  const Vec<float> magic = 0x1.8p20f, sum = fma(x, 0x1.715476p0f, magic), n = sum - magic;
  // The high part of ln 2 ends in zeros, so that n times it is exact.
  const Vec<float> r = fma(n, -0x1.0bfbe8p-15f, fma(n, -0x1.62ep-1f, x));
  return {n, bits(sum), r, Vec<float>()};
}
CR_INLINE ExpFloat exp_parts(const Vec<float>& x) {
  ExpFloat e = exp_reduced(x);
  e.q = fma(e.r, poly(e.r, 1.0f, 0x1.000888p-1f, 0x1.555c8ap-3f), pick(power_of_2_rest, e.eighths));
  return e;
}
// 2^(n + shift), where that is a normal number: the table's exponents have been lowered by what the bits of n that name
// the entry add.
template <int shift = 0>
CR_INLINE Vec<float> power(const ExpFloat& e) {
  return from_bits(bits(pick(power_of_2, e.eighths)) + ((e.eighths << 20) + (shift << 23)));
}

// x = n ln 2 + r, and p = e^r - 1.
struct ExpDouble { Vec<double> n, p; };
CR_INLINE Vec<double> expm1_reduced(const Vec<double>& r) {
  const Vec<double> q =
      poly(r, 0x1.0p-1, 0x1.555555555555bp-3, 0x1.5555555555503p-5, 0x1.111111110ec40p-7,
           0x1.6c16c16c304ddp-10, 0x1.a01a01b389e0ap-13, 0x1.a01a01368996dp-16, 0x1.71ddf002f8b50p-19,
           0x1.27e5b42d7ca5ap-22, 0x1.af6c1d05134dfp-26, 0x1.1e3d8a03d8e3bp-29);
  return fma(r * r, q, r);
}
CR_INLINE ExpDouble exp_parts(const Vec<double>& x) {
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

CR_MATH Vec<float> exp(const Vec<float>& x0) {
  const Vec<float> x = clamp_exponent(x0);
  const ExpFloat e = exp_parts(x);
#if defined(CR_SIMD_AVX512)
  const Vec<float> s = from_bits(bits(pick(power_of_2, e.eighths)) + (e.eighths << 20 & 0x700000));
  return scale(fma(s, e.q, s), e.n);
#else
  // 2^n in two factors, of which one is 2^64 or 2^-64, as x is positive or negative.
  const Vec<int32_t> down = shift_right_logical(bits(x) & ~0x7fffffff, 1);
  const Vec<float> s = from_bits(bits(power<-64>(e)) + down), far = from_bits(down ^ 0x5f800000);
  return fma(s, e.q, s) * far;
#endif
}
CR_MATH Vec<double> exp(const Vec<double>& x) {
  const ExpDouble e = exp_parts(clamp_exponent(x));
  return scale(e.p + 1, e.n);
}

// e^x times exp_unit, for x <= 0: for softmax, which divides by a sum of the same. Cheaper than exp, as nothing that counts
// leaves the normal numbers and the constants' tails are left out: the error is at most 1.2 + |x| / 20 units in the last
// place in float (half of what rounding makes of x, a difference), and that of exp in double.
template <class T>
inline constexpr T exp_unit = static_cast<T>(sizeof(T) == 4 ? 0x1p64 : 0x1p512);
CR_MATH Vec<float> exp_in_units(const Vec<float>& x0) {
  const Vec<float> x = greater(Vec<float>(-105), x0);
  const Vec<float> magic = 0x1.8p20f, sum = fma(x, 0x1.715476p0f, magic), n = sum - magic;
  ExpFloat e{n, bits(sum), fma(n, -0x1.62e43p-1f, x), Vec<float>()};
  e.q = e.r * poly(e.r, 1.0f, 0x1.000888p-1f, 0x1.555c8ap-3f);
  const Vec<float> s = power<64>(e);
  return fma(s, e.q, s);
}
CR_MATH Vec<double> exp_in_units(const Vec<double>& x) {
  const ExpDouble e = exp_parts(greater(Vec<double>(-750), x));
  const Vec<double> s = from_bits((to_int(e.n) + (1023 + 512)) << 52);
  return fma(s, e.p, s);
}

CR_MATH Vec<float> exp2(const Vec<float>& x0) {
  const Vec<float> x = greater(Vec<float>(-152), lesser(Vec<float>(129), x0)), n = round(x);
  const Vec<float> r = (x - n) * 0x1.62e43p-1f;
  const Vec<float> q =
      poly(r, 0x1.0000p-1f, 0x1.555554p-3f, 0x1.55548ep-5f, 0x1.111270p-7f, 0x1.6d8d50p-10f, 0x1.9f091ap-13f);
  return scale(fma(r * r, q, r) + 1, n);
}
CR_MATH Vec<double> exp2(const Vec<double>& x0) {
  const Vec<double> x = greater(Vec<double>(-1080), lesser(Vec<double>(1025), x0)), n = round(x);
  return scale(expm1_reduced((x - n) * 0x1.62e42fefa39efp-1) + 1, n);
}

// e^x - 1 = 2 (2^(n - 1) q + (2^(n - 1) - 1/2)).
CR_MATH Vec<float> expm1(const Vec<float>& x) {
  ExpFloat e = exp_reduced(greater(Vec<float>(-20), lesser(Vec<float>(89), x)));
  e.q =
      fma(e.r * e.r, poly(e.r, 0.5f, 0x1.555c28p-3f, 0x1.555a22p-5f), e.r) + pick(power_of_2_rest, e.eighths);
  const Vec<float> s = power<-1>(e);
  return where(abs(x) < 0x1p-26f, x, 2 * fma(s, e.q, s - 0.5f));
}
// e^x - 1 = 2^n (p + (1 - 2^-n)), without care for the sign of zero.
CR_MATH Vec<double> expm1(const Vec<double>& x) {
  const ExpDouble e = exp_parts(greater(Vec<double>(-44), lesser(Vec<double>(712), x)));
  return where(x == 0, x, scale(e.p + (1 - scale(Vec<double>(1), 0 - e.n)), e.n));
}

// tanh(a) / a, in pieces that end at 0.25, 0.75, 1.25, 2.25, 3.25, 5.25, 7.25 and where tanh rounds to 1: the bits of
// 0.75 + a tell which.
inline constexpr Pieces<8> tanh_pieces{
    Table8(0x1.be6a56p+0f, 0x1.624bdcp+1f, 0x1.115476p+2f, 0x1.928684p+2f, 0x1.0b8bep+3f, 0x1.f4d6a2p-4f,
           0x1.f8793ep-2f, 0x1.0186ecp+0f),
    {Table8(0x1.14306ep-1f, 0x1.6f0b6p-2f, 0x1.df59bcp-3f, 0x1.459f34p-3f, 0x1.e9e75ep-4f, 0x1.fd76a8p-1f,
            0x1.da3d78p-1f, 0x1.84e4aep-1f),
     Table8(-0x1.f24c74p-3f, -0x1.fb4482p-4f, -0x1.bf761ap-5f, -0x1.9e2528p-6f, -0x1.d4c2a6p-7f,
            -0x1.49ef4p-4f, -0x1.1783ccp-2f, -0x1.5d8b3ap-2f),
     Table8(0x1.3d17a2p-4f, 0x1.409574p-5f, 0x1.9d1abcp-7f, 0x1.073f3cp-8f, 0x1.c0861ap-10f, -0x1.4944cp-2f,
            -0x1.6f39dap-3f, 0x1.7c7b32p-6f),
     Table8(-0x1.0568p-7f, -0x1.56aef2p-7f, -0x1.72f3dp-9f, -0x1.4e144ap-11f, -0x1.ad2188p-13f,
            0x1.032acep-4f, 0x1.4d9beep-3f, 0x1.49eb78p-4f),
     Table8(-0x1.26b648p-7f, 0x1.060778p-9f, 0x1.3baafap-11f, 0x1.a5a3ap-14f, 0x1.9a5286p-16f, 0x1.f1ec8p-4f,
            0x1.6f4904p-8f, -0x1.b9751p-5f),
     Table8(0x1.dabffep-8f, -0x1.dd0e2ap-15f, -0x1.ead8e4p-14f, -0x1.0702b6p-16f, -0x1.882b84p-19f,
            -0x1.32996cp-5f, -0x1.faa6a6p-5f, 0x1.0c38e2p-7f),
     Table8(-0x1.764f6ep-9f, -0x1.900908p-13f, 0x1.40c43ep-16f, 0x1.4ed202p-19f, 0x1.82c9cp-22f,
            -0x1.6f12eap-5f, 0x1.384e06p-6f, 0x1.664844p-7f),
     Table8(0x1.d4f3fp-12f, 0x1.ce6e36p-14f, -0x1.fd462p-20f, -0x1.962404p-22f, -0x1.6ccd0ap-25f,
            0x1.4471f8p-6f, 0x1.d14832p-7f, -0x1.10aff8p-7f)}};
template <class V> CR_INLINE V tanh_float(const V& x) {
  const V bounded = lesser(V(9.4f), greater(V(-9.4f), x)), a = abs(bounded);
  return bounded * piecewise(a, shift_right_logical(bits(a + 0.75f), 22), tanh_pieces);
}
CR_MATH Vec<float> tanh(const Vec<float>& x) { return tanh_float(x); }
CR_INLINE Pair<float> tanh(const Pair<float>& x) { return tanh_float(x); }
// An odd polynomial up to 0.6, 1 - 2 / (1 + e^2|x|) from there.
CR_MATH Vec<double> tanh(const Vec<double>& x) {
  const Vec<double> a = abs(x), z = x * x, e = exp(lesser(Vec<double>(40), a + a));
  const Vec<double> near =
      fma(x * z,
          poly(z, -0x1.5555555555530p-2, 0x1.111111110e1c9p-3, -0x1.ba1ba1b781265p-5, 0x1.664f47f0191e6p-6,
               -0x1.226e2291888c6p-7, 0x1.d6d0c5d395edfp-9, -0x1.7d79d4e625367p-10, 0x1.33daf0d9709edp-11,
               -0x1.e32bdbb34bbd4p-13, 0x1.4ca6c63649480p-14, -0x1.202d520e0be84p-16),
          x);
  return copysign(where(a < 0.6, near, 1 - 2 / (e + 1)), x);  // near -0, the polynomial is 0
}

// c / (c + c e^-x) with a small c: small results keep their digits, and no intermediate one leaves the normal numbers. In
// float, c e^-x = s p, where p is a polynomial just below 1, whose rounding counts half, and s is c times a power of two
// a bit above, 2^(k / 8) / 0.935515: with that number, all eight entries of the table are within a tenth of a unit of a
// float, and so is the polynomial at 0. The sum then rounds once. It and p cost a result most where its digits begin as 2
// would, and the sum's begin there as c's: 1.53, at which rounding is two thirds of what it is at 1.
inline constexpr Table8 power_above(0x1.a30526p-64f, 0x1.a8f1d6p-64f, 0x1.b24d3cp-64f, 0x1.afb37p-64f,
                                    0x1.a84abep-64f, 0x1.a31bd2p-64f, 0x1.a05a3ep-64f, 0x1.a03e3ep-64f);
template <class V> CR_INLINE V sigmoid_float(const V& x0) {
  const V c = 0x1.88p-64f, x = greater(V(-105), lesser(V(40), x0));
  const V magic = 0x1.8p20f, sum = fma(x, V(-0x1.715476p0f), magic), n = sum - magic;
  const V r = fma(n, V(0x1.0bfbe8p-15f), fma(n, V(0x1.62ep-1f), x));
  const V s = from_bits(bits(pick(power_above, bits(sum))) + (bits(sum) << 20));
  const auto power = [&r](float first) CR_LAMBDA_INLINE {
    return poly(r, first, -0x1.defbf4p-1f, 0x1.df0f22p-2f, -0x1.3f4af6p-3f);
  };
  constexpr float first = 0x1.defbf2p-1f;
  if constexpr (has_fma) return c / fma(s, power(first), c);
  // Where the product is rounded, too, what it adds to the larger of s and c is kept small.
  return c / (greater(s, c) + fma(s, power(first - 1), lesser(s, c)));
}
CR_MATH Vec<float> sigmoid(const Vec<float>& x) { return sigmoid_float(x); }
CR_INLINE Pair<float> sigmoid(const Pair<float>& x) { return sigmoid_float(x); }
CR_MATH Vec<double> sigmoid(const Vec<double>& x) {
  const Vec<double> one = 0x1p-512;
  const ExpDouble e = exp_parts(greater(Vec<double>(-50), lesser(Vec<double>(750), -x)));
  const Vec<double> s = from_bits((to_int(e.n) + (1023 - 512)) << 52), sum = s + one, back = sum - one;
  const Vec<double> lost = (one - (sum - back)) + (s - back);
  return one / (sum + fma(s, e.p, lost));
}

// cosh = e/2 + 1/(2e); the half goes into the exponent, so that only a result that is too large overflows.
CR_INLINE Vec<float> half_exp(const Vec<float>& x) {  // x >= 0
  const ExpFloat e = exp_parts(lesser(Vec<float>(89.5f), x));
  const Vec<float> s = power<-3>(e);
  return 4 * fma(s, e.q, s);
}
CR_INLINE Vec<double> half_exp(const Vec<double>& x) {
  const ExpDouble e = exp_parts(clamp_exponent(x));
  return scale(e.p + 1, e.n - 1);
}
template <class T>
CR_INLINE Vec<T> cosh_any(const Vec<T>& x) {
  const Vec<T> e = half_exp(abs(x));
  return e + T(0.25) / e;
}
CR_MATH Vec<float> cosh(const Vec<float>& x) { return cosh_any(x); }
CR_MATH Vec<double> cosh(const Vec<double>& x) { return cosh_any(x); }

// sinh: an odd polynomial up to 1, (e - 1/e) / 2 from there.
CR_MATH Vec<float> sinh(const Vec<float>& x) {
  const Vec<float> z = x * x, e = half_exp(abs(x));
  const Vec<float> small =
      fma(x * z, poly(z, 0x1.555556p-3f, 0x1.111136p-7f, 0x1.9ffe14p-13f, 0x1.7a265ep-19f), x);
  return where(abs(x) < 1, small, copysign(e - 0.25f / e, x));
}
CR_MATH Vec<double> sinh(const Vec<double>& x) {
  const Vec<double> z = x * x, e = half_exp(abs(x));
  const Vec<double> small =
      fma(x * z,
          poly(z, 0x1.5555555555556p-3, 0x1.11111111110a1p-7, 0x1.a01a01a0291f2p-13, 0x1.71de3a45f7563p-19,
               0x1.ae64676688d68p-26, 0x1.611a3a15e3a69p-33, 0x1.b4cf7e402983bp-41),
          x);
  return where(abs(x) < 1, small, copysign(e - 0.25 / e, x));
}

}  // namespace chainrule::CR_ISA
