// Convolution of single input channels, and the input's gradient of stride two for few output channels or small groups:
// registers of pixels along the rows of a plane, which are read where they lie. Masks make zeros of what is outside of the
// image, so that small planes need no padded copy. In float32, on machines with masked loads; the chains are those of
// conv_direct.h, conv_depthwise.h and ScatteredGrad, and so is every bit.
#pragma once
#include "core/parallel_for.h"
#include "kernels/conv_image.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#define CR_MASKED_LOADS

// A register of pixels: 8 where rows are short, for half of the loads of a wide one lie in two lines of the cache.
template <int lanes> struct PixelReg;
#if defined(__AVX512F__)
template <> struct PixelReg<16> : Reg<float> {
  // Of the register whose first lane is pixel x, those that lie in [0, width).
  static CR_INLINE M inside(int64_t x, int64_t width) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_mask_cmple_epi32_mask(
        _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(static_cast<int>(width - x))),
        _mm512_set1_epi32(static_cast<int>(-x)), lane);
  }
  static CR_INLINE V load(const float* p, M m) { return _mm512_maskz_loadu_ps(m, p); }
};
template <> struct PixelReg<8> {
  using V = __m256;
  using M = __mmask8;
  static constexpr int W = 8;
  static CR_INLINE M inside(int64_t x, int64_t width) {
    return static_cast<M>(PixelReg<16>::inside(x, width));  // of the upper lanes nothing is kept
  }
  static CR_INLINE V load(const float* p, M m) { return _mm256_maskz_loadu_ps(m, p); }
  static CR_INLINE void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static CR_INLINE void store(float* p, V v, int n) {
    _mm256_mask_storeu_ps(p, static_cast<M>((1u << n) - 1), v);
  }
  static CR_INLINE V set1(float s) { return _mm256_set1_ps(s); }
  static CR_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
};
#else
template <> struct PixelReg<8> : Reg<float> {
  using M = __m256i;
  static CR_INLINE M inside(int64_t x, int64_t width) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(-x)), lane),
                               _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(width - x)), lane));
  }
  static CR_INLINE V load(const float* p, M m) { return _mm256_maskload_ps(p, m); }
};
#endif

// The first n lanes at p, of a plane that ends at `end`. Whole registers run over pixels that are written later.
template <class X> CR_INLINE void store_ahead(float* p, typename X::V v, int n, const float* end) {
  if (n == X::W || end - p >= X::W)
    X::store(p, v);
  else
    X::store(p, v, n);
}

// Rows [begin, end) of out[out_h][out_w] of one plane by one K x K kernel with strides of S. A row that was loaded serves all
// rows of outputs.
template <class X, int K, int S>
[[gnu::noinline]] void convolve_plane(const ConvShape& s, const float* image, const float* zeros,
                                      const float* w, float bias, float* out, int64_t begin, int64_t end) {
  using V = typename X::V;
  constexpr int R = K == 3 ? 4 : 2, W = X::W;
  V taps[K * K];
#pragma GCC unroll 25
  for (int t = 0; t < K * K; ++t) taps[t] = X::set1(w[t]);
  const int64_t width = s.out_w;
  const int lanes = static_cast<int>(least<int64_t>(W, width));
  for (int64_t i = 0; i < width; i += W) {
    const int64_t x = most<int64_t>(0, least(i, width - W)), from = x * S + s.x0;
    typename X::M inside[K + S];
    for (int c = 0; c < K; c += S) {
      for (int h = 0; h < S; ++h) inside[c + h] = X::inside(from + c + h * W, s.in_w);
    }
    for (int64_t y = begin; y < end; y += R) {
      V acc[R];
#pragma GCC unroll 4
      for (int g = 0; g < R; ++g) acc[g] = V{};
#pragma GCC unroll 11
      for (int j = 0; j < (R - 1) * S + K; ++j) {
        const int64_t iy = y * S + s.y0 + j;
        const float* const p = (iy >= 0 && iy < s.in_h ? image + iy * s.in_w : zeros) + from;
        V v[K + 1];
#pragma GCC unroll 5
        for (int c = 0; c < K; c += S) {
          v[c] = X::load(p + c, inside[c]);
          if constexpr (S == 2) {
            const V next = X::load(p + c + W, inside[c + 1]);
            v[c + 1] = every_second<1>(v[c], next);
            v[c] = every_second<0>(v[c], next);
          }
        }
#pragma GCC unroll 4
        for (int g = 0; g < R; ++g) {
#pragma GCC unroll 5
          for (int c = 0; c < K; ++c)
            if (j - g * S >= 0 && j - g * S < K) acc[g] = X::fma(taps[(j - g * S) * K + c], v[c], acc[g]);
        }
      }
      const V b = X::set1(bias);
#pragma GCC unroll 4
      for (int g = 0; g < R; ++g)
        if (y + g < end) store_ahead<X>(out + (y + g) * width + x, acc[g] + b, lanes, out + end * width);
    }
  }
}

using WideReg = PixelReg<Reg<float>::W>;
using PlaneFn = void (*)(const ConvShape&, const float*, const float*, const float*, float, float*, int64_t,
                         int64_t);
template <class X> PlaneFn plane_3x3(int64_t stride) {
  return stride == 1 ? convolve_plane<X, 3, 1> : convolve_plane<X, 3, 2>;
}

// Kernels of one channel each: n * groups planes by m of them a group.
inline void convolve_planes(const ConvShape& s, int64_t n, int64_t groups, int64_t m, const float* image,
                            const float* weight, const float* bias, float* out) {
  const int64_t pixels = s.out_h * s.out_w, planes = n * groups * m;
  const PlaneFn plane = s.reach_w == 5
                            ? s.stride_w == 1 ? convolve_plane<WideReg, 5, 1> : convolve_plane<WideReg, 5, 2>
                        : s.out_w <= 8 ? plane_3x3<PixelReg<8>>(s.stride_w)
                                       : plane_3x3<WideReg>(s.stride_w);
  // Parts of planes where these are few.
  const int64_t parts =
                    planes < 2 * num_threads() ? least(ceil_div(s.out_h, 8), 2 * int64_t{num_threads()}) : 1,
                rows = ceil_div(s.out_h, parts);
  parallel_for(planes * parts, most<int64_t>(1, kParallelWork / 4 / (s.taps * rows * s.out_w + 1)),
               [&](int64_t begin, int64_t end) {
                 Scratch<float> zeros(s.in_w);
                 memset(zeros.p, 0, static_cast<size_t>(s.in_w) * sizeof(float));
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t p = t / parts, i = p % (groups * m), y = t % parts * rows;
                   plane(s, image + p / m * s.in_h * s.in_w, zeros.p, weight + i * s.taps,
                         bias ? bias[i] : -0.0f, out + p * pixels, y, least(s.out_h, y + rows));
                 }
               });
}

// The gradient of C planes of the input of K x K kernels with strides of two: a pixel gathers what the taps of its parity
// give, over `m` output channels, the last tap first.
template <class X, int K, int C> struct PlaneGrad {
  using V = typename X::V;
  static constexpr int W = X::W;
  // Two registers of pixels of a row, in turns of one parity and the other.
  struct Columns {
    typename X::M inside[K];
    ptrdiff_t at[K];
  };
  // Row 2 * `half` + P of the padded image.
  template <int P>
  static CR_INLINE void gather(const ConvShape& s, int64_t m, const float* zeros, const Columns& columns,
                               int64_t half, const float* grad, const float* w, V (*sums)[2]) {
    const int64_t pixels = s.out_h * s.out_w, weight_step = s.channels * s.taps;
    V acc[C][2];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[c][0] = acc[c][1] = V{};
    for (int64_t k = 0; k < m; ++k, grad += pixels, w += weight_step) {
#pragma GCC unroll 5
      for (int r = K - 1; r >= 0; --r) {
        if (r % 2 != P) continue;
        const int64_t oy = half - r / 2;
        const float* const row = oy >= 0 && oy < s.out_h ? grad + oy * s.out_w : zeros;
#pragma GCC unroll 5
        for (int t = K - 1; t >= 0; --t) {
          const V v = X::load(row + columns.at[t], columns.inside[t]);
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c)
            acc[c][t % 2] = X::fma(X::set1(w[(c * K + r) * K + t]), v, acc[c][t % 2]);
        }
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      sums[c][0] = acc[c][0];
      sums[c][1] = acc[c][1];
    }
  }

  [[gnu::noinline]] static void run(const ConvShape& s, int64_t m, const float* zeros, const float* grad,
                                    const float* w, float* out) {
    const int64_t width = s.in_w, plane = s.in_h * width;
    for (int64_t i = 0; i < width; i += 2 * W) {
      const int64_t x = width % 2 == 0 ? most<int64_t>(0, least(i, width - 2 * W)) : i;
      const int first = static_cast<int>((x - s.x0) & 1);  // parity of the first pixel
      Columns columns;
      for (int t = 0; t < K; ++t) {
        columns.at[t] = static_cast<ptrdiff_t>((x - s.x0 - t + 1) >> 1);
        columns.inside[t] = X::inside(columns.at[t], s.out_w);
      }
      const int lanes = static_cast<int>(least<int64_t>(2 * W, width - x));
      for (int64_t y = 0; y < s.in_h; ++y) {
        V sums[C][2];
        if ((y - s.y0) % 2 == 0)
          gather<0>(s, m, zeros, columns, (y - s.y0) / 2, grad, w, sums);
        else
          gather<1>(s, m, zeros, columns, (y - s.y0) / 2, grad, w, sums);
        float* to = out + y * width + x;
#pragma GCC unroll 1
        for (int c = 0; c < C; ++c, to += plane) {
          const V a = sums[c][first], b = sums[c][1 - first];
          const float* const end = width <= 2 * W ? out + (c + 1) * plane : to + lanes;
          store_ahead<X>(to, zip<0>(a, b), least(W, lanes), end);
          if (lanes > W) store_ahead<X>(to + W, zip<1>(a, b), lanes - W, end);
        }
      }
    }
  }
};

template <int C> constexpr auto plane_grad(int64_t kernel, int64_t width) {
  if constexpr (C == 1) {
    if (kernel == 5) return PlaneGrad<WideReg, 5, 1>::run;
  }
  return width <= 8 ? PlaneGrad<PixelReg<8>, 3, C>::run : PlaneGrad<WideReg, 3, C>::run;
}

// n * groups * s.channels planes.
inline void planes_grad(const ConvShape& s, int64_t n, int64_t groups, int64_t m, const float* grad,
                        const float* weight, float* out) {
  const int64_t pixels = s.out_h * s.out_w, step = s.channels % 4 == 0 && s.reach_w == 3 ? 4 : 1;
  const auto planes = step == 4 ? plane_grad<4>(3, s.out_w) : plane_grad<1>(s.reach_w, s.out_w);
  parallel_for(n * groups * s.channels / step,
               most<int64_t>(1, kParallelWork / 4 / (step * m * s.taps * pixels + 1)),
               [&](int64_t begin, int64_t end) {
                 Scratch<float> zeros(s.out_w);
                 memset(zeros.p, 0, static_cast<size_t>(s.out_w) * sizeof(float));
                 for (int64_t t = begin * step; t < end * step; t += step) {
                   const int64_t image = t / s.channels, c = t % s.channels;
                   planes(s, m, zeros.p, grad + image * m * pixels,
                          weight + (image % groups * m * s.channels + c) * s.taps, out + t * s.in_h * s.in_w);
                 }
               });
}

// The gradient of m kernels of 3 x 3 over some images of a plane each: out[m][9]. Lanes of the virtual vector as in
// conv_depthwise.h.
template <class X, int S>
[[gnu::noinline]] void plane_weight_grad(const ConvShape& s, int64_t m, const float* image,
                                         ptrdiff_t image_step, const float* grad, ptrdiff_t grad_step,
                                         int64_t images, float* out) {
  using V = typename X::V;
  constexpr int W = X::W, L = Vec<float>::lanes;
  const int64_t width = s.out_w;
  alignas(64) float zeros[S * (L + 1) + 2] = {};
  for (int64_t i = 0; i < m; ++i, grad += s.out_h * width, out += 9) {
    alignas(64) float sums[9][L] = {};
    for (int64_t x = 0; x < least<int64_t>(L, width); x += W) {
      const int64_t from = x * S + s.x0;
      const typename X::M lanes = X::inside(x, width);
      typename X::M inside[3 + S];
      for (int c = 0; c < 3; c += S) {
        for (int h = 0; h < S; ++h) inside[c + h] = X::inside(from + c + h * W, s.in_w);
      }
      V acc[9];
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t) acc[t] = V{};
      for (int64_t n = 0; n < images; ++n) {
        const float* const pixels = image + n * image_step;
        const float* g = grad + n * grad_step + x;
        for (int64_t y = 0; y < s.out_h; ++y, g += width) {
          const V slope = X::load(g, lanes);
#pragma GCC unroll 3
          for (int r = 0; r < 3; ++r) {
            const int64_t iy = y * S + s.y0 + r;
            const float* const p = (iy >= 0 && iy < s.in_h ? pixels + iy * s.in_w : zeros) + from;
#pragma GCC unroll 3
            for (int c = 0; c < 3; c += S) {
              const V v = X::load(p + c, inside[c]);
              if constexpr (S == 1) {
                acc[3 * r + c] = X::fma(slope, v, acc[3 * r + c]);
              } else {
                const V next = X::load(p + c + W, inside[c + 1]);
                acc[3 * r + c] = X::fma(slope, every_second<0>(v, next), acc[3 * r + c]);
                if (c == 0) acc[3 * r + 1] = X::fma(slope, every_second<1>(v, next), acc[3 * r + 1]);
              }
            }
          }
        }
      }
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t) X::store(sums[t] + x, acc[t]);
    }
#pragma GCC unroll 1
    for (int t = 0; t < 9; ++t) out[t] = reduce_add(Vec<float>::load(sums[t]));
  }
}

#endif

template <class T> inline constexpr bool reads_planes =
#if defined(CR_MASKED_LOADS)
    sizeof(T) == 4;
#else
    false;
#endif

// Kernels of 3 x 3 and 5 x 5 with the same strides both ways.
inline bool is_square(const ConvShape& s) {
  return s.reach_h == s.reach_w && s.taps == s.reach_h * s.reach_w && (s.reach_w == 3 || s.reach_w == 5) &&
         s.stride_h == s.stride_w;
}

// These return false for what they do not take.
template <class T>
bool planes_forward([[maybe_unused]] const ConvShape& s, [[maybe_unused]] int64_t n,
                    [[maybe_unused]] int64_t groups, [[maybe_unused]] int64_t m,
                    [[maybe_unused]] const T* image, [[maybe_unused]] const T* weight,
                    [[maybe_unused]] const T* bias, [[maybe_unused]] T* out) {
#if defined(CR_MASKED_LOADS)
  if constexpr (reads_planes<T>) {
    if (s.channels != 1 || !is_square(s) || s.stride_w > 2 || (s.reach_w == 5 && m > 4)) return false;
    convolve_planes(s, n, groups, m, image, weight, bias, out);
    return true;
  }
#endif
  return false;
}
template <class T>
bool planes_input_grad([[maybe_unused]] const ConvShape& s, [[maybe_unused]] int64_t n,
                       [[maybe_unused]] int64_t groups, [[maybe_unused]] int64_t m,
                       [[maybe_unused]] const T* grad, [[maybe_unused]] const T* weight,
                       [[maybe_unused]] T* out) {
#if defined(CR_MASKED_LOADS)
  if constexpr (reads_planes<T>) {
    if (!is_square(s) || s.stride_w != 2) return false;
    planes_grad(s, n, groups, m, grad, weight, out);
    return true;
  }
#endif
  return false;
}

template <class T>
bool planes_weight_grad([[maybe_unused]] const ConvShape& s, [[maybe_unused]] int64_t m,
                        [[maybe_unused]] const T* image, [[maybe_unused]] ptrdiff_t image_step,
                        [[maybe_unused]] const T* grad, [[maybe_unused]] ptrdiff_t grad_step,
                        [[maybe_unused]] int64_t images, [[maybe_unused]] T* out) {
#if defined(CR_MASKED_LOADS)
  if constexpr (reads_planes<T>) {
    if (!is_square(s) || s.reach_w != 3 || s.stride_w > 2 || s.out_w > Vec<float>::lanes) return false;
    const auto run = s.stride_w == 1 ? plane_weight_grad<PixelReg<8>, 1> : plane_weight_grad<PixelReg<8>, 2>;
    run(s, m, image, image_step, grad, grad_step, images, out);
    return true;
  }
#endif
  return false;
}

}  // namespace chainrule::CR_ISA
