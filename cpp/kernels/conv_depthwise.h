// The weight's gradient of a convolution whose groups have one input channel: too few taps for a tile. Sums run over the
// lanes of the virtual vector, along the rows of the output (for a 3 x 3 kernel down its columns of vectors), image after
// image; the lanes are added in a tree at the end.
#pragma once
#include "kernels/conv_direct.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {

// acc[t] += grad * strip shifted by tap t, over the rows of a strip.
template <class T, int N>
void add_taps(Vec<T>* acc, const T* grad, const Strip<T>& strip, const T* padded, const ptrdiff_t* offsets,
              int64_t rows) {
  constexpr int L = Vec<T>::lanes;
  const int64_t width = strip.s.out_w;
  Vec<T> sums[N];
  for (int t = 0; t < N; ++t) sums[t] = acc[t];
  for (int64_t y = 0; y < rows; ++y) {
    const T* src = padded + y * strip.s.stride_h * strip.row();
    const T* g = grad + y * width;
    for (int64_t x = 0; x < width; x += L) {
      const int lanes = static_cast<int>(least<int64_t>(L, width - x));
      const Vec<T> v = lanes == L ? Vec<T>::load(g + x) : Vec<T>::load(g + x, lanes);
      for (int t = 0; t < N; ++t) {
        const T* p = src + offsets[t] + x;
        sums[t] = fma(v, lanes == L ? Vec<T>::load(p) : Vec<T>::load(p, lanes), sums[t]);
      }
    }
  }
  for (int t = 0; t < N; ++t) acc[t] = sums[t];
}

// One register of each sum of a 3 x 3 kernel, on the way down the rows.
template <class T> struct Columns3x3 {
  using R = native::Register<T>;
  R acc[9], row[3];  // the gradient's rows, the latest first

  template <int kFirst, int kEnd> CR_INLINE void add(const T* src, const ptrdiff_t* offsets, int lanes) {
#pragma GCC unroll 3
    for (int s = 0; s < 3; ++s) {
      const R v = lanes == Vec<T>::per_register ? native::load<T>(src + offsets[s])
                                                : native::load(src + offsets[s], lanes);
#pragma GCC unroll 3
      for (int r = kFirst; r < kEnd; ++r) acc[3 * r + s] = native::fma(row[r], v, acc[3 * r + s]);
    }
  }
  CR_INLINE void next(const T* grad, int lanes) {
    row[2] = row[1];
    row[1] = row[0];
    row[0] = lanes == Vec<T>::per_register ? native::load<T>(grad) : native::load(grad, lanes);
  }
};

// The same for the nine taps of a 3 x 3 kernel and at least two rows: each row of the strip is read once.
template <class T>
void add_taps_3x3(Vec<T>* acc, const T* grad, const Strip<T>& strip, const T* padded,
                  const ptrdiff_t* offsets, int64_t rows) {
  constexpr int W = Vec<T>::per_register;
  const int64_t width = strip.s.out_w, row = strip.row();
  for (int64_t x = 0; x < width; x += W) {
    const int lanes = static_cast<int>(least<int64_t>(W, width - x)), part = x / W % registers;
    const T *src = padded + x, *g = grad + x;
    Columns3x3<T> c;
#pragma GCC unroll 9
    for (int t = 0; t < 9; ++t) c.acc[t] = acc[t].r[part];
    c.row[0] = c.row[1] = c.row[2] = native::Register<T>{};
    c.next(g, lanes);
    c.template add<0, 1>(src, offsets, lanes);
    c.next(g + width, lanes);
    c.template add<0, 2>(src + row, offsets, lanes);
    for (int64_t y = 2; y < rows; ++y) {
      c.next(g + y * width, lanes);
      c.template add<0, 3>(src + y * row, offsets, lanes);
    }
    c.next(g, lanes);  // not used
    c.template add<1, 3>(src + rows * row, offsets, lanes);
    c.row[2] = c.row[1];
    c.template add<2, 3>(src + (rows + 1) * row, offsets, lanes);
#pragma GCC unroll 9
    for (int t = 0; t < 9; ++t) acc[t].r[part] = c.acc[t];
  }
}

// The gradients of groups, on one thread.
template <class T> struct DepthwiseWeightGrad {
  const ConvShape& s;
  int64_t rows, m;  // output rows a strip, output channels of a group
  Strip<T> strip;
  Scratch<T> padded, sums;
  Scratch<ptrdiff_t> offsets;
  bool fast;

  DepthwiseWeightGrad(const ConvShape& shape, int64_t strip_rows, int64_t channels)
      : s(shape),
        rows(strip_rows),
        m(channels),
        strip(shape, strip_rows),
        padded(strip.size(1)),
        sums(m * s.taps * Vec<T>::lanes),
        offsets(s.taps) {
    for (int64_t t = 0; t < s.taps; ++t) offsets.p[t] = strip.offset(0, t);
    fast = is_3x3(strip, offsets.p);
  }

  // out[m][taps] of one group, over some images. `image` and `grad` are the group's part of the first.
  void run(const T* image, ptrdiff_t image_step, const T* grad, ptrdiff_t grad_step, int64_t images, T* out) {
    if (planes_weight_grad(s, m, image, image_step, grad, grad_step, images, out)) return;
    auto* acc = reinterpret_cast<Vec<T>*>(sums.p);
    for (int64_t i = 0; i < m * s.taps; ++i) acc[i] = Vec<T>(T(0));
    for (int64_t n = 0; n < images; ++n, image += image_step, grad += grad_step) {
      for (int64_t oy = 0; oy < s.out_h; oy += rows) {
        T* const pixels = padded.p + Strip<T>::kFront;
        strip.build(pixels, image, 1, oy);
        const int64_t count = least(rows, s.out_h - oy);
        for (int64_t i = 0; i < m; ++i) {
          const T* g = grad + (i * s.out_h + oy) * s.out_w;
          Vec<T>* a = acc + i * s.taps;
          if (fast && count >= 2) {
            add_taps_3x3(a, g, strip, pixels, offsets.p, count);
            continue;
          }
          int64_t t = 0;
          for (; t + 3 <= s.taps; t += 3) add_taps<T, 3>(a + t, g, strip, pixels, offsets.p + t, count);
          for (; t < s.taps; ++t) add_taps<T, 1>(a + t, g, strip, pixels, offsets.p + t, count);
        }
      }
    }
    for (int64_t i = 0; i < m * s.taps; ++i) out[i] = reduce_add(acc[i]);
  }
};

}  // namespace chainrule::CR_ISA
