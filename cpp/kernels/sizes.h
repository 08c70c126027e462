// Arithmetic of sizes. <algorithm> would instantiate functions outside of the level's namespace.
#pragma once
#include <cstdint>

#include "simd/native.h"

namespace chainrule::CR_ISA {

template <class T> CR_INLINE T least(T a, T b) { return a < b ? a : b; }
template <class T> CR_INLINE T most(T a, T b) { return a > b ? a : b; }
CR_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
CR_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace chainrule::CR_ISA
