// sin, cos, tan and their inverses. x = n pi/2 + r: in three parts of pi/2 up to 2^20, beyond that lane by lane with
// the bits of 2/pi that matter (the reduction of Payne and Hanek), exact for every argument.
// sin and cos of floats up to 2^17 take x = n pi + r, in float.
//
// Largest errors found, in units in the last place, over random bit patterns and the useful range:
//            sin   cos   tan   asin  acos  atan  atan2
//   float    1.7   1.8   0.55  2.3   1.1   2.0   1.7
//   double   0.78  0.76  2.0   2.1   1.1   2.1   1.7
#pragma once
#include "simd/exp.h"

namespace chainrule::CR_ISA {

// x = n pi/2 + high + low; only n mod 4 matters.
struct HalfPi { Vec<double> n, high, low; };

inline HalfPi reduce_half_pi_large(const Vec<double>& x, HalfPi near) {
  static constexpr uint64_t two_over_pi[] = {0,
                                             0xa2f9836e4e441529,
                                             0xfc2757d1f534ddc0,
                                             0xdb6295993c439041,
                                             0xfe5163abdebbc561,
                                             0xb7246e3a424dd2e0,
                                             0x06492eea09d1921c,
                                             0xfe1deb1cb129a73e,
                                             0xe88235f52ebb4484,
                                             0xe99c7026b45f7e41,
                                             0x3991d639835339f4,
                                             0x9c845f8bbdf9283b,
                                             0x1ff897ffde05980f,
                                             0xef2f118b5a0a6d1f,
                                             0x6d367ecf27cb09b7,
                                             0x4f463f669e5fea2d,
                                             0x7527bac7ebe5f17b,
                                             0x3d0739f78a5292ea,
                                             0x6bfb5fb11f8d5d08,
                                             0x56033046fc7b6bab};
  constexpr int lanes = Vec<double>::lanes;
  double xs[lanes], n[lanes], high[lanes], low[lanes];
  x.store(xs);
  near.n.store(n);
  near.high.store(high);
  near.low.store(low);
  for (int lane = 0; lane < lanes; ++lane) {
    const double a = __builtin_fabs(xs[lane]);
    if (!(a > 0x1p20)) continue;
    if (!(a < __builtin_inf())) {
      n[lane] = 0;
      high[lane] = low[lane] = a - a;  // NaN
      continue;
    }
    uint64_t b;
    std::memcpy(&b, &a, sizeof b);
    const uint64_t m = (b & 0xfffffffffffff) | 0x10000000000000;
    const int e = static_cast<int>(b >> 52) - 1075;  // a = m 2^e, e >= -32
    // Of 2/pi, shifted by e, the bits above the units times m are multiples of four turns: keep 192 from there.
    const int start = e + 62, word = start / 64,
              shift = start % 64;  // 2/pi has 64 leading zero bits in the table
    uint64_t w[3];
    for (int k = 0; k < 3; ++k)
      w[k] = shift == 0 ? two_over_pi[word + k]
                        : (two_over_pi[word + k] << shift) | (two_over_pi[word + k + 1] >> (64 - shift));
    // a * 2/pi = m * (w0 w1 w2) / 2^(62 + 128) modulo 4; the product modulo 2^192.
    const unsigned __int128 p2 = static_cast<unsigned __int128>(m) * w[2];
    const unsigned __int128 p1 = static_cast<unsigned __int128>(m) * w[1] + static_cast<uint64_t>(p2 >> 64);
    uint64_t top = m * w[0] + static_cast<uint64_t>(p1 >> 64), middle = static_cast<uint64_t>(p1);
    uint64_t bottom = static_cast<uint64_t>(p2);
    int quadrant = static_cast<int>(top >> 62);
    top = (top << 2) | (middle >> 62);  // the fraction of a quadrant, in units of 2^-64
    middle = (middle << 2) | (bottom >> 62);
    bottom <<= 2;
    const bool up = top >> 63;  // past the half: count down from the next multiple
    if (up) {
      ++quadrant;
      top = ~top, middle = ~middle, bottom = ~bottom;  // the negative, less one unit of 2^-192
    }
    // The fraction in 106 bits as high + low, then times pi/2.
    int zeros = 0;
    if (top == 0) top = middle, middle = bottom, bottom = 0, zeros = 64;
    if (top != 0) {
      const int s = __builtin_clzll(top);
      if (s != 0) top = (top << s) | (middle >> (64 - s)), middle = (middle << s) | (bottom >> (64 - s));
      zeros += s;
    }
    const auto scaled = [](uint64_t mantissa, int exponent) CR_LAMBDA_INLINE {
      double factor;
      const uint64_t factor_bits = static_cast<uint64_t>(exponent + 1023) << 52;
      std::memcpy(&factor, &factor_bits, sizeof factor);
      return static_cast<double>(mantissa) * factor;
    };
    const double fraction_high = scaled(top >> 11, -53 - zeros);
    const double fraction_low = scaled(((top & 0x7ff) << 42) | (middle >> 22), -106 - zeros);
    const double pi_high = 0x1.921fb54442d18p0, pi_low = 0x1.1a62633145c07p-54;
    // The product of two 53-bit numbers in two parts, without a fused multiply-add: split into halves.
    const double split = 0x1p27 + 1;
    const double c1 = split * fraction_high, f1 = c1 - (c1 - fraction_high), f2 = fraction_high - f1;
    const double c2 = split * pi_high, g1 = c2 - (c2 - pi_high), g2 = pi_high - g1;
    const double product = fraction_high * pi_high;
    const double error = ((f1 * g1 - product) + f1 * g2 + f2 * g1) + f2 * g2;
    const double rest = error + (fraction_high * pi_low + fraction_low * pi_high);
    double h = product + rest, l = (product - h) + rest;
    if (up) h = -h, l = -l;
    if (xs[lane] < 0) h = -h, l = -l, quadrant = -quadrant;
    n[lane] = quadrant & 3;
    high[lane] = h;
    low[lane] = l;
  }
  return {Vec<double>::load(n), Vec<double>::load(high), Vec<double>::load(low)};
}

CR_INLINE HalfPi reduce_half_pi(const Vec<double>& x) {
  const Vec<double> n = round(x * 0x1.45f306dc9c883p-1);
  // The first two parts have 33 bits each, so that n times them is exact up to 2^20.
  const Vec<double> a = x - n * 0x1.921fb544p0, b = n * 0x1.0b4611a6p-34, c = n * 0x1.3198a2e037073p-69;
  const Vec<double> d = a - b, lost = (a - d) - b;
  const Vec<double> high = d - (c - lost), low = (d - high) - (c - lost);
  HalfPi r{n, high, low};
  const Mask<double> near = abs(x) <= 0x1p20;
  if (!all(near)) r = reduce_half_pi_large(x, r);
  return r;
}

// sin and cos of r = high + low, |r| <= pi/4.
CR_INLINE Vec<double> sin_reduced(const Vec<double>& high, const Vec<double>& low) {
  const Vec<double> z = high * high;
  const Vec<double> p =
      poly(z, -0x1.5555555555555p-3, 0x1.111111111110bp-7, -0x1.a01a01a018ab4p-13, 0x1.71de3a53356c6p-19,
           -0x1.ae645292e3a8ap-26, 0x1.61208f313f1b5p-33, -0x1.aaa37e729b9dcp-41);
  return high + fma(high * z, p, low * (1 - z * 0.5));
}
CR_INLINE Vec<double> cos_reduced(const Vec<double>& high, const Vec<double>& low) {
  const Vec<double> z = high * high, half = z * 0.5, one = 1 - half;
  const Vec<double> p = poly(z, 0x1.555555555554cp-5, -0x1.6c16c16c15144p-10, 0x1.a01a019cabc45p-16,
                             -0x1.27e4f8056b521p-22, 0x1.1ee9e8b4f37e8p-29, -0x1.8face354c40bcp-37);
  return one + (fma(z * z, p, (1 - one) - half) - high * low);
}
CR_INLINE Vec<float> sin_reduced(const Vec<float>& r) {
  const Vec<float> z = r * r;
  return fma(r * z, poly(z, -0x1.555556p-3f, 0x1.111108p-7f, -0x1.a00f94p-13f, 0x1.6cd602p-19f), r);
}
CR_INLINE Vec<float> cos_reduced(const Vec<float>& r) {
  const Vec<float> z = r * r, half = z * 0.5f, one = 1 - half;
  return one + fma(z * z, poly(z, 0x1.555556p-5f, -0x1.6c16b8p-10f, 0x1.a01118p-16f, -0x1.242904p-22f),
                   (1 - one) - half);
}

// Bits 0 and 1 of the quadrant.
CR_INLINE Mask<double> bit0(const Vec<double>& n) {
  return ((to_int(n) & int64_t(1)) != int64_t(0)).as<double>();
}
CR_INLINE Mask<double> bit1(const Vec<double>& n) {
  return ((to_int(n) & int64_t(2)) != int64_t(0)).as<double>();
}
CR_INLINE Mask<float> bit0(const Vec<float>& n) { return ((to_int(n) & 1) != 0).as<float>(); }
CR_INLINE Mask<float> bit1(const Vec<float>& n) { return ((to_int(n) & 2) != 0).as<float>(); }

// Quadrant n of a sine: s, c, -s, -c.
template <class T> CR_INLINE Vec<T> in_quadrant(const Vec<T>& n, const Vec<T>& s, const Vec<T>& c) {
  const Vec<T> y = where(bit0(n), c, s);
  return where(bit1(n), -y, y);
}

CR_MATH Vec<double> sin(const Vec<double>& x) {
  const HalfPi q = reduce_half_pi(x);
  return where(x == 0, x, in_quadrant(q.n, sin_reduced(q.high, q.low), cos_reduced(q.high, q.low)));
}
CR_MATH Vec<double> cos(const Vec<double>& x) {
  const HalfPi q = reduce_half_pi(x);
  return in_quadrant(q.n + 1, sin_reduced(q.high, q.low), cos_reduced(q.high, q.low));
}
CR_MATH Vec<double> tan(const Vec<double>& x) {
  const HalfPi q = reduce_half_pi(x);
  const Vec<double> s = sin_reduced(q.high, q.low), c = cos_reduced(q.high, q.low);
  const Mask<double> odd = bit0(q.n);
  return where(x == 0, x, where(odd, -c, s) / where(odd, s, c));
}

// A float's argument is reduced in double, where one correction is enough.
CR_INLINE HalfPi reduce_half_pi_short(const Vec<double>& x) {
  const Vec<double> n = round(x * 0x1.45f306dc9c883p-1);
  HalfPi r{n, (x - n * 0x1.921fb544p0) - n * 0x1.0b4611a626331p-34, 0};
  const Mask<double> near = abs(x) <= 0x1p20;
  if (!all(near)) r = reduce_half_pi_large(x, r);
  return r;
}
// sin(x) for x - n pi = r + low with |r| <= pi/2, but for the sign, as r (1 + w) + low. The first term of w = -r^2 / 6 + ...
// is split, so that the larger part is exact. On levels with a fused multiply-add and for |x| <= 2^17, n times the first
// part of pi cancels exactly, and of r only one rounding is left; the third part matters where r is small.
CR_INLINE Vec<float> sin_half_turn(const Vec<float>& x, const Vec<float>& n) {
  const Vec<float> r = fma(n, 0x1.777a5cp-24f, fma(n, -0x1.921fb6p1f, x)), low = n * 0x1.ee59dap-49f;
  const Vec<float> z = r * r;
  const Vec<float> w =
      fma(z, poly(z, -0x1.555510p-5f, 0x1.110db2p-7f, -0x1.9f40bap-13f, 0x1.5b6546p-19f), z * -0.125f);
  return r + fma(r, w, low);
}
// sin(x + turns pi/2) for arguments out of that reach, by way of double.
inline Vec<float> sin_far(const Vec<float>& x, double turns) {
  const Wide w = widen(x);
  const HalfPi a = reduce_half_pi_short(w.low), b = reduce_half_pi_short(w.high);
  const Vec<float> r = narrow(a.high, b.high), n = narrow(a.n + turns, b.n + turns);
  return in_quadrant(n, sin_reduced(r), cos_reduced(r));
}
CR_INLINE Vec<float> near_or_far(const Vec<float>& x, const Vec<float>& a, const Vec<float>& y,
                                 double turns) {
  const Mask<float> near = a <= (has_fma ? 0x1p17f : 0.0f);
  return all(near) ? y : where(near, y, sin_far(x, turns));
}
CR_MATH Vec<float> sin(const Vec<float>& x) {
  const Vec<float> a = abs(x), magic = 0x1.8p23f, sum = fma(a, 0x1.45f306p-2f, magic);
  const Vec<int32_t> sign = (bits(sum) << 31) ^ (bits(a) ^ bits(x));
  const Vec<float> y = from_bits(bits(sin_half_turn(a, sum - magic)) ^ sign);
  return near_or_far(x, a, y, 0);
}
// cos(x) = sin(x + pi/2): n is a whole number and a half.
CR_MATH Vec<float> cos(const Vec<float>& x) {
  const Vec<float> magic = 0x1.8p23f, sum = fma(x, 0x1.45f306p-2f, 0.5f) + magic;
  const Vec<float> y = from_bits(bits(sin_half_turn(x, (sum - magic) - 0.5f)) ^ (bits(sum) << 31));
  return near_or_far(x, abs(x), y, 1);
}
CR_INLINE Vec<double> tan_for_float(const Vec<double>& x) {
  const HalfPi q = reduce_half_pi_short(x);
  const Vec<double> z = q.high * q.high;
  const Vec<double> s =
      fma(q.high * z,
          poly(z, -0x1.5555555555549p-3, 0x1.111111110f844p-7, -0x1.a01a019c0a59ep-13, 0x1.71de3571161bap-19),
          q.high);
  const Vec<double> c = fma(
      z * z,
      poly(z, 0x1.555555555554cp-5, -0x1.6c16c16c15144p-10, 0x1.a01a019cabc45p-16, -0x1.27e4f8056b521p-22),
      1 - 0.5 * z);
  const Mask<double> odd = bit0(q.n);
  return where(odd, -c, s) / where(odd, s, c);
}
CR_MATH Vec<float> tan(const Vec<float>& x) {
  const Wide w = widen(x);
  return where(x == 0, x, narrow(tan_for_float(w.low), tan_for_float(w.high)));
}

// pi/2 and pi/4 in two parts; three times the high part of pi/4 is exact.
template <class T> struct Pi;
template <> struct Pi<float> {
  static constexpr float half_high = 0x1.921fb6p0f, half_low = -0x1.777a5cp-25f;
  static constexpr float quarter_high = 0x1.921fbp-1f, quarter_low = 0x1.5110b40000000p-23f;
};
template <> struct Pi<double> {
  static constexpr double half_high = 0x1.921fb54442d18p0, half_low = 0x1.1a62633145c07p-54;
  static constexpr double quarter_high = 0x1.921fb54442d18p-1, quarter_low = 0x1.1a62633145c07p-55;
};

// asin t = t + t^3 P(t^2) up to 1/2; from there asin a = pi/2 - 2 asin sqrt((1 - a) / 2).
CR_INLINE Vec<float> asin_poly(const Vec<float>& z) {
  return poly(z, 0x1.55554cp-3f, 0x1.33388ep-4f, 0x1.6cac32p-5f, 0x1.04a6cp-5f, 0x1.d7ebaep-7f,
              0x1.33be26p-5f);
}
CR_INLINE Vec<double> asin_poly(const Vec<double>& z) {
  return poly(z, 0x1.5555555555578p-3, 0x1.333333332df96p-4, 0x1.6db6db7225078p-5, 0x1.f1c71a8e1eaf6p-6,
              0x1.6e8bdf9cfb19cp-6, 0x1.1c49e35a5018ep-6, 0x1.ca20c0346702ep-7, 0x1.757be31255672p-7,
              0x1.6171d4dca65dap-7, 0x1.e2dbf968008f7p-9, 0x1.648a80d4667c7p-6, -0x1.5949f930079bbp-6,
              0x1.0bad671226d2ap-5);
}
template <class T> CR_INLINE Vec<T> asin_any(const Vec<T>& x) {
  const Vec<T> a = abs(x);
  const Mask<T> far = a > T(0.5);
  const Vec<T> z = where(far, (1 - a) * T(0.5), a * a), t = where(far, sqrt(z), a);
  const Vec<T> p = fma(t * z, asin_poly(z), t);
  return copysign(where(far, Pi<T>::half_high - (2 * p - Pi<T>::half_low), p), x);
}
CR_MATH Vec<float> asin(const Vec<float>& x) { return asin_any(x); }
CR_MATH Vec<double> asin(const Vec<double>& x) { return asin_any(x); }
template <class T> CR_INLINE Vec<T> acos_any(const Vec<T>& x) {
  const Vec<T> a = abs(x);
  const Mask<T> far = a > T(0.5);
  const Vec<T> z = where(far, (1 - a) * T(0.5), a * a), t = where(far, sqrt(z), x);
  const Vec<T> p = fma(t * z, asin_poly(z), t);
  const Vec<T> middle = Pi<T>::half_high - (p - Pi<T>::half_low);
  const Vec<T> left = 2 * Pi<T>::half_high - (2 * p - 2 * Pi<T>::half_low);
  return where(far, where(x > 0, 2 * p, left), middle);
}
CR_MATH Vec<float> acos(const Vec<float>& x) { return acos_any(x); }
CR_MATH Vec<double> acos(const Vec<double>& x) { return acos_any(x); }

// The angle of (den, num), 0 <= num <= den, as k pi/4 + p with k in {0, 1}: t + t^3 P(t^2) for t up to tan(pi/8).
CR_INLINE Vec<float> atan_poly(const Vec<float>& z) {
  return poly(z, -0x1.55554ap-2f, 0x1.9991aep-3f, -0x1.23b6b2p-3f, 0x1.b201aep-4f, -0x1.f25348p-5f);
}
CR_INLINE Vec<double> atan_poly(const Vec<double>& z) {
  return poly(z, -0x1.555555555553dp-2, 0x1.99999999958e6p-3, -0x1.24924922b0fdcp-3, 0x1.c71c70e7921ebp-4,
              -0x1.745cf908f5a81p-4, 0x1.3b111c3841cedp-4, -0x1.10ebdb60e9c4ep-4, 0x1.df1142ff03943p-5,
              -0x1.9cdb7171f18c6p-5, 0x1.37eb4a4493f26p-5, -0x1.2598a88a194c3p-6);
}
template <class T> struct Angle { Vec<T> k, p; };
template <class T> CR_INLINE Angle<T> angle_in_octant(const Vec<T>& num, const Vec<T>& den) {
  const Mask<T> far = num > den * T(0.41421356237309503);
  const Vec<T> t = where(far, num - den, num) / where(far, num + den, den), z = t * t;
  return {where(far, 1, 0), fma(t * z, atan_poly(z), t)};
}
template <class T> CR_INLINE Vec<T> angle(const Vec<T>& k, const Vec<T>& p) {
  return k * Pi<T>::quarter_high + (p + k * Pi<T>::quarter_low);
}
template <class T> CR_INLINE Vec<T> atan_any(const Vec<T>& x) {
  const Vec<T> a = abs(x);
  const Mask<T> steep = a > 1;
  const Angle<T> o = angle_in_octant(where(steep, 1, a), where(steep, a, 1));
  return copysign(where(isnan(x), x, angle(where(steep, 2 - o.k, o.k), where(steep, -o.p, o.p))), x);
}
CR_MATH Vec<float> atan(const Vec<float>& x) { return atan_any(x); }
CR_MATH Vec<double> atan(const Vec<double>& x) { return atan_any(x); }

template <class T> CR_INLINE Vec<T> atan2_any(const Vec<T>& y, const Vec<T>& x) {
  const T huge = sizeof(T) == 4 ? T(0x1p120) : T(0x1p1000);
  const Vec<T> ay = abs(y), ax = abs(x);
  const Mask<T> steep = ay > ax;
  Vec<T> num = where(steep, ax, ay), den = where(steep, ay, ax);
  const Vec<T> down = where(den > huge, T(0x1p-10), 1);  // so that their sum does not overflow
  num = num * down, den = den * down;
  const Mask<T> degenerate = (num == den) & ((den == 0) | (den == infinity<T>));
  num = where(degenerate, where(den == 0, 0, 1), num);
  den = where(degenerate, 1, den);
  const Angle<T> o = angle_in_octant(num, den);
  Vec<T> k = where(steep, 2 - o.k, o.k), p = where(steep, -o.p, o.p);
  const Mask<T> behind = copysign(Vec<T>(1), x) < 0;
  k = where(behind, 4 - k, k), p = where(behind, -p, p);
  return where(isnan(x) | isnan(y), x + y, copysign(angle(k, p), y));
}
CR_MATH Vec<float> atan2(const Vec<float>& y, const Vec<float>& x) { return atan2_any(y, x); }
CR_MATH Vec<double> atan2(const Vec<double>& y, const Vec<double>& x) { return atan2_any(y, x); }

}  // namespace chainrule::CR_ISA
