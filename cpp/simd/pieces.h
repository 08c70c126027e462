// A function in eight pieces, a polynomial each, whose coefficients the lanes pick from tables: as cheap as one polynomial
// of that degree, with half of its instructions more to pick, where a single one would need three times the degree.
#pragma once
#include "simd/vec.h"

namespace chainrule::CR_ISA {

// Each polynomial is one of the distance from its piece's center. The centers are numbers near the middles where the
// function is nearly a float, so that the constant terms do not round.
template <int terms> struct Pieces { Table8 center, c[terms]; };
template <int terms>
CR_INLINE Vec<float> piecewise(const Vec<float>& a, const Vec<int32_t>& piece, const Pieces<terms>& p) {
  const Vec<float> t = a - pick(p.center, piece);
  Vec<float> y = pick(p.c[terms - 1], piece);
  for (int k = terms - 2; k >= 0; --k) y = fma(y, t, pick(p.c[k], piece));
  return y;
}
// The nearest whole number to x, in the low bits.
CR_INLINE Vec<int32_t> nearest(const Vec<float>& a, float per_unit) {
  return bits(fma(a, per_unit, Vec<float>(0x1.8p23f)));
}

}  // namespace chainrule::CR_ISA
