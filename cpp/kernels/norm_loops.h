// What the normalisation kernels share: statistics of a row, and the two affine loops.
#pragma once
#include "kernels/norm.h"
#include "kernels/reduce_loops.h"
#include "kernels/rows.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {

template <class T> struct RowDistance : SumOp<T> {
  Vec<T> mean = T(0);
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const {
    const Vec<T> d = x - mean;
    return fma(d, d, acc);
  }
};
// Plain scalar arithmetic would do, but the vector's square root and division are the ones whose bits are defined.
template <class T> CR_INLINE Vec<T> rstd_of(const Vec<T>& sum_of_squares, T count, double eps) {
  return rsqrt(sum_of_squares / Vec<T>(count) + Vec<T>(static_cast<T>(eps)));
}
template <class T> inline T row_mean(const T* x, int64_t n) {
  return reduce_add(reduce_row(SumOp<T>{}, x, n)) / static_cast<T>(n);
}
template <class T> inline T row_squares(const T* x, int64_t n, T mean) {
  RowDistance<T> op;
  op.mean = mean;
  return reduce_add(reduce_row(op, x, n));
}
template <class T> struct Stats { T mean, rstd; };
// Two passes over a contiguous row; the second finds it in cache.
template <class T> inline Stats<T> row_stats(const T* x, int64_t n, double eps) {
  const T mean = row_mean(x, n);
  return {mean, rstd_of(Vec<T>(row_squares(x, n, mean)), static_cast<T>(n), eps)[0]};
}

// y = (x - mean) * scale + shift over a contiguous run, with one scale and shift.
template <class T>
CR_INLINE void affine_run(const T* x, T* y, int64_t n, T mean, T scale, T shift, bool streamed) {
  const Vec<T> m = mean, a = scale, b = shift;
  write_row(y, n, streamed,
            [&](int64_t i, int count) CR_LAMBDA_INLINE { return fma(Vec<T>::load(x + i, count) - m, a, b); });
}
// dx = g * a + xhat * b + c, with xhat = (x - mean) * rstd.
template <class T>
CR_INLINE void grad_run(const T* g, const T* x, T* dx, int64_t n, T mean, T rstd, T a, T b, T c,
                        bool streamed) {
  const Vec<T> m = mean, r = rstd, va = a, vb = b, vc = c;
  write_row(dx, n, streamed, [&](int64_t i, int count) CR_LAMBDA_INLINE {
    const Vec<T> xhat = (Vec<T>::load(x + i, count) - m) * r;
    return fma(Vec<T>::load(g + i, count), va, fma(xhat, vb, vc));
  });
}
// sum(g xhat) and sum(g) over a contiguous run.
template <class T> CR_INLINE Sums<T> grad_sums(const T* g, const T* x, int64_t n, T mean, T rstd) {
  const Vec<T> m = mean, r = rstd;
  return reduce_terms<T>(n, [&](int64_t i, int count, Vec<T>& a, Vec<T>& b) CR_LAMBDA_INLINE {
    b = Vec<T>::load(g + i, count);
    a = b * ((Vec<T>::load(x + i, count) - m) * r);
  });
}

template <class T> CR_INLINE T at_or(const T* p, int64_t i, T otherwise) {
  return p != nullptr ? p[i] : otherwise;
}

}  // namespace chainrule::CR_ISA
