// Products with one row or one column: no packing, the matrix is read once. The chains are those of the tile.
#pragma once
#include "core/parallel_for.h"
#include "kernels/gemm_pack.h"

namespace chainrule::CR_ISA {

// c (m x n, columns contiguous) = alpha * a b + beta * c + bias, or the ReLU of that.
template <class T> struct Product {
  int64_t m, n, k;
  Mat<T> a, b;
  T* c;
  ptrdiff_t ldc;
  T alpha, beta;
  const T* row_bias;
  const T* col_bias;
  bool relu = false;
};

inline constexpr int kVectorColumns = 512;
// A matrix of as many elements is worth a second thread.
inline constexpr int64_t kVectorWork = 131072;

// c[j] from the sum s[j] of a K block, for the columns [0, n) of a single row.
template <class T> void finish_row(T* c, const T* s, int n, T alpha, T beta, const T* row_bias,
                                   const T* col_bias, bool relu) {
  using X = Reg<T>;
  const TileOut<T> o{c, 0, alpha, beta, nullptr, nullptr, 0};
  for (int j = 0; j < n; j += X::W) {
    const int lanes = least(X::W, n - j);
    typename X::V old = {};
    if (beta != T(0)) old = X::load(c + j, lanes);
    auto y = finish<T>(X::load(s + j), old, o);
    if (row_bias) y = y + X::set1(*row_bias);
    if (col_bias) y = y + X::load(col_bias + j, lanes);
    if (relu) y = rectified<T>(y);
    X::store(c + j, y, lanes);
  }
}

// s[j] += sum over U rows of x[u] * b[u][j], one after the other.
template <class T, int U> CR_INLINE void add_rows(T* s, const T* b, ptrdiff_t ld, const T* x, int n) {
  using X = Reg<T>;
  typename X::V xs[U];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u) xs[u] = X::set1(x[u]);
  int j = 0;
  for (; j + X::W <= n; j += X::W) {
    auto v = X::load(s + j);
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) v = X::fma(xs[u], X::load(b + u * ld + j), v);
    X::store(s + j, v);
  }
  if (j < n) {
    auto v = X::load(s + j);
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) v = X::fma(xs[u], X::load(b + u * ld + j, n - j), v);
    X::store(s + j, v);
  }
}

// s[0, n) for a matrix whose rows are contiguous.
template <class T> void sum_rows(T* s, const T* b, ptrdiff_t ld, const T* x, int kn, int n) {
  for (int j = 0; j < n; j += Reg<T>::W) Reg<T>::store(s + j, typename Reg<T>::V{});
  int k = 0;
  for (; k + 8 <= kn; k += 8) add_rows<T, 8>(s, b + k * ld, ld, x + k, n);
  for (; k < kn; ++k) add_rows<T, 1>(s, b + k * ld, ld, x + k, n);
}

// The same for matrices whose columns are contiguous, up to W of them, turned in registers: G chains a lane at once, for
// one would wait for itself. Chain g takes kn values from x + g * x_step and the columns at b + g * b_step.
template <class T, int G>
void sum_columns(T* s, ptrdiff_t s_step, const T* b, ptrdiff_t ld, ptrdiff_t b_step, const T* x,
                 ptrdiff_t x_step, int kn, int cols) {
  using X = Reg<T>;
  constexpr int W = X::W;
  typename X::V acc[G];
  for (int g = 0; g < G; ++g) acc[g] = typename X::V{};
  for (int k = 0; k < kn; k += W) {
    const int lanes = least(W, kn - k);
    for (int g = 0; g < G; ++g) {
      const T* const from = b + g * b_step + k;
      const T* const xs = x + g * x_step + k;
      typename X::V r[W];
      if (lanes == W && cols == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) r[i] = X::load(from + i * ld);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) r[i] = i < cols ? X::load(from + i * ld, lanes) : typename X::V{};
      }
      X::transpose(r);
      if (lanes == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) acc[g] = X::fma(X::set1(xs[i]), r[i], acc[g]);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i)
          if (i < lanes) acc[g] = X::fma(X::set1(xs[i]), r[i], acc[g]);
      }
    }
  }
  for (int g = 0; g < G; ++g) X::store(s + g * s_step, acc[g]);
}

// A pair of K blocks for n <= 2 * W columns: block q's sums at s + q * 2 * W. Two chains at once, or one where columns
// come from afar: then they are to be few streams.
template <class T>
void sum_column_blocks(T* s, const T* b, ptrdiff_t ld, const T* x, int kn, int n, bool far) {
  constexpr int W = Reg<T>::W, S = 2 * W;
  // The blocks of the same columns as the two chains: columns are often a power of two apart, and more than eight such
  // lines push each other out of the first cache. float64 has few columns a register as it is.
  if (sizeof(T) == 4 && W <= 8 && kn == 2 * kBlockK && !far) {
    for (int j = 0; j < n; j += W)
      sum_columns<T, 2>(s + j, S, b + j * ld, ld, kBlockK, x, kBlockK, kBlockK, least(W, n - j));
    return;
  }
  for (int k = 0; k < kn; k += kBlockK, s += S) {
    const int depth = least(kBlockK, kn - k);
    if (n == S && !far) {
      sum_columns<T, 2>(s, W, b + k, ld, W * ld, x + k, 0, depth, W);
      continue;
    }
    for (int j = 0; j < n; j += W)
      sum_columns<T, 1>(s + j, 0, b + j * ld + k, ld, 0, x + k, 0, depth, least(W, n - j));
  }
}

// One row: p.m == 1 and one of the strides of b is 1. Rows of b are read a K block at a time over many columns, columns
// of b in a few long streams.
template <class T> void multiply_vector(const Product<T>& p) {
  const bool rows = p.b.col == 1;
  const int64_t step_n = rows ? kVectorColumns : 2 * Reg<T>::W, step_k = rows ? kBlockK : 2 * kBlockK;
  const int64_t least_n = !rows ? step_n : p.n < 2 * kVectorColumns ? 128 : kVectorColumns;
  const int64_t grain = p.k * p.n < kVectorWork ? p.n : ceil_div(kVectorWork / 4, p.k * least_n) * least_n;
  const bool far = sizeof(T) == 4 && p.k * p.n > (Reg<T>::W > 8 ? 1 << 15 : num_threads() << 21);
  parallel_for(p.n, grain, [&](int64_t begin, int64_t end) {
    alignas(64) T s[kVectorColumns];
    alignas(64) T turned[2 * kBlockK];
    for (int64_t j = begin; j < end; j += step_n) {
      const int n = static_cast<int>(least<int64_t>(step_n, end - j));
      for (int64_t k = 0; k < p.k; k += step_k) {
        const int kn = static_cast<int>(least<int64_t>(step_k, p.k - k));
        const T* x = p.a.at(0, k);
        if (p.a.col != 1) {
          for (int i = 0; i < kn; ++i) turned[i] = x[i * p.a.col];
          x = turned;
        }
        if (rows)
          sum_rows(s, p.b.at(k, j), p.b.row, x, kn, n);
        else
          sum_column_blocks(s, p.b.at(k, j), p.b.col, x, kn, n, far);
        for (int64_t q = k; q < k + kn; q += kBlockK) {
          const bool last = q + kBlockK >= p.k;
          finish_row(p.c + j, s + (q - k) / kBlockK * step_n, n, p.alpha, q == 0 ? p.beta : T(1),
                     last ? p.row_bias : nullptr, last && p.col_bias ? p.col_bias + j : nullptr,
                     last && p.relu);
        }
      }
    }
  });
}

// s[i] = the sum of block i of a dot product, for `blocks` <= W blocks of 256, a block a lane.
template <class T> void dot_blocks(T* s, const T* a, const T* b, int blocks, bool far) {
  using X = Reg<T>;
  constexpr int W = X::W, kLine = 64 / sizeof(T);
  typename X::V acc = {};
  for (int k = 0; k < kBlockK; k += W) {
    // So many streams are no pattern that the machine sees: the next blocks, in the order of memory.
    for (int i = 0; far && i < W * W; i += kLine) {
      __builtin_prefetch(a + W * (kBlockK + k) + i, 0, 2);
      __builtin_prefetch(b + W * (kBlockK + k) + i, 0, 2);
    }
    typename X::V x[W], y[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) {
      x[i] = i < blocks ? X::load(a + i * kBlockK + k) : typename X::V{};
      y[i] = i < blocks ? X::load(b + i * kBlockK + k) : typename X::V{};
    }
    X::transpose(x);
    X::transpose(y);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) acc = X::fma(x[i], y[i], acc);
  }
  X::store(s, acc, blocks);
}

template <class T> T dot_chain(const T* a, ptrdiff_t sa, const T* b, ptrdiff_t sb, int64_t kn) {
  T s = 0;
  for (int64_t k = 0; k < kn; ++k) s = fma_scalar(a[k * sa], b[k * sb], s);
  return s;
}

inline constexpr int64_t kFarBytes = 4 << 20;  // of each vector
// One element: p.m == p.n == 1. The blocks of k are independent chains.
template <class T> void multiply_dot(const Product<T>& p) {
  constexpr int W = Reg<T>::W, kGroup = 4 * W;  // blocks a step
  const ptrdiff_t sa = p.a.col, sb = p.b.row;
  const bool lanes = sa == 1 && sb == 1, far = p.k * int64_t{sizeof(T)} > kFarBytes;
  const int64_t step = int64_t{kGroup} * kBlockK, wave = 64 * step;
  T beta = p.beta, c = beta == T(0) ? T(0) : *p.c;
  for (int64_t w = 0; w < p.k; w += wave) {
    T sums[64 * kGroup];
    const int64_t kn = least(wave, p.k - w);
    const T *a = p.a.at(0, w), *b = p.b.at(w, 0);
    parallel_for(ceil_div(kn, step), 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin * step; k < least(end * step, kn);) {
        const int64_t left = kn - k, whole = least<int64_t>(W, left / kBlockK);
        if (lanes && whole > 0) {
          dot_blocks(sums + k / kBlockK, a + k, b + k, static_cast<int>(whole), far);
          k += whole * kBlockK;
        } else {
          sums[k / kBlockK] = dot_chain(a + k * sa, sa, b + k * sb, sb, least<int64_t>(left, kBlockK));
          k += kBlockK;
        }
      }
    });
    for (int64_t i = 0; i < ceil_div(kn, kBlockK); ++i) {
      c = beta == T(0) ? p.alpha * sums[i] : fma_scalar(p.alpha, sums[i], beta * c);
      beta = 1;
    }
  }
  if (p.row_bias) c = c + *p.row_bias;
  if (p.col_bias) c = c + *p.col_bias;
  *p.c = p.relu && c <= T(0) ? T(0) : c;
}

}  // namespace chainrule::CR_ISA
