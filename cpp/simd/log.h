// Logarithms: x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), by integer operations on the bits; log and log1p of
// floats from a table of eight.
//
// Largest errors found, in units in the last place, over random bit patterns and densely around 1:
//            log   log2  log10  log1p
//   float    1.2   0.79  0.69   1.3
//   double   0.83  0.77  0.65   1.5
// logaddexp is as exact as the sum that defines it: to a few units in the last place of the larger argument.
#pragma once
#include "simd/exp.h"

namespace chainrule::CR_ISA {

template <class T>
struct LogParts {
  Vec<T> e, f;
};
CR_INLINE LogParts<float> log_parts(const Vec<float>& x0) {
  const Mask<float> tiny = x0 < 0x1p-126f;  // denormal (or not positive, which is put right later)
  const Vec<float> x = where(tiny, x0 * 0x1p25f, x0);
  const int32_t sqrt_half = 0x3f3504f3, one = 0x3f800000;
  const Vec<int32_t> i = bits(x) + (one - sqrt_half);
  const Vec<float> m = from_bits((i & 0x7fffff) + sqrt_half);
  const Vec<float> e = to_float(shift_right_logical(i, 23) & 0x1ff);
  return {e - where(tiny, 127 + 25, 127), m - 1};
}
CR_INLINE LogParts<double> log_parts(const Vec<double>& x0) {
  const Mask<double> tiny = x0 < 0x1p-1022;
  const Vec<double> x = where(tiny, x0 * 0x1p54, x0);
  const int64_t sqrt_half = 0x3fe6a09e667f3bcd, one = 0x3ff0000000000000;
  const Vec<int64_t> i = bits(x) + (one - sqrt_half);
  const Vec<double> m = from_bits((i & 0xfffffffffffff) + sqrt_half);
  // 2^52 + the biased exponent, by its bits: an integer to double conversion.
  const Vec<double> e = from_bits(shift_right_logical(i, 52) | int64_t(0x4330000000000000));
  return {e - where(tiny, 0x1p52 + (1023 + 54), 0x1p52 + 1023), m - 1};
}

// Half of the digits: the product of two such numbers is exact.
CR_INLINE Vec<float> upper_half(const Vec<float>& x) { return from_bits(bits(x) & ~0xfff); }
CR_INLINE Vec<double> upper_half(const Vec<double>& x) { return from_bits(bits(x) & ~int64_t(0x7ffffff)); }

// a b + c where the product and c nearly cancel, also on levels without a fused multiply-add.
CR_INLINE Vec<float> cancelling_fma(const Vec<float>& a, const Vec<float>& b, const Vec<float>& c) {
  if constexpr (has_fma) {
    return fma(a, b, c);
  } else {
    const Vec<float> ah = upper_half(a), bh = upper_half(b);
    return (ah * bh + c) + (ah * (b - bh) + (a - ah) * b);
  }
}

// log(1 + f) = f - f^2 / 2 + tail.
CR_INLINE Vec<float> log_tail(const Vec<float>& f, const Vec<float>& half_square) {
  const Vec<float> p = poly(f, 0x1.555548p-2f, -0x1.000006p-2f, 0x1.99a4b6p-3f, -0x1.555c48p-3f,
                            0x1.233764p-3f, -0x1.fc2290p-4f, 0x1.e6f12ep-4f, -0x1.de3a22p-4f, 0x1.14544ap-4f);
  return half_square * (2 * f) * p;
}
// With s = f / (2 + f), log(1 + f) = 2 s + s R(s^2) and 2 s = f - s f, so that the tail is s (f^2 / 2 + R).
CR_INLINE Vec<double> log_tail(const Vec<double>& f, const Vec<double>& half_square) {
  const Vec<double> s = f / (f + 2), z = s * s;
  const Vec<double> p =
      poly(z, 0x1.5555555555592p-1, 0x1.999999997fda3p-2, 0x1.24924941f24b2p-2, 0x1.c71c52085a48dp-3,
           0x1.74663f21e155fp-3, 0x1.39a1b48d2090bp-3, 0x1.2f05a49b8a34bp-3);
  return s * fma(z, p, half_square);
}

// The results that no formula gives: -inf at 0, NaN below, inf and NaN as they are.
template <class T>
CR_INLINE Vec<T> log_specials(const Vec<T>& x, const Vec<T>& y) {
  const Vec<T> special = where(x == 0, -infinity<T>, where(x < 0, not_a_number<T>, x));
  return where((x > 0) & (x < infinity<T>), y, special);
}

// In float: 2^e (1 + g) / c, with c from a table by the piece of [0.97, 1.94) in which x / 2^e is, and 1 in the piece
// around 1. The c are such that -log c ends in zeros, as does the high part of ln 2: e ln 2 - log c is exact.
inline constexpr Table8 log_inverse(1.0f, 0x1.c6022cp-1f, 0x1.99bcb4p-1f, 0x1.73fbf4p-1f, 0x1.5544cp-1f,
                                    0x1.3aa686p-1f, 0x1.23bf22p-1f, 0x1.11a4f4p-1f);
inline constexpr Table8 log_center(0.0f, 0x1.ec6p-4f, 0x1.c85p-3f, 0x1.4724p-2f, 0x1.9f64p-2f, 0x1.f28cp-2f,
                                   0x1.1ff8p-1f, 0x1.40c4p-1f);
// e and the piece, of the bits of a normal number.
struct LogPiece { Vec<int32_t> e, piece; };
CR_INLINE LogPiece log_piece(const Vec<int32_t>& bits_of_x) {
  const Vec<int32_t> i = bits_of_x - 0x3f780000;  // 0.96875
  return {i >> 23, shift_right_logical(i, 20)};
}
CR_INLINE Vec<float> log_sum(const Vec<float>& e, const LogPiece& l, const Vec<float>& g) {
  const Vec<float> p = poly(g, -0x1.ffffcep-2f, 0x1.5555cap-2f, -0x1.00cfa8p-2f, 0x1.98f3b4p-3f);
  const Vec<float> low = fma(g * g, p, e * 0x1.7f7d1cp-20f);
  return fma(e, 0x1.62e4p-1f, pick(log_center, l.piece)) + (g + low);
}
// 0 < x < infinity and not denormal.
CR_INLINE Mask<float> is_normal(const Vec<float>& x) { return (x >= 0x1p-126f) & (x < infinity<float>); }
CR_INLINE Vec<float> log_normal(const Vec<float>& x, const Vec<float>& e0) {
  const LogPiece l = log_piece(bits(x));
  const Vec<float> m = from_bits(bits(x) - (l.e << 23));
  return log_sum(to_float(l.e) - e0, l, cancelling_fma(m, pick(log_inverse, l.piece), -1));
}
CR_MATH Vec<float> log(const Vec<float>& x) {
  const Mask<float> normal = is_normal(x);
  if (all(normal)) return log_normal(x, 0);
  const Mask<float> tiny = x < 0x1p-126f;
  return log_specials(x, log_normal(where(tiny, x * 0x1p25f, x), where(tiny, 25, 0)));
}
CR_MATH Vec<double> log(const Vec<double>& x) {
  const LogParts<double> l = log_parts(x);
  const Vec<double> half_square = 0.5 * l.f * l.f;
  const Vec<double> low = fma(l.e, 0x1.cf79abc9e3b3ap-40, log_tail(l.f, half_square));
  return log_specials(x, fma(l.e, 0x1.62e42fefap-1, l.f - (half_square - low)));
}

// e log_b(2) + log_b(e) log(1 + f), with both constants in two parts, and log(1 + f) as high + low.
template <class T>
CR_INLINE Vec<T> log_base(const Vec<T>& x, T inv_high, T inv_low, T base2_high, T base2_low) {
  const LogParts<T> l = log_parts(x);
  const Vec<T> half_square = T(0.5) * l.f * l.f;
  const Vec<T> high = upper_half(l.f - half_square);
  const Vec<T> low = (l.f - high) - half_square + log_tail(l.f, half_square);
  const Vec<T> y = l.e * base2_high, part = high * inv_high;
  const Vec<T> rest = fma(low + high, Vec<T>(inv_low), fma(low, Vec<T>(inv_high), l.e * base2_low));
  const Vec<T> sum = y + part;  // |y| >= |part|, or y is zero
  return log_specials(x, sum + (rest + ((y - sum) + part)));
}
CR_MATH Vec<float> log2(const Vec<float>& x) { return log_base(x, 0x1.716p0f, -0x1.7135a8p-13f, 1.0f, 0.0f); }
CR_MATH Vec<double> log2(const Vec<double>& x) {
  return log_base(x, 0x1.7154768p0, -0x1.6a3e80f444178p-27, 1.0, 0.0);
}
CR_MATH Vec<float> log10(const Vec<float>& x) {
  return log_base(x, 0x1.bccp-2f, -0x1.09d5b2p-15f, 0x1.344p-2f, 0x1.3509f8p-18f);
}
CR_MATH Vec<double> log10(const Vec<double>& x) {
  return log_base(x, 0x1.bcb7b18p-2, -0x1.6c8d78e6acaa4p-29, 0x1.34413509f8p-2, -0x1.80433b83b532ap-44);
}

// e and the piece are those of u = 1 + x; but g is computed from x, with one rounding.
CR_MATH Vec<float> log1p(const Vec<float>& x) {
  const Vec<float> u = x + 1;
  const LogPiece l = log_piece(bits(u));
  const Vec<float> c = from_bits(bits(pick(log_inverse, l.piece)) - (l.e << 23));  // / 2^e
  const Vec<float> y = copysign(log_sum(to_float(l.e), l, cancelling_fma(x, c, c - 1)), x);
  const Mask<float> in_reach = (u > 0) & (u < 0x1p100f);  // beyond, c may be denormal
  if (all(in_reach)) return y;
  return log_specials(u, where(in_reach, y, log_normal(u, 0.0f)));
}
// log(u) with u = 1 + x rounded, and a correction for what the rounding lost.
CR_MATH Vec<double> log1p(const Vec<double>& x) {
  const Vec<double> u = x + 1, back = u - 1;
  const Vec<double> lost = (1 - (u - back)) + (x - back);
  const Vec<double> y = log(u);
  return where(x == 0, x, where((u > 0) & (u < infinity<double>), y + lost / u, y));
}

// log(e^a + e^b) = max + log1p(e^-|a - b|).
template <class T>
CR_INLINE Vec<T> logaddexp_any(const Vec<T>& a, const Vec<T>& b) {
  const Vec<T> m = max(a, b);
  const Vec<T> y = m + log1p(exp(-abs(a - b)));
  return where(abs(m) == infinity<T>, m, y);
}
CR_MATH Vec<float> logaddexp(const Vec<float>& a, const Vec<float>& b) { return logaddexp_any(a, b); }
CR_MATH Vec<double> logaddexp(const Vec<double>& a, const Vec<double>& b) { return logaddexp_any(a, b); }

}  // namespace chainrule::CR_ISA
