// Packing: copies of blocks of A and B in the order in which the tile reads them, from any strides.
//   A panel of h rows:                 dst[k * h + r]
//   B panel of kPanel columns:         dst[k * kPanel + j], padded with zeros to a whole register
#pragma once
#include "kernels/gemm_tile.h"
#include "kernels/sizes.h"

namespace chainrule::CR_ISA {

inline constexpr int kBlockK = 256;  // part of the definition of a product: see gemm.h
template <class T> inline constexpr int kPanel = kTileVectors * Reg<T>::W;

// A strided matrix. Strides in elements, any sign.
template <class T> struct Mat {
  const T* p;
  ptrdiff_t row, col;
  CR_INLINE const T* at(int64_t i, int64_t j) const { return p + i * row + j * col; }
};

// Where matrix i of a batch begins, `offsets` from the first, if there are any.
template <class T> CR_INLINE T* matrix_of(T* first, const int64_t* offsets, int64_t stride, int64_t i) {
  return first + (offsets ? offsets[i] : i * stride);
}

// dst[k * ld + r] = src[r * stride + k] for r < rows <= W, k < kn. For k < whole, all W lanes may be stored: what lies
// behind the rows is padding, or is written later.
template <class T> CR_INLINE void pack_transposed(T* dst, ptrdiff_t ld, const T* src, ptrdiff_t stride,
                                                  int rows, int kn, int whole) {
  using X = Reg<T>;
  constexpr int W = X::W;
  int k = 0;
  for (; k + W <= kn; k += W) {
    typename X::V r[W];
    if (rows == W) {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) r[i] = X::load(src + i * stride + k);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) r[i] = i < rows ? X::load(src + i * stride + k) : typename X::V{};
    }
    X::transpose(r);
    T* d = dst + k * ld;
    if (rows == W || k + W <= whole) {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) X::store(d + i * ld, r[i]);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) X::store(d + i * ld, r[i], rows);
    }
  }
  for (; k < kn; ++k) {
    for (int i = 0; i < rows; ++i) dst[k * ld + i] = src[i * stride + k];
  }
}

// Asks for `count` values a few rows further on: rows far apart are a pattern that the machine does not see.
template <class T> CR_INLINE void fetch_ahead(const T* row, ptrdiff_t stride, int count) {
  for (int i = 0; i < count; i += 64 / static_cast<int>(sizeof(T))) __builtin_prefetch(row + 8 * stride + i);
}

// `panels` panels of h rows, `apart` from each other, of columns that are contiguous.
template <class T> void pack_columns(T* to, ptrdiff_t apart, int panels, const Mat<T>& a, int64_t i0, int h,
                                     int64_t k0, int kn) {
  using X = Reg<T>;
  // The last register of a row may spill over the rows behind it, which are written later: a masked store is slow.
  const int in_rows = h / X::W * X::W, rest = h - in_rows;
  const int spilling = rest > 0 ? kn - static_cast<int>(ceil_div(X::W - rest, h)) : kn;
  const T* column = a.at(i0, k0);
  for (int k = 0; k < kn; ++k, column += a.col, to += h) {
    fetch_ahead(column, a.col, panels * h);
    const T* src = column;
    T* dst = to;
    for (int q = 0; q < panels; ++q, src += h, dst += apart) {
      for (int r = 0; r < in_rows; r += X::W) X::store(dst + r, X::load(src + r));
      if (rest == 0) continue;
      const auto v = X::load(src + in_rows, rest);
      if (k < spilling)
        X::store(dst + in_rows, v);
      else
        X::store(dst + in_rows, v, rest);
    }
  }
}

template <class T> void pack_a(T* dst, const Mat<T>& a, int64_t i0, int h, int64_t k0, int kn) {
  using X = Reg<T>;
  const T* src = a.at(i0, k0);
  if (a.col == 1) {
    for (int r = 0; r < h; r += X::W)
      pack_transposed(dst + r, h, src + r * a.row, a.row, least(h - r, X::W), kn,
                      h < X::W ? kn + 1 - static_cast<int>(ceil_div(X::W, h)) : 0);
  } else if (a.row == 1) {
    pack_columns(dst, 0, 1, a, i0, h, k0, kn);
  } else {
    for (int k = 0; k < kn; ++k) {
      for (int r = 0; r < h; ++r) dst[k * h + r] = src[r * a.row + k * a.col];
    }
  }
}

template <class T> void pack_b(T* dst, const Mat<T>& b, int64_t k0, int kn, int64_t j0, int cols) {
  using X = Reg<T>;
  constexpr int P = kPanel<T>;
  const T* src = b.at(k0, j0);
  const int whole = cols / X::W * X::W, padded = static_cast<int>(ceil_div(cols, X::W)) * X::W;
  if (b.col == 1) {
    if (cols == P) {
      for (int k = 0; k < kn; ++k, src += b.row, dst += P) {
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) X::store(dst + v * X::W, X::load(src + v * X::W));
      }
      return;
    }
    for (int k = 0; k < kn; ++k, src += b.row, dst += P) {
      for (int j = 0; j < whole; j += X::W) X::store(dst + j, X::load(src + j));
      if (whole < cols) X::store(dst + whole, X::load(src + whole, cols - whole));
    }
    return;
  }
  if (padded != cols) {
    for (int k = 0; k < kn; ++k) X::store(dst + k * P + whole, typename X::V{});
  }
  if (b.row == 1) {
    for (int j = 0; j < cols; j += X::W)
      pack_transposed(dst + j, P, src + j * b.col, b.col, least(cols - j, X::W), kn, kn);
    return;
  }
  for (int k = 0; k < kn; ++k) {
    for (int j = 0; j < cols; ++j) dst[k * P + j] = src[k * b.row + j * b.col];
  }
}

}  // namespace chainrule::CR_ISA
