// The inverse error function: a polynomial good to six digits, then one step of Halley's iteration, whose
// error is the cube of that. The step compares with erf in the middle and with erfc in the tails, so that
// nothing cancels.
#pragma once
#include "simd/math.h"

namespace chainrule::CR_ISA {

// erfinv(x) / x as a function of w = -log(1 - x * x): two fits, to a relative error of 1e-7 for w < 5 and of
// 2e-6, in sqrt(w), to the end of double precision.
template <class T> CR_INLINE Vec<T> erfinv_start(const Vec<T>& w) {
  const Vec<T> middle =
      poly(w - T(2.5), 1.50140942, 0.246640726, -0.0041777077, -0.00125370755, 0.000218602155,
           -4.39676853e-06, -3.52884904e-06, 3.43725891e-07, 2.85339141e-08);
  const Vec<T> tail =
      poly(sqrt(w) - T(4.168033988749895), 4.00944586, 1.00987046, 0.000860965483, -0.000771126506,
           0.000259261757, 2.15018717e-05, 1.17721875e-05, -5.49561262e-05, 1.78247763e-05);
  return where(w < T(5), middle, tail);
}

// Infinite at -1 and 1, NaN beyond.
template <class T> CR_MATH Vec<T> erfinv(const Vec<T>& x) {
  const Vec<T> a = abs(x), rest = 1 - a;
  const Vec<T> y = a * erfinv_start(-log(rest * (1 + a)));
  const Vec<T> error = where(a < T(0.5), erf(y) - a, rest - erfc(y));
  const Vec<T> step = error * (T(0.886226925452758) * exp(y * y));  // times sqrt(pi) / 2
  const Vec<T> better = y - step / (1 + y * step);
  return copysign(where(a == 1, Vec<T>(infinity<T>), better), x);
}

}  // namespace chainrule::CR_ISA
