// The vectors of a contiguous row, and results that are written past the caches.
#pragma once
#include "simd/vec.h"

namespace chainrule::CR_ISA {

// f(i, count) for each vector of [begin, end), count < lanes at its end.
template <class T, class F> CR_INLINE void each_vector(int64_t begin, int64_t end, const F& f) {
  constexpr int L = Vec<T>::lanes;
  int64_t i = begin;
  for (; i + L <= end; i += L) f(i, L);
  if (i < end) f(i, static_cast<int>(end - i));
}
template <class T, class F> CR_INLINE void each_vector(int64_t n, const F& f) { each_vector<T>(0, n, f); }

// Asks for the cache line of p, for a loop that computes on this row while memory could bring the next one. It may lie
// past the end of the array.
template <class T> CR_INLINE void prefetch(const T* p) { __builtin_prefetch(p, 0, 2); }

// Whether a result of `elements`, in rows of n, should be streamed: it is more than a few cores' caches keep until
// somebody reads it, and a plain store would read each line from memory first. Tasks that stream end with
// native::stream_fence().
template <class T> bool streams(const T* y, int64_t elements, int64_t n) {
  return elements * static_cast<int64_t>(sizeof(T)) >= int64_t{8} << 20 && n % Vec<T>::lanes == 0 &&
         reinterpret_cast<uintptr_t>(y) % vector_bytes == 0;
}
template <class T> CR_INLINE void put(const Vec<T>& v, T* y, int count, bool streamed) {
  if (streamed)
    v.stream(y);
  else
    v.store(y, count);
}
// y[i, i + count) = f(i, count) over a row.
template <class T, class F> CR_INLINE void write_row(T* y, int64_t n, bool streamed, const F& f) {
  constexpr int L = Vec<T>::lanes;
  if (streamed) {
    for (int64_t i = 0; i < n; i += L) f(i, L).stream(y + i);
  } else {
    each_vector<T>(n, [&](int64_t i, int count) CR_LAMBDA_INLINE { f(i, count).store(y + i, count); });
  }
}

}  // namespace chainrule::CR_ISA
