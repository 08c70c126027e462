// The image side of a convolution: a padded copy of a strip of rows in which every tap of the kernel is one constant
// offset.
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
  [[gnu::noinline]] void build(T* dst, const T* image, int64_t channels, int64_t oy0) const {
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

}  // namespace chainrule::CR_ISA
