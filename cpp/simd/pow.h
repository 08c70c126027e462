// pow, hypot, rsqrt, fmod and remainder. pow(double) carries log x in two parts (about 2^-65); the functions on float go
// through double, where nothing needs care. fmod and remainder are exact.
//
// Largest errors found, in units in the last place, over random bit patterns and results in the whole range:
//            pow   hypot  rsqrt
//   float    0.51  0.51   1.5
//   double   1.1   1.1    1.5
#pragma once
#include "simd/erf.h"

namespace chainrule::CR_ISA {

// The cases that C99 lists, around |x|^y for finite positive |x|.
template <class T> CR_INLINE Vec<T> pow_specials(const Vec<T>& x, const Vec<T>& y, const Vec<T>& finite) {
  const Vec<T> a = abs(x);
  Vec<T> r = where(a == 0, where(y < 0, infinity<T>, 0), finite);
  r = where(a == infinity<T>, where(y < 0, 0, infinity<T>), r);
  const Mask<T> integer = floor(y) == y, odd = integer & (floor(y * T(0.5)) * 2 != y);
  const Mask<T> negative = copysign(Vec<T>(1), x) < 0;
  r = where(negative & odd, -r, r);
  r = where((x < 0) & ~integer & (a < infinity<T>), not_a_number<T>, r);
  r = where(isnan(x) | isnan(y), x + y, r);
  return where((x == 1) | (y == 0), 1, r);
}

CR_MATH Vec<double> pow(const Vec<double>& x, const Vec<double>& y) {
  // log |x| = e ln 2 + log(1 + f), and log(1 + f) = 2 s + s^3 (2/3 + s^2 Q(s^2)) with s = f / (2 + f) in two parts.
  const LogParts<double> l = log_parts(abs(x));
  const Vec<double> den = l.f + 2, den_low = l.f - (den - 2);
  const Vec<double> s = l.f / den, s_den = s * den;
  const Vec<double> s_low = ((l.f - s_den) - product_error(s, den, s_den) - s * den_low) / den;
  const Vec<double> z = s * s, z_low = product_error(s, s, z) + 2 * s * s_low;
  const Vec<double> q =
      fma(z,
          poly(z, 0x1.9999999999996p-2, 0x1.2492492493033p-2, 0x1.c71c71c58097dp-3, 0x1.745d18323daeep-3,
               0x1.3b1362bb4fc05p-3, 0x1.1120b4e057e7ep-3, 0x1.de338e43849dp-4, 0x1.eb1030e1c87cep-4),
          Vec<double>(0x1.5555555555555p-55));
  const Vec<double> cube = s * z, cube_low = product_error(s, z, cube) + (s * z_low + s_low * z);
  const double two_thirds = 0x1.5555555555555p-1;
  const Vec<double> t = cube * two_thirds;
  const Vec<double> t_low =
      product_error(cube, Vec<double>(two_thirds), t) + (cube_low * two_thirds + cube * q);
  const Vec<double> a = l.e * 0x1.62e42fefa38p-1;
  const Vec<double> h1 = a + 2 * s, l1 = (a - h1) + 2 * s;
  const Vec<double> h2 = h1 + t, l2 = (h1 - h2) + t;
  const Vec<double> low = l2 + (l1 + (fma(l.e, Vec<double>(0x1.ef35793c7673p-45), 2 * s_low) + t_low));
  const Vec<double> log_high = h2 + low, log_low = (h2 - log_high) + low;
  // e^(y log |x|); beyond the bounds, which keep the products finite, only 0, 1 and infinity are left.
  const Vec<double> k = greater(Vec<double>(-0x1p70), lesser(Vec<double>(0x1p70), y));
  const Vec<double> p = k * log_high;
  const Vec<double> p_low = product_error(k, log_high, p) + k * log_low;
  const Vec<double> c = clamp_exponent(p);
  const Vec<double> n = round(c * 0x1.71547652b82fep0);
  const Vec<double> r =
      fma(n, -0x1.cf79abc9e3b3ap-40, fma(n, -0x1.62e42fefap-1, c)) + where(c == p, p_low, 0);
  return pow_specials(x, y, scale(expm1_reduced(r) + 1, n));
}

CR_INLINE Vec<double> pow_for_float(const Vec<double>& x, const Vec<double>& y) {
  const Vec<double> k =
      greater(Vec<double>(-0x1p70), lesser(Vec<double>(0x1p70), y));  // finite: 0 * inf is not 0
  return exp(k * log(abs(x)));
}
CR_MATH Vec<float> pow(const Vec<float>& x, const Vec<float>& y) {
  const Wide a = widen(x), b = widen(y);
  return pow_specials(x, y, narrow(pow_for_float(a.low, b.low), pow_for_float(a.high, b.high)));
}

CR_INLINE Vec<float> rsqrt(const Vec<float>& x) { return 1 / sqrt(x); }
CR_INLINE Vec<double> rsqrt(const Vec<double>& x) { return 1 / sqrt(x); }

CR_MATH Vec<float> hypot(const Vec<float>& x, const Vec<float>& y) {
  const Wide a = widen(x), b = widen(y);
  const Vec<float> r =
      narrow(sqrt(fma(a.low, a.low, b.low * b.low)), sqrt(fma(a.high, a.high, b.high * b.high)));
  return where((abs(x) == infinity<float>) | (abs(y) == infinity<float>), infinity<float>, r);
}
CR_MATH Vec<double> hypot(const Vec<double>& x, const Vec<double>& y) {
  const Vec<double> m = greater(abs(x), abs(y));
  // By powers of two, so that no square overflows or loses digits.
  const Vec<double> down = where(m > 0x1p500, 0x1p-600, where(m < 0x1p-400, 0x1p600, 1));
  const Vec<double> up = where(m > 0x1p500, 0x1p600, where(m < 0x1p-400, 0x1p-600, 1));
  const Vec<double> a = x * down, b = y * down;
  const Vec<double> r = sqrt(fma(a, a, b * b)) * up;
  return where((abs(x) == infinity<double>) | (abs(y) == infinity<double>), infinity<double>, r);
}

// x mod y for one pair, by integer division of the significands: exact for every argument.
inline double fmod_exact(double x, double y) {
  const double ax = __builtin_fabs(x), ay = __builtin_fabs(y);
  if (!(ax < __builtin_inf()) || ay == 0 || ay != ay) return __builtin_nan("");
  if (ax < ay) return x;
  uint64_t bx, by;
  std::memcpy(&bx, &ax, sizeof bx);
  std::memcpy(&by, &ay, sizeof by);
  int ex = static_cast<int>(bx >> 52), ey = static_cast<int>(by >> 52);
  uint64_t mx = bx & 0xfffffffffffff, my = by & 0xfffffffffffff;
  if (ex != 0)
    mx |= 0x10000000000000;
  else
    ex = 1;
  if (ey != 0)
    my |= 0x10000000000000;
  else
    ey = 1;
  mx %= my;
  for (int shift = ex - ey; shift > 0; shift -= 11) mx = (mx << (shift < 11 ? shift : 11)) % my;
  // mx 2^(ey - 1075), in two factors, as the power may be below the smallest normal number.
  const int e = ey - 1075, half = e / 2;
  const uint64_t b1 = static_cast<uint64_t>(half + 1023) << 52, b2 = static_cast<uint64_t>(e - half + 1023)
                                                                     << 52;
  double f1, f2;
  std::memcpy(&f1, &b1, sizeof f1);
  std::memcpy(&f2, &b2, sizeof f2);
  return __builtin_copysign(static_cast<double>(mx) * f1 * f2, x);
}
template <class T> inline Vec<T> fmod_lanes(const Vec<T>& x, const Vec<T>& y) {
  T a[Vec<T>::lanes], b[Vec<T>::lanes];
  x.store(a);
  y.store(b);
  for (int i = 0; i < Vec<T>::lanes; ++i) a[i] = static_cast<T>(fmod_exact(a[i], b[i]));
  return Vec<T>::load(a);
}
template <class T> CR_INLINE Vec<T> fmod_any(const Vec<T>& x, const Vec<T>& y) {
  if constexpr (has_fma) {
    // With a quotient this small, x - q y is exact even when the rounded quotient is one too large.
    const Vec<T> a = abs(x), b = abs(y), q = trunc(a / b);
    if (all((q < (sizeof(T) == 4 ? T(0x1p22) : T(0x1p51))) & (b < infinity<T>))) {
      const Vec<T> r = fma(-q, b, a);
      return copysign(where(r < 0, r + b, r), x);
    }
  }
  return fmod_lanes(x, y);
}
CR_MATH Vec<float> fmod(const Vec<float>& x, const Vec<float>& y) { return fmod_any(x, y); }
CR_MATH Vec<double> fmod(const Vec<double>& x, const Vec<double>& y) { return fmod_any(x, y); }

// The remainder with the divisor's sign.
template <class T> CR_INLINE Vec<T> remainder_any(const Vec<T>& x, const Vec<T>& y) {
  const Vec<T> r = fmod(x, y);
  return where((r != 0) & ((r < 0) ^ (y < 0)), r + y, r);
}
CR_MATH Vec<float> remainder(const Vec<float>& x, const Vec<float>& y) { return remainder_any(x, y); }
CR_MATH Vec<double> remainder(const Vec<double>& x, const Vec<double>& y) { return remainder_any(x, y); }

}  // namespace chainrule::CR_ISA
