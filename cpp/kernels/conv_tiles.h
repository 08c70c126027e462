// The products of a convolution on tiles that read the strip in place. A row of a tile is a window of the strip: an output
// pixel as its taps go by, or, for the weight's gradient, a tap as the pixels go by. Its elements are broadcast; what they
// multiply is packed once, in panels. So nothing is packed from the image, and the sums, transposed, are turned round
// where they are stored. Chains and K blocks are those of gemm.h.
#pragma once
#include "kernels/conv_image.h"

namespace chainrule::CR_ISA {

// sums[r][NV registers] = (what they were +) rows[r][steps[k]] * panel[k] over k < kn.
template <class T, int R, int NV>
void window_tile(int kn, const T* const* rows, const ptrdiff_t* steps, const T* panel, T* sums, bool add) {
  using X = Reg<T>;
  typename X::V acc[R][NV];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = typename X::V{};
  }
#pragma GCC unroll 1
  for (int k = 0; k < kn; ++k, panel += kPanel<T>) {
    // More pointers than registers: loaded anew they cost nothing, but the compiler would save them in vectors.
    if constexpr (R > 8) asm volatile("" ::: "memory");
    const ptrdiff_t at = steps[k];
    typename X::V b[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) b[v] = X::load(panel + v * X::W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto s = X::set1(rows[r][at]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = X::fma(s, b[v], acc[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r, sums += kPanel<T>) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v)
      X::store(sums + v * X::W, add ? acc[r][v] + X::load(sums + v * X::W) : acc[r][v]);
  }
}

template <class T> using WindowFn = void (*)(int, const T* const*, const ptrdiff_t*, const T*, T*, bool);

// A low tile is seven rows lower: 7 x 7 pixels fill three tiles of 14 and a low one. Rows that are missing repeat the last
// one's pointer.
inline constexpr int kWindowStep = 7, kWindowHeights = (kTileRows + kWindowStep - 1) / kWindowStep;
template <class T> struct WindowTable {
  WindowFn<T> fn[kWindowHeights][kTileVectors];
  template <int H, int NV> constexpr void fill() {
    fn[H][NV - 1] = window_tile<T, kTileRows - H * kWindowStep, NV>;
    if constexpr (NV > 1)
      fill<H, NV - 1>();
    else if constexpr (H > 0)
      fill<H - 1, kTileVectors>();
  }
  constexpr WindowTable() : fn{} { fill<kWindowHeights - 1, kTileVectors>(); }
};
template <class T> inline constexpr WindowTable<T> window_tiles{};

// The rows of one tile, of which there are `count`.
template <class T> struct Windows {
  const T* row[kTileRows];
  int count = 0;

  void add(const T* p) { row[count++] = p; }
  // The tile for `width` columns. Writes up to kTileRows rows of sums.
  [[gnu::noinline]] WindowFn<T> tile(int64_t width) {
    for (int r = count; r < kTileRows; ++r) row[r] = row[count - 1];
    return window_tiles<T>.fn[(kTileRows - count) / kWindowStep][ceil_div(width, Reg<T>::W) - 1];
  }
};

// Where output pixels lie in the strip, one after the other.
template <class T> struct Pixels {
  const Strip<T>& strip;
  int64_t x;
  ptrdiff_t row;

  Pixels(const Strip<T>& s, int64_t p)
      : strip(s), x(p % s.s.out_w), row(static_cast<ptrdiff_t>(p / s.s.out_w * s.s.stride_h * s.row())) {}
  ptrdiff_t next() {
    const auto at = row + static_cast<ptrdiff_t>(x);
    if (++x == strip.s.out_w) {
      x = 0;
      row += static_cast<ptrdiff_t>(strip.s.stride_h * strip.row());
    }
    return at;
  }
};

// Rows of sums, of which registers' squares are read whole.
inline constexpr int kSumRows = 16;
static_assert(kSumRows >= kTileRows && kSumRows % Reg<float>::W == 0 && kSumRows % Reg<double>::W == 0);

// dst[j * ld + r] = sums[r * kPanel + j] for r < rows, j < cols; r < room may be written over.
template <class T>
[[gnu::noinline]] void turn(T* dst, ptrdiff_t ld, const T* sums, int rows, int cols, int64_t room) {
  using X = Reg<T>;
  constexpr int W = X::W, P = kPanel<T>;
  for (int r = 0; r < rows; r += W) {
    const int lanes = r + W <= room ? W : least(W, rows - r);
    for (int j = 0; j < cols; j += W) {
      typename X::V x[W];
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) x[i] = X::load(sums + (r + i) * P + j);
      X::transpose(x);
      T* d = dst + j * ld + r;
      for (int i = 0; i < least(W, cols - j); ++i, d += ld) {
        if (lanes == W)
          X::store(d, x[i]);
        else
          X::store(d, x[i], lanes);
      }
    }
  }
}

// c[i][pixels] = weight[i][k] * strip at offsets[k], + bias[i], for m rows i and the first `pixels` outputs of the strip.
// `weights` holds panels of kPanel rows i: [k][row].
template <class T>
void window_strip(const Strip<T>& strip, const T* padded, const ptrdiff_t* offsets, int64_t k,
                  const T* weights, const T* bias, int64_t m, int64_t pixels, T* c, int64_t ldc) {
  using X = Reg<T>;
  constexpr int P = kPanel<T>;
  alignas(64) T sums[kSumRows * P];
  for (int64_t i = 0; i < m; i += P, weights += P * k) {
    const int width = static_cast<int>(least<int64_t>(P, m - i));
    Pixels<T> pixel(strip, 0);
    for (int64_t j = 0; j < pixels; j += kTileRows) {
      Windows<T> windows;
      for (int64_t r = j; r < least<int64_t>(pixels, j + kTileRows); ++r) windows.add(padded + pixel.next());
      const auto tile = windows.tile(width);
      for (int64_t kk = 0; kk < k; kk += kBlockK)
        tile(static_cast<int>(least<int64_t>(kBlockK, k - kk)), windows.row, offsets + kk, weights + kk * P,
             sums, kk > 0);
      for (int v = 0; bias && v < width; v += X::W) {
        const auto b = X::load(bias + i + v, least(X::W, width - v));
        for (T* to = sums + v; to < sums + windows.count * P; to += P) X::store(to, X::load(to) + b);
      }
      // Registers may be stored whole where they run over pixels of this strip, which come later.
      turn(c + i * ldc + j, static_cast<ptrdiff_t>(ldc), sums, windows.count, width, pixels - j);
    }
  }
}

}  // namespace chainrule::CR_ISA
