// Every second element of two registers behind each other.
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

}  // namespace chainrule::CR_ISA
