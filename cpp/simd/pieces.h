// A function in eight pieces, a polynomial each, whose coefficients the lanes pick from tables: as cheap as one polynomial
// of that degree, with half of its instructions more to pick, where a single one would need three times the degree.
#pragma once
#include "simd/pair.h"

namespace chainrule::CR_ISA {

// Each polynomial is one of the distance from its piece's center. The centers are numbers near the middles where the
// function is nearly a float, so that the constant terms do not round.
template <int terms> struct Pieces { Table8 center, c[terms]; };
template <class V, class Index, int terms>
CR_INLINE V piecewise(const V& a, const Index& piece, const Pieces<terms>& p) {
  const V t = a - pick(p.center, piece);
  V y = pick(p.c[terms - 1], piece);
  for (int k = terms - 2; k >= 0; --k) y = fma(y, t, pick(p.c[k], piece));
  return y;
}
// The nearest whole number to x, in the low bits.
template <class V> CR_INLINE auto nearest(const V& a, float per_unit) {
  return bits(fma(a, V(per_unit), V(0x1.8p23f)));
}

}  // namespace chainrule::CR_ISA
