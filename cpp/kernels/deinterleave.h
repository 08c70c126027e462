// Elements of native registers in another order: every second or nth of several, two in turns, and backwards.
#pragma once
#include "simd/native.h"

namespace chainrule::CR_ISA {

// The numbers 0 .. n - 1, for shuffles that are written as functions of the lane.
template <int... i> struct Lanes {};
template <int n, int... i> struct LanesTo : LanesTo<n - 1, n - 1, i...> {};
template <int... i> struct LanesTo<0, i...> { using type = Lanes<i...>; };
template <int n> using LanesOf = typename LanesTo<n>::type;
template <class V> inline constexpr int lanes_in = sizeof(V) / sizeof(V{}[0]);

template <int first, class V, int... i> CR_INLINE V every_second(V a, V b, Lanes<i...>) {
  return __builtin_shufflevector(a, b, (first + 2 * i)...);
}
template <int first, class V> CR_INLINE V every_second(V a, V b) {
  return every_second<first>(a, b, LanesOf<lanes_in<V>>());
}

// The lower (half 0) or upper elements of two registers in turns.
template <int half, class V, int... i> CR_INLINE V zip(V a, V b, Lanes<i...>) {
  constexpr int W = sizeof...(i);
  return __builtin_shufflevector(a, b, (half * W / 2 + i / 2 + i % 2 * W)...);
}
template <int half, class V> CR_INLINE V zip(V a, V b) { return zip<half>(a, b, LanesOf<lanes_in<V>>()); }

// Of n registers behind each other, elements 0, n, 2n, ...: so far those of the first k registers, and of `next`.
template <int n, int k, class V, int... i> CR_INLINE V every_nth(V so_far, V next, Lanes<i...>) {
  constexpr int W = sizeof...(i);
  return __builtin_shufflevector(so_far, next,
                                 (n * i / W == k        ? W + n * i - k * W
                                  : k == 1 && n * i < W ? n * i
                                                        : i)...);
}

template <class V, int... i> CR_INLINE V reversed(V a, Lanes<i...>) {
  return __builtin_shufflevector(a, a, (static_cast<int>(sizeof...(i)) - 1 - i)...);
}
template <class V> CR_INLINE V reversed(V a) { return reversed(a, LanesOf<lanes_in<V>>()); }

}  // namespace chainrule::CR_ISA
