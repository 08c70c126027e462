// erf and erfc. In float, erf(x) / x is a polynomial in each of eight pieces; in double, erf is an odd polynomial up to 1
// and from there 1 - e^-g with a polynomial g(x) = -log erfc(x). erfc keeps its digits down to the smallest numbers as
// e^(-x^2) F((x - k) / (x + k)) / (1 + 2 x), with a polynomial F.
//
// Largest errors found, in units in the last place, over random bit patterns and the useful range:
//            erf   erfc
//   float    1.8   4.0
//   double   1.2   3.9
#pragma once
#include "simd/log.h"
#include "simd/pieces.h"

namespace chainrule::CR_ISA {

// erf(a) / a, in pieces of 17/32.
inline constexpr Pieces<7> erf_pieces{
    Table8(0x1.9c62a2p-5f, 0x1.197786p-1f, 0x1.120902p+0f, 0x1.9b02b4p+0f, 0x1.121ab4p+1f, 0x1.53861ap+1f,
           0x1.95ffd6p+1f, 0x1.da708ep+1f),
    {Table8(0x1.209f0ap+0f, 0x1.063976p+0f, 0x1.a017c8p-1f, 0x1.3782dcp-1f, 0x1.dd01ecp-2f, 0x1.81fa86p-2f,
            0x1.42d5eap-2f, 0x1.144454p-2f),
     Table8(-0x1.35bf2ap-5f, -0x1.625ba4p-2f, -0x1.b237aap-2f, -0x1.4d6448p-2f, -0x1.b27faap-3f,
            -0x1.2242a4p-3f, -0x1.970fa6p-4f, -0x1.2a2312p-4f),
     Table8(-0x1.7f663ap-2f, -0x1.a3011p-3f, 0x1.3218a8p-5f, 0x1.df95ccp-4f, 0x1.66ad26p-4f, 0x1.ad944cp-5f,
            0x1.00464cp-5f, 0x1.41b848p-6f),
     Table8(0x1.7328bcp-6f, 0x1.6062aep-3f, 0x1.c02be4p-4f, 0x1.0bdbe2p-10f, -0x1.ae45dp-6f, -0x1.293802p-6f,
            -0x1.40022ep-7f, -0x1.5affc6p-8f),
     Table8(0x1.ca1e94p-4f, 0x1.488d9p-6f, -0x1.ea407ap-5f, -0x1.018cf4p-5f, 0x1.c3661cp-12f, 0x1.48157ep-8f,
            0x1.81803p-9f, 0x1.7533a6p-10f),
     Table8(-0x1.17ef04p-7f, -0x1.8c1b4cp-5f, -0x1.831c4ep-8f, 0x1.131e8ap-6f, 0x1.724ca6p-8f,
            -0x1.873e56p-12f, -0x1.98ed32p-11f, -0x1.8d8c1ap-12f),
     Table8(-0x1.8e1588p-6f, 0x1.2e777cp-9f, 0x1.fdbeb2p-7f, -0x1.9e8308p-11f, -0x1.d2244p-9f,
            -0x1.512c3cp-11f, 0x1.0feed6p-13f, 0x1.87671cp-14f)}};
CR_MATH Vec<float> erf(const Vec<float>& x) {
  const Vec<float> end = 3.96875f, bounded = lesser(end, greater(-end, x)),
                   a = abs(bounded);  // where erf rounds to 1
  return bounded * piecewise(a, nearest(a, 32.0f / 17), erf_pieces);
}

// erf(x) / x - 1 as a polynomial in x^2.
CR_INLINE Vec<float> erf_small(const Vec<float>& x) {
  const Vec<float> p = poly(x * x, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2cf8p-4f, -0x1.b7f90ap-6f,
                            0x1.54059cp-8f, -0x1.a3f66p-11f, 0x1.49686ep-14f);
  return fma(x, p, x);
}
CR_INLINE Vec<double> erf_small(const Vec<double>& x) {
  const Vec<double> p =
      poly(x * x, 0x1.06eba8214db69p-3, -0x1.812746b0379e6p-2, 0x1.ce2f21a042b2p-4, -0x1.b82ce3128499cp-6,
           0x1.565bcd0db02d6p-8, -0x1.c02db3d8ecf19p-11, 0x1.f9a321a116c0dp-14, -0x1.f4d1df38ac8cfp-17,
           0x1.b9def194dcf38p-20, -0x1.5f1d366b71022p-23, 0x1.f7a40e1a69b96p-27, -0x1.386ab2c80157dp-30,
           0x1.057980fee86e2p-34);
  return fma(x, p, x);
}
// -log erfc(x), 1 <= x <= 6.
CR_MATH Vec<double> minus_log_erfc(const Vec<double>& x) {
  return poly(x, 0x1.81c0094e8ebd6p-23, 0x1.20dd562e29774p0, 0x1.45f42b5e7b4d8p-1, 0x1.a4da4ca4f8eafp-4,
              -0x1.38938cc9f43adp-6, -0x1.2620f4395b5f3p-12, 0x1.cfbcde2e9cad6p-10, -0x1.502b310fbaeabp-11,
              0x1.781d9d966fc63p-15, 0x1.271a75469f6c9p-14, -0x1.79c43aa1369a9p-15, 0x1.150825b336d4ap-16,
              -0x1.225a1958b98b6p-18, 0x1.c897954ec7caap-21, -0x1.0de9126d5af43p-23, 0x1.d421b032c884p-27,
              -0x1.19e350eab9be6p-30, 0x1.a5c5290645099p-35, -0x1.275dfdbd97282p-40);
}
CR_MATH Vec<double> erf(const Vec<double>& x) {
  const Vec<double> a = abs(x), g = minus_log_erfc(lesser(Vec<double>(6), a));
  return where(a < 1, erf_small(x), copysign(1 - exp(-g), x));
}

// a * b - product, for product = a * b rounded: what the rounding lost.
template <class T> CR_INLINE Vec<T> product_error(const Vec<T>& a, const Vec<T>& b, const Vec<T>& product) {
  if constexpr (has_fma) {
    return fma(a, b, -product);
  } else {
    const Vec<T> ah = upper_half(a), al = a - ah, bh = upper_half(b), bl = b - bh;
    return ((ah * bh - product) + ah * bl + al * bh) + al * bl;
  }
}

// (1 + 2 x) e^(x^2) erfc(x) for x >= 1/2.
CR_MATH Vec<float> erfc_scaled(const Vec<float>& x) {
  const Vec<float> t = (x - 2) / (x + 2);
  return poly(t, 0x1.46e80ep0f, -0x1.7bf5dcp-4f, -0x1.5407f8p-3f, 0x1.4ff8d6p-3f, -0x1.bc1958p-5f,
              -0x1.065b98p-7f, 0x1.1bc04ep-7f, 0x1.2d45c4p-10f, -0x1.4bdb6ep-10f, -0x1.df1142p-13f);
}
CR_MATH Vec<double> erfc_scaled(const Vec<double>& x) {
  const Vec<double> t = (x - 3.75) / (x + 3.75);
  return poly(t, 0x1.3ccda0b5d5dc2p0, -0x1.1f367683f89a7p-3, 0x1.d5f2948159dd2p-9, 0x1.510169d0967dp-4,
              -0x1.bda9309a28a38p-4, 0x1.7a14188a9a477p-4, -0x1.e0d0fa6dfa9b6p-5, 0x1.d0b0037d9b002p-6,
              -0x1.3f603c3541255p-7, 0x1.cc3a0e46c96dp-10, 0x1.33fb26533515ap-12, -0x1.303fa1b2c3b78p-12,
              0x1.b143e8f3a2ddcp-15, 0x1.778b5b674fd15p-16, -0x1.80027dc40f4d6p-17, -0x1.055fbe463e39ep-20,
              0x1.d6320b59a5d75p-20, -0x1.e5fee0638c60dp-25, -0x1.14d60fd89addbp-22, 0x1.7cbb6ee64bc8dp-26,
              0x1.3ea919b66789bp-25, -0x1.840757ccc44f7p-29, -0x1.09f700cde076dp-28);
}
template <class T> CR_INLINE Vec<T> erfc_any(const Vec<T>& x) {
  // Past the bound e^(-x^2) is zero.
  const Vec<T> a = lesser(Vec<T>(sizeof(T) == 4 ? T(10.25) : T(27.375)), abs(x));
  const Vec<T> square = a * a, e = exp(-square);
  const Vec<T> tail =
      fma(e, -product_error(a, a, square), e) * (erfc_scaled(a) / fma(Vec<T>(2), a, Vec<T>(1)));
  return where(abs(x) < T(0.5), 1 - erf_small(x), where(x < 0, 2 - tail, tail));
}
CR_MATH Vec<float> erfc(const Vec<float>& x) { return erfc_any(x); }
CR_MATH Vec<double> erfc(const Vec<double>& x) { return erfc_any(x); }

}  // namespace chainrule::CR_ISA
