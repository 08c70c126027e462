// The image side of a convolution: a padded copy of a strip of rows in which every tap of the kernel is one constant
// offset, and its packing into panels.
#pragma once
#include <cstring>

#include "kernels/deinterleave.h"
#include "kernels/gemm_blocked.h"

namespace chainrule::CR_ISA {

// One product over an image, which is zero outside of its frame:
//   out[m][oy][ox] = sum over (c, t) of weight[m][c * taps + t]
//                    * image[c][oy * stride_h + dy[t] + y0][ox * stride_w + dx[t] + x0],    dy, dx >= 0.
struct ConvShape {
  int64_t channels, in_h, in_w, out_h, out_w;
  int64_t stride_h, stride_w, y0, x0;
  int64_t taps;
  const int64_t *dy, *dx;
  int64_t reach_h, reach_w;  // 1 + the largest dy, dx
};

// A zero-padded copy of the rows that the output rows [oy0, oy0 + rows) read. Columns are stored by their phase modulo
// the stride, so that neighbouring outputs read neighbouring elements.
template <class T> struct Strip {
  const ConvShape& s;
  int64_t height, pitch;  // rows, and elements a phase of a row

  Strip(const ConvShape& shape, int64_t rows)
      : s(shape),
        height((rows - 1) * shape.stride_h + shape.reach_h),
        pitch(shape.out_w - 1 + ceil_div(shape.reach_w, shape.stride_w)) {}

  int64_t row() const { return s.stride_w * pitch; }
  int64_t channel() const { return height * row(); }
  // Registers may run over both ends: what they read there lands in columns that nobody stores.
  int64_t size(int64_t channels) const { return channels * channel() + 4 * Reg<T>::W; }
  static constexpr int kFront = Reg<T>::W;
  ptrdiff_t offset(int64_t c, int64_t t) const {
    return static_cast<ptrdiff_t>(c * channel() + s.dy[t] * row() + s.dx[t] % s.stride_w * pitch +
                                  s.dx[t] / s.stride_w);
  }

  // Elements lo to hi - 1 of phase q of a row come from the image: those with 0 <= x + i * stride_w < in_w.
  struct Span { int64_t x, lo, hi; };
  Span span(int64_t q) const {
    const int64_t x = s.x0 + q;
    const int64_t lo = least(pitch, x < 0 ? ceil_div(-x, s.stride_w) : 0);
    return {x, lo, most(lo, least(pitch, x < s.in_w ? ceil_div(s.in_w - x, s.stride_w) : 0))};
  }

  // The first n of a register of elements, of which there may be more, or none.
  static CR_INLINE typename Reg<T>::V first_of(const T* p, int64_t n) {
    return n > 0 ? Reg<T>::load(p, static_cast<int>(least<int64_t>(n, Reg<T>::W))) : typename Reg<T>::V{};
  }

  // dst begins after room for a register. Whole registers are stored, over what is written later or is slack.
  void build(T* dst, const T* image, int64_t channels, int64_t oy0) const {
    using X = Reg<T>;
    const typename X::V zero = {};
    X::store(dst + channels * channel(), zero);
    X::store(dst + channels * channel() + X::W, zero);
    // Divisions, so not once a row.
    constexpr int kSpans = 8;
    Span spans[kSpans];
    for (int q = 0; q < kSpans; ++q) spans[q] = span(q);
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < height; ++y) {
        T* d = dst + c * channel() + y * row();
        const int64_t iy = oy0 * s.stride_h + s.y0 + y;
        if (iy < 0 || iy >= s.in_h) {
          for (int64_t i = 0; i < row(); i += X::W) X::store(d + i, zero);
          continue;
        }
        const T* src = image + (c * s.in_h + iy) * s.in_w;
        for (int64_t q = 0; q < s.stride_w; ++q, d += pitch) {
          const auto [x, lo, hi] = q < kSpans ? spans[q] : span(q);
          for (int64_t i = 0; i < lo; i += X::W) X::store(d + i, zero);
          if (s.stride_w == 1) {
            int64_t i = lo;
            for (; i + X::W <= hi; i += X::W) X::store(d + i, X::load(src + x + i));
            if (i < hi) X::store(d + i, X::load(src + x + i, static_cast<int>(hi - i)));
          } else if (s.stride_w == 2) {
            for (int64_t i = lo; i < hi; i += X::W) {
              const T* const p = src + x + 2 * i;
              const int64_t n = s.in_w - x - 2 * i;
              X::store(d + i, n >= 2 * X::W ? every_second<0>(X::load(p), X::load(p + X::W))
                                            : every_second<0>(first_of(p, n), first_of(p + X::W, n - X::W)));
            }
          } else {
            for (int64_t i = lo; i < hi; ++i) d[i] = src[x + i * s.stride_w];
          }
          for (int64_t i = hi; i < pitch; i += X::W) X::store(d + i, zero);
        }
      }
    }
  }
};

// Pixels [p, p + count) of the output, as runs inside rows: where each begins in the strip, and its length.
template <class T> struct Runs {
  ptrdiff_t from[kBlockK];
  int length[kBlockK];
  int count = 0;

  Runs(const Strip<T>& strip, int64_t p, int n) {
    const int64_t w = strip.s.out_w;
    int64_t y = p / w, x = p % w;
    while (n > 0) {
      const int len = static_cast<int>(least<int64_t>(n, w - x));
      from[count] = static_cast<ptrdiff_t>(y * strip.s.stride_h * strip.row() + x);
      length[count++] = len;
      n -= len;
      x = 0;
      ++y;
    }
  }
};

// A register of pixels, put together from the runs that it crosses: piece i holds the lanes from start[i] on, and begins
// `from[i]` elements into the strip, counted for lane 0.
template <class T> struct Pieces {
  static constexpr int kMost = 4;
  ptrdiff_t from[kTileVectors][kMost];
  int start[kTileVectors][kMost];
  int count = 1;  // of the register with the most; 0 when that is more than kMost

  Pieces(const Runs<T>& runs) {
    constexpr int W = Reg<T>::W;
    for (int v = 0; v < kTileVectors; ++v) {
      int n = 0, first = 0;
      for (int r = 0; r < runs.count; first += runs.length[r++]) {
        const int lane = first - v * W;
        if (lane + runs.length[r] <= 0 || lane >= W) continue;
        if (n == kMost) {
          count = 0;
          return;
        }
        from[v][n] = runs.from[r] - lane;
        start[v][n++] = most(lane, 0);
      }
      count = most(count, n);
      for (; n < kMost; ++n) {  // beyond the last pixel, or nothing more: an empty piece
        from[v][n] = n > 0 ? from[v][n - 1] : runs.from[0];
        start[v][n] = n > 0 ? W : 0;
      }
    }
  }
};

template <class T, int N>
void pack_pieces(T* dst, const T* strip, const ptrdiff_t* offsets, int kn, const Pieces<T>& pieces) {
  using X = Reg<T>;
  typename X::M mask[kTileVectors][N];
  const T* from[kTileVectors][N];
  for (int v = 0; v < kTileVectors; ++v) {
    for (int i = 0; i < N; ++i) {
      mask[v][i] = X::first(pieces.start[v][i]);
      from[v][i] = strip + pieces.from[v][i];
    }
  }
  for (int k = 0; k < kn; ++k, dst += kPanel<T>) {
    const ptrdiff_t at = offsets[k];
#pragma GCC unroll 4
    for (int v = 0; v < kTileVectors; ++v) {
      auto x = X::load(from[v][0] + at);
#pragma GCC unroll 4
      for (int i = 1; i < N; ++i) x = X::select(mask[v][i], x, X::load(from[v][i] + at));
      X::store(dst + v * X::W, x);
    }
  }
}

// dst[k * kPanel + j] = strip[offsets[k] + pixel j]. Runs over the end by less than a register.
template <class T> void pack_pixels(T* dst, const T* strip, const ptrdiff_t* offsets, int kn,
                                    const Runs<T>& runs) {
  using X = Reg<T>;
  const Pieces<T> pieces(runs);
  switch (pieces.count) {
    case 1: return pack_pieces<T, 1>(dst, strip, offsets, kn, pieces);
    case 2: return pack_pieces<T, 2>(dst, strip, offsets, kn, pieces);
    case 3: return pack_pieces<T, 3>(dst, strip, offsets, kn, pieces);
    case 4: return pack_pieces<T, 4>(dst, strip, offsets, kn, pieces);
    default: break;
  }
  for (int k = 0; k < kn; ++k, dst += kPanel<T>) {
    const T* src = strip + offsets[k];
    T* d = dst;
    for (int r = 0; r < runs.count; ++r) {
      const T* q = src + runs.from[r];
      const int len = runs.length[r];
      for (int i = 0; i < len; i += X::W) X::store(d + i, X::load(q + i));
      d += len;
    }
  }
}

// dst[p * kPanel + j] = strip[offsets[j] + pixel p] for `cols` taps: the same panel for a product over pixels.
template <class T>
void pack_taps(T* dst, const T* strip, const ptrdiff_t* offsets, int cols, const Runs<T>& runs) {
  using X = Reg<T>;
  constexpr int P = kPanel<T>, W = X::W;
  for (int r = 0; r < runs.count; ++r) {
    const T* q = strip + runs.from[r];
    const int len = runs.length[r];
    for (int j = 0; j < cols; j += W) {
      const int lanes = least(W, cols - j);
      for (int i = 0; i < len; i += W) {
        typename X::V t[W];
#pragma GCC unroll 16
        for (int l = 0; l < W; ++l) t[l] = X::load(q + offsets[j + least(l, lanes - 1)] + i);
        X::transpose(t);
        T* d = dst + i * P + j;
        if (i + W <= len) {
#pragma GCC unroll 16
          for (int l = 0; l < W; ++l) X::store(d + l * P, t[l]);
        } else {
#pragma GCC unroll 16
          for (int l = 0; l < W; ++l)
            if (l < len - i) X::store(d + l * P, t[l]);
        }
      }
    }
    dst += len * P;
  }
}

}  // namespace chainrule::CR_ISA
