// What both passes of attention are made of: strips of scores, and products with operands packed once for many strips.
#pragma once
#include <cstring>

#include "kernels/attention.h"
#include "kernels/gemm_blocked.h"
#include "simd/exp.h"

namespace chainrule::CR_ISA {

// Part of the definition of the sums: see attention.h. A strip is one tile high with AVX-512, two with AVX2, and blocks
// are whole strips, so that strips of rows and of columns lie on one grid.
inline constexpr int64_t kStrip = 12, kQueries = 8 * kStrip, kKeys = 24 * kStrip;
// A row of scores in scratch memory: there is room behind it for a last panel, and rows are no multiple of a page apart, so
// that reading down a column does not fight for one set of the cache.
inline constexpr int64_t kPitch = kKeys + 48;
// Room for one value a row of a strip, in whole vectors.
inline constexpr int64_t kStripRoom = 16;
template <class T> inline constexpr int64_t kLine = 64 / sizeof(T);
template <class T> inline constexpr T lowest = static_cast<T>(-__builtin_inf());

template <class T> Mat<T> matrix(const Heads& h, int64_t batch, int64_t head, int64_t row = 0) {
  return {static_cast<const T*>(h.p) + batch * h.batch + head * h.head + row * h.row,
          static_cast<ptrdiff_t>(h.row), 1};
}
template <class T> T* rows_of(const HeadsOut& h, int64_t batch, int64_t head, int64_t row = 0) {
  return static_cast<T*>(h.p) + batch * h.batch + head * h.head + row * h.row;
}

// The right operand of a product, up to depth x cols, packed in panels.
template <class T> struct Panels {
  T* p;
  int64_t depth, cols;

  static int64_t room(int64_t depth, int64_t cols) { return depth * ceil_div(cols, kPanel<T>) * kPanel<T>; }
  Panels(T*& memory, int64_t most_depth, int64_t most_cols) : p(memory), depth(most_depth), cols(most_cols) {
    memory += room(depth, cols);
  }
  const T* at(int64_t panel, int64_t row) const { return p + (panel * depth + row) * kPanel<T>; }
  void fill(const Mat<T>& b, int64_t rows, int64_t columns) const {
    for (int64_t j = 0; j < columns; j += kPanel<T>)
      pack_b(p + j * depth, b, 0, static_cast<int>(rows), j,
             static_cast<int>(least<int64_t>(kPanel<T>, columns - j)));
  }
};

// c (m x n) = alpha * a b (+ c when `add`), over `depth` rows of b from `first`. With `room`, c may be written up to a
// whole register.
template <class T> struct StripOut {
  T* c;
  int64_t ldc;
  T alpha;
  bool add, room;
};

// The tile of whole strips and registers: gemm_tile.h's sums in the same order, and a short way to finish them, since
// sums over a head's width are short. With kRows, rows of a are contiguous, otherwise columns.
inline constexpr int64_t kTilesHigh = (kStrip + kTileRows - 1) / kTileRows, kStripTile = kStrip / kTilesHigh;
static_assert(kStripTile * kTilesHigh == kStrip);
template <class T, int NV, bool kRows>
void strip_tile(int64_t depth, const T* a, ptrdiff_t stride, const T* b, const StripOut<T>& out) {
  using X = Reg<T>;
  constexpr int R = static_cast<int>(kStripTile);
  if (!out.room) {  // a result, not scratch memory: comes while the sums are formed, even to be written over
    for (int r = 0; r < R; ++r)
      for (int64_t j = 0; j < NV * X::W; j += kLine<T>) __builtin_prefetch(out.c + r * out.ldc + j, 1);
  }
  typename X::V acc[R][NV];
  if constexpr (kRows)
    sum_tile<T>(acc, depth, StridedRows<T, R>(a, stride, 1), b, kPanel<T>);
  else
    sum_tile<T>(acc, depth, PackedRows<T, R>{a, stride}, b, kPanel<T>);
  const auto alpha = X::set1(out.alpha);
  T* c = out.c;
  const ptrdiff_t ldc = out.ldc;
  if (out.add) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r, c = next_row(c, ldc)) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) X::store(c + v * X::W, X::fma(alpha, acc[r][v], X::load(c + v * X::W)));
    }
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r, c = next_row(c, ldc)) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) X::store(c + v * X::W, acc[r][v] * alpha);
    }
  }
}

template <class T, bool kRows>
void multiply(int64_t m, int64_t n, int64_t depth, const T* a, ptrdiff_t stride, const Panels<T>& b,
              int64_t first, const StripOut<T>& out) {
  const ptrdiff_t row = kRows ? stride : 1, step = kRows ? 1 : stride;
  const int h = static_cast<int>(RowPanels(m).h);
  for (int64_t j = 0; j < n; j += kPanel<T>) {
    const int w = static_cast<int>(least<int64_t>(kPanel<T>, n - j)),
              nv = static_cast<int>(ceil_div(w, Reg<T>::W)),
              tail = out.room ? Reg<T>::W : w - (nv - 1) * Reg<T>::W;
    const T* panel = b.at(j / kPanel<T>, first);
    for (int64_t i = 0; i < m; i += h) {
      T* c = out.c + i * out.ldc + j;
      if (h == kStripTile && m - i >= h && tail == Reg<T>::W) {
        StripOut<T> o = out;
        o.c = c;
        if (nv == kTileVectors)
          strip_tile<T, kTileVectors, kRows>(depth, a + i * row, stride, panel, o);
        else if (kTileVectors > 2 && nv == 2)  // NEON
          strip_tile<T, 2, kRows>(depth, a + i * row, stride, panel, o);
        else
          strip_tile<T, 1, kRows>(depth, a + i * row, stride, panel, o);
      } else {
        const TileOut<T> o{
            c, static_cast<ptrdiff_t>(out.ldc), out.alpha, out.add ? T(1) : T(0), nullptr, nullptr, tail};
        tiles<T>.fn[0][nv - 1][least<int64_t>(h, m - i) - 1](static_cast<int>(depth), a + i * row, row, step,
                                                             panel, kPanel<T>, o);
      }
    }
  }
}

// Has the strip of rows from `row` on come into the second cache while something else is computed.
template <class T> void fetch(const Mat<T>& m, int64_t row, int64_t rows, int64_t width) {
  for (int64_t i = row; i < least(rows, row + kStrip); ++i)
    for (int64_t j = 0; j < width; j += kLine<T>) __builtin_prefetch(m.at(i, j), 0, 2);
}
// Part of the next head's keys and values, which the last block of keys has time for: the strip from `row` on.
template <class T> void fetch_next(const AttentionArgs& a, int64_t batch, int64_t kv, int64_t row) {
  if (kv + 1 == a.kv_heads) return;
  const int64_t rows = least(kKeys, a.cols);
  fetch(matrix<T>(a.k, batch, kv + 1), row, rows, a.width);
  fetch(matrix<T>(a.v, batch, kv + 1), row, rows, a.value_width);
}

// A block of keys, and what a strip of rows sees of it: `cols` keys by any of its rows, the first `of(i)` by row i.
struct Seen {
  bool causal;
  int64_t row, key, keys;
  int64_t cols() const { return causal ? least(keys, row + kStrip - key) : keys; }
  int64_t of(int64_t i) const { return causal ? least(keys, row + i + 1 - key) : keys; }
};

// Adds the mask to the scores of one row against n keys; those that take no part become -inf.
template <class T>
void apply_mask(const AttentionArgs& a, int64_t batch, int64_t head, int64_t row, int64_t key, int64_t n,
                T* s) {
  const int64_t step = a.mask_col,
                at = batch * a.mask_batch + head * a.mask_head + row * a.mask_row + key * step;
  if (a.mask_dtype == DType::Bool) {
    const bool* m = static_cast<const bool*>(a.mask) + at;
    for (int64_t j = 0; j < n; ++j) s[j] = m[j * step] ? s[j] : lowest<T>;
  } else {
    const T* m = static_cast<const T*>(a.mask) + at;
    for (int64_t j = 0; j < n; ++j) s[j] += m[j * step];
  }
}

}  // namespace chainrule::CR_ISA
