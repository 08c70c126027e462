// The transforms of Winograd's F(2x2, 3x3), on registers of channels.
//
// A tile is 2 x 2 outputs y of a 3 x 3 kernel w, from a patch d of 4 x 4 inputs:
//     y = A' [ (G w G') * (B' d B) ] A,    the product element by element, summed over channels, and so
//     gradient of w = G' [ (A dy A') * (B' d B) ] G,
// with 16 products a channel in the place of 36. The rows of the matrices:
//     B': 1  0 -1  0    0  1  1  0    0 -1  1  0    0  1  0 -1
//     G:  1  0  0    1/2  1/2  1/2    1/2 -1/2  1/2    0  0  1
//     A': 1  1  1  0    0  1 -1 -1
#pragma once
#include "kernels/gemm_blocked.h"

namespace chainrule::CR_ISA {

// dst[(y * cols + x) * ld + c] = image[c][y0 + y][x0 + x], zero outside of the image and for c >= channels. ld is a
// multiple of a register.
template <class T>
[[gnu::noinline]] void to_channels_last(T* dst, int64_t ld, const T* image, int64_t channels, int64_t h,
                                        int64_t w, int64_t y0, int64_t x0, int64_t rows, int64_t cols) {
  using X = Reg<T>;
  constexpr int W = X::W;
  const int64_t left = least(cols, most<int64_t>(0, -x0)), right = most(left, least(cols, w - x0));
  for (int64_t y = 0; y < rows; ++y) {
    T* d = dst + y * cols * ld;
    const bool inside = y0 + y >= 0 && y0 + y < h;
    for (int64_t i = 0; i < (inside ? left : cols) * ld; i += W) X::store(d + i, typename X::V{});
    for (int64_t i = (inside ? right : cols) * ld; i < cols * ld; i += W) X::store(d + i, typename X::V{});
  }
  const int64_t top = most<int64_t>(0, -y0), bottom = least(rows, h - y0);
  for (int64_t c = 0; c < ld; c += W) {
    const int64_t count = least<int64_t>(W, channels - c);
    for (int64_t y = top; y < bottom; ++y) {
      const T* src = image + (c * h + y0 + y) * w + x0;
      T* d = dst + y * cols * ld + c;
      for (int64_t i = left; i < right; i += W) {
        // The last register goes back to be whole.
        const int64_t x = most(left, least(i, right - W));
        const int n = static_cast<int>(least<int64_t>(W, right - x));
        typename X::V r[W];
        if (n == W && count == W) {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i) r[i] = X::load(src + i * h * w + x);
        } else {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i) r[i] = i < count ? X::load(src + i * h * w + x, n) : typename X::V{};
        }
        X::transpose(r);
        if (n == W) {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i) X::store(d + (x + i) * ld, r[i]);
        } else {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i)
            if (i < n) X::store(d + (x + i) * ld, r[i]);
        }
      }
    }
  }
}

// The way back, of rows x valid pixels: image[c][y0 + y][x0 + x] = src[(y * cols + x) * ld + c].
template <class T>
void to_planes(T* image, int64_t channels, int64_t h, int64_t w, int64_t y0, int64_t x0, const T* src,
               int64_t ld, int64_t rows, int64_t cols, int64_t valid) {
  using X = Reg<T>;
  constexpr int W = X::W;
  for (int64_t c = 0; c < channels; c += W) {
    const int64_t count = least<int64_t>(W, channels - c);
    for (int64_t y = 0; y < rows; ++y) {
      const T* s = src + y * cols * ld + c;
      T* d = image + (c * h + y0 + y) * w + x0;
      for (int64_t i = 0; i < valid; i += W) {
        const int64_t x = most<int64_t>(0, least(i, valid - W));
        const int n = static_cast<int>(least<int64_t>(W, valid - x));
        typename X::V r[W];
        if (n == W) {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i) r[i] = X::load(s + (x + i) * ld);
        } else {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i) r[i] = i < n ? X::load(s + (x + i) * ld) : typename X::V{};
        }
        X::transpose(r);
        if (n == W && count == W) {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i) X::store(d + i * h * w + x, r[i]);
        } else {
#pragma GCC unroll 16
          for (int i = 0; i < W; ++i)
            if (i < count) X::store(d + i * h * w + x, r[i], n);
        }
      }
    }
  }
}

template <class T> struct Patch { typename Reg<T>::V row[4]; };

// A column of B' d.
template <class T> CR_INLINE Patch<T> input_column(const T* d, int64_t pitch) {
  using X = Reg<T>;
  const auto d0 = X::load(d), d1 = X::load(d + pitch), d2 = X::load(d + 2 * pitch),
             d3 = X::load(d + 3 * pitch);
  return {{d0 - d2, d1 + d2, d2 - d1, d1 - d3}};
}

// v[i * step + tile * ld + c] = (B' d B)[i] for a row of tiles; `strip` is their first patch, channels last.
template <class T>
[[gnu::noinline]] void transform_input(T* v, int64_t step, const T* strip, int64_t pitch, int64_t ld,
                                       int64_t tiles) {
  using X = Reg<T>;
  for (int64_t c = 0; c < ld; c += X::W) {
    const T* s = strip + c;
    T* o = v + c;
    Patch<T> p0 = input_column(s, pitch), p1 = input_column(s + ld, pitch);
    for (int64_t t = 0; t < tiles; ++t, o += ld) {
      s += 2 * ld;
      const Patch<T> p2 = input_column(s, pitch), p3 = input_column(s + ld, pitch);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        X::store(o + (4 * i + 0) * step, p0.row[i] - p2.row[i]);
        X::store(o + (4 * i + 1) * step, p1.row[i] + p2.row[i]);
        X::store(o + (4 * i + 2) * step, p2.row[i] - p1.row[i]);
        X::store(o + (4 * i + 3) * step, p1.row[i] - p3.row[i]);
      }
      p0 = p2;
      p1 = p3;
    }
  }
}

// strip = A' m A + bias for a row of tiles, 2 x 2 pixels each. True when all of it is finite; false also when a sum of
// large numbers overflows.
template <class T>
bool transform_output(T* strip, int64_t pitch, const T* m, int64_t step, int64_t ld, const T* bias,
                      int64_t tiles) {
  using X = Reg<T>;
  bool finite = true;
  for (int64_t c = 0; c < ld; c += X::W) {
    const auto b = X::load(bias + c);
    typename X::V seen = {};
    for (int64_t t = 0; t < tiles; ++t) {
      const T* s = m + t * ld + c;
      T* o = strip + 2 * t * ld + c;
      typename X::V up[4], down[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const auto m0 = X::load(s + j * step), m1 = X::load(s + (4 + j) * step),
                   m2 = X::load(s + (8 + j) * step), m3 = X::load(s + (12 + j) * step);
        up[j] = (m0 + m1) + m2;
        down[j] = (m1 - m2) - m3;
      }
      const auto y00 = ((up[0] + up[1]) + up[2]) + b, y01 = ((up[1] - up[2]) - up[3]) + b,
                 y10 = ((down[0] + down[1]) + down[2]) + b, y11 = ((down[1] - down[2]) - down[3]) + b;
      seen = seen + ((y00 + y01) + (y10 + y11));
      X::store(o, y00);
      X::store(o + ld, y01);
      X::store(o + pitch, y10);
      X::store(o + pitch + ld, y11);
    }
    T lanes[X::W];
    X::store(lanes, seen);
    for (T x : lanes) finite &= x - x == T(0);
  }
  return finite;
}

// v[i * step + tile * h + r] = (A dy A')[i] of channel r of the strip, for a row of tiles and r < h: a panel as the tile of
// a product reads it. Registers run over the end.
template <class T>
void transform_grad(T* v, int64_t step, int h, const T* strip, int64_t pitch, int64_t ld, int64_t tiles) {
  using X = Reg<T>;
  for (int64_t t = 0; t < tiles; ++t) {
    for (int r = 0; r < h; r += X::W) {
      const T* s = strip + 2 * t * ld + r;
      T* o = v + t * h + r;
      typename X::V row[4][2];
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const auto y0 = X::load(s + j * ld), y1 = X::load(s + pitch + j * ld);
        row[0][j] = y0;
        row[1][j] = y0 + y1;
        row[2][j] = y0 - y1;
        row[3][j] = -y1;
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        X::store(o + (4 * i + 0) * step, row[i][0]);
        X::store(o + (4 * i + 1) * step, row[i][0] + row[i][1]);
        X::store(o + (4 * i + 2) * step, row[i][0] - row[i][1]);
        X::store(o + (4 * i + 3) * step, -row[i][1]);
      }
    }
  }
}

// G by a column of three.
template <class T> CR_INLINE Patch<T> kernel_column(typename Reg<T>::V a, typename Reg<T>::V b,
                                                    typename Reg<T>::V c) {
  const auto half = Reg<T>::set1(T(0.5));
  const auto outer = a + c;
  return {{a, (outer + b) * half, (outer - b) * half, c}};
}

// u[i * step] = (G w G')[i] for a register of kernels, w[t * tap] for tap t.
template <class T> void transform_kernel(T* u, int64_t step, const T* w, int64_t tap) {
  using X = Reg<T>;
  Patch<T> column[3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j)
    column[j] =
        kernel_column<T>(X::load(w + j * tap), X::load(w + (3 + j) * tap), X::load(w + (6 + j) * tap));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Patch<T> p = kernel_column<T>(column[0].row[i], column[1].row[i], column[2].row[i]);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) X::store(u + (4 * i + j) * step, p.row[j]);
  }
}

// dst[tap * tap_step + c] = (G' s G)[tap], for a row of `ld` channels of s[i * step + c].
template <class T>
void transform_kernel_grad(T* dst, int64_t tap_step, const T* s, int64_t step, int64_t ld) {
  using X = Reg<T>;
  const auto half = X::set1(T(0.5));
  for (int64_t c = 0; c < ld; c += X::W) {
    typename X::V row[3][4];
    for (int j = 0; j < 4; ++j) {
      const auto s0 = X::load(s + j * step + c), s1 = X::load(s + (4 + j) * step + c),
                 s2 = X::load(s + (8 + j) * step + c), s3 = X::load(s + (12 + j) * step + c);
      const auto mean = (s1 + s2) * half;
      row[0][j] = s0 + mean;
      row[1][j] = (s1 - s2) * half;
      row[2][j] = mean + s3;
    }
    for (int i = 0; i < 3; ++i) {
      const auto mean = (row[i][1] + row[i][2]) * half;
      X::store(dst + (3 * i + 0) * tap_step + c, row[i][0] + mean);
      X::store(dst + (3 * i + 1) * tap_step + c, (row[i][1] - row[i][2]) * half);
      X::store(dst + (3 * i + 2) * tap_step + c, mean + row[i][3]);
    }
  }
}

}  // namespace chainrule::CR_ISA
