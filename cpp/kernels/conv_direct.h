// Convolution for few output channels: the columns of the product are registers of pixels, read from the strip. The
// chains and K blocks are those of the product on tiles.
#pragma once
#include "kernels/conv_planes.h"

namespace chainrule::CR_ISA {

inline constexpr int kDirectRows = 4;

// Registers of outputs of a strip of `rows` rows, one after the other. The last of a row goes back to be whole, unless the
// row is shorter than a register.
template <class T> struct Positions {
  const Strip<T>& strip;
  int64_t per_row, count;
  int lanes;

  Positions(const Strip<T>& s, int64_t rows)
      : strip(s),
        per_row(ceil_div(s.s.out_w, Reg<T>::W)),
        count(per_row * rows),
        lanes(static_cast<int>(least<int64_t>(Reg<T>::W, s.s.out_w))) {}
  void at(int64_t i, ptrdiff_t* source, ptrdiff_t* target) const {
    const int64_t y = i / per_row,
                  x = most<int64_t>(0, least(i % per_row * Reg<T>::W, strip.s.out_w - Reg<T>::W));
    *source = static_cast<ptrdiff_t>(y * strip.s.stride_h * strip.row() + x);
    *target = static_cast<ptrdiff_t>(y * strip.s.out_w + x);
  }
};

// c[i][pixels] = w[i][k] * the strip at offsets[k], + bias, for M rows i.
template <class T, int M>
void direct_rows(const Positions<T>& positions, const T* padded, const ptrdiff_t* offsets, int64_t k,
                 const T* w, const T* bias, T* c, int64_t ldc) {
  using X = Reg<T>;
  // The sums, G registers of pixels and a weight fit where a tile of a product does.
  constexpr int kFit = (kTileRows * kTileVectors + 3) / (M + 1), G = kFit < 4 ? kFit : 4;
  for (int64_t p = 0; p < positions.count; p += G) {
    const T* source[G];
    ptrdiff_t target[G], from = 0;
    for (int g = 0; g < G; ++g) {
      positions.at(least(p + g, positions.count - 1), &from, target + g);
      source[g] = padded + from;
    }
    typename X::V sums[M][G] = {};
    for (int64_t k0 = 0; k0 < k; k0 += kBlockK) {
      const int64_t k1 = least<int64_t>(k, k0 + kBlockK);
      typename X::V acc[M][G];
#pragma GCC unroll 4
      for (int i = 0; i < M; ++i) {
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) acc[i][g] = typename X::V{};
      }
#pragma GCC unroll 1
      for (int64_t kk = k0; kk < k1; ++kk) {
        typename X::V v[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) v[g] = X::load(source[g] + offsets[kk]);
#pragma GCC unroll 4
        for (int i = 0; i < M; ++i) {
          const auto s = X::set1(w[i * k + kk]);
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) acc[i][g] = X::fma(s, v[g], acc[i][g]);
        }
      }
      for (int i = 0; i < M; ++i) {
        for (int g = 0; g < G; ++g) sums[i][g] = k0 == 0 ? acc[i][g] : sums[i][g] + acc[i][g];
      }
    }
    for (int i = 0; i < M; ++i) {
      for (int g = 0; g < G; ++g) {
        const auto y = bias ? sums[i][g] + X::set1(bias[i]) : sums[i][g];
        T* const d = c + i * ldc + target[g];
        if (positions.lanes == X::W)
          X::store(d, y);
        else
          X::store(d, y, positions.lanes);
      }
    }
  }
}

// Is the kernel 3 x 3, with rows of the strip one below the other? Then a row that was loaded serves three rows of outputs.
template <class T> bool is_3x3(const Strip<T>& strip, const ptrdiff_t* offsets) {
  if (strip.s.taps != 9 || strip.s.stride_h != 1) return false;
  for (int t = 3; t < 9; ++t)
    if (offsets[t] != offsets[t - 3] + strip.row()) return false;
  return true;
}

// R rows of outputs of a single input channel by a 3 x 3 kernel.
template <class T, int R>
void rows_3x3(const Strip<T>& strip, const T* padded, const ptrdiff_t* offsets, const T* w, const T* bias,
              T* c) {
  using X = Reg<T>;
  const int64_t width = strip.s.out_w, row = strip.row();
  typename X::V taps[9];
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t) taps[t] = X::set1(w[t]);
  for (int64_t i = 0; i < width; i += X::W) {
    const int64_t x = most<int64_t>(0, least(i, width - X::W));
    typename X::V acc[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) acc[r] = typename X::V{};
#pragma GCC unroll 6
    for (int j = 0; j < R + 2; ++j) {
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        const auto v = X::load(padded + j * row + offsets[s] + x);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
          if (j - r >= 0 && j - r < 3) acc[r] = X::fma(taps[3 * (j - r) + s], v, acc[r]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const auto y = bias ? acc[r] + X::set1(*bias) : acc[r];
      T* const d = c + r * width + x;
      if (width >= X::W)
        X::store(d, y);
      else
        X::store(d, y, static_cast<int>(width));
    }
  }
}

// m channels of outputs of a strip of `rows` rows.
template <class T>
void direct_strip(const Strip<T>& strip, const T* padded, const ptrdiff_t* offsets, int64_t k, const T* w,
                  const T* bias, int64_t m, int64_t rows, T* c, int64_t ldc) {
  if (!reads_planes<T> && strip.s.channels == 1 && is_3x3(strip, offsets)) {
    for (int64_t i = 0; i < m; ++i) {
      const T* const b = bias ? bias + i : nullptr;
      int64_t y = 0;
      for (; y + 4 <= rows; y += 4)
        rows_3x3<T, 4>(strip, padded + y * strip.row(), offsets, w + i * 9, b,
                       c + i * ldc + y * strip.s.out_w);
      for (; y < rows; ++y)
        rows_3x3<T, 1>(strip, padded + y * strip.row(), offsets, w + i * 9, b,
                       c + i * ldc + y * strip.s.out_w);
    }
    return;
  }
  const Positions<T> positions(strip, rows);
  for (int64_t i = 0; i < m; i += kDirectRows, w += kDirectRows * k) {
    const T* const b = bias ? bias + i : nullptr;
    T* const d = c + i * ldc;
    switch (m - i) {
      case 1: direct_rows<T, 1>(positions, padded, offsets, k, w, b, d, ldc); break;
      case 2: direct_rows<T, 2>(positions, padded, offsets, k, w, b, d, ldc); break;
      case 3: direct_rows<T, 3>(positions, padded, offsets, k, w, b, d, ldc); break;
      default: direct_rows<T, 4>(positions, padded, offsets, k, w, b, d, ldc);
    }
  }
}

}  // namespace chainrule::CR_ISA
