// Every second element of two registers behind each other, and the way back.
#pragma once
#include "simd/native.h"

namespace chainrule::CR_ISA {

template <int first, class V> CR_INLINE V every_second(V a, V b) {
  constexpr int f = first, lanes = sizeof(V) / sizeof(a[0]);
  if constexpr (lanes == 16)
    return __builtin_shufflevector(a, b, f, f + 2, f + 4, f + 6, f + 8, f + 10, f + 12, f + 14, f + 16,
                                   f + 18, f + 20, f + 22, f + 24, f + 26, f + 28, f + 30);
  else if constexpr (lanes == 8)
    return __builtin_shufflevector(a, b, f, f + 2, f + 4, f + 6, f + 8, f + 10, f + 12, f + 14);
  else if constexpr (lanes == 4)
    return __builtin_shufflevector(a, b, f, f + 2, f + 4, f + 6);
  else
    return __builtin_shufflevector(a, b, f, f + 2);
}

// The lower (half 0) or upper elements of two registers in turns.
template <int half, class V> CR_INLINE V zip(V a, V b) {
  constexpr int lanes = sizeof(V) / sizeof(a[0]), f = half * lanes / 2, l = lanes;
  if constexpr (lanes == 16)
    return __builtin_shufflevector(a, b, f, f + l, f + 1, f + l + 1, f + 2, f + l + 2, f + 3, f + l + 3,
                                   f + 4, f + l + 4, f + 5, f + l + 5, f + 6, f + l + 6, f + 7, f + l + 7);
  else if constexpr (lanes == 8)
    return __builtin_shufflevector(a, b, f, f + l, f + 1, f + l + 1, f + 2, f + l + 2, f + 3, f + l + 3);
  else if constexpr (lanes == 4)
    return __builtin_shufflevector(a, b, f, f + l, f + 1, f + l + 1);
  else
    return __builtin_shufflevector(a, b, f, f + l);
}

}  // namespace chainrule::CR_ISA
