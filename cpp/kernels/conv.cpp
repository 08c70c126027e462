#include "kernels/conv.h"

#include "kernels/conv_depthwise.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_winograd.h"
#include "kernels/gemm.h"

namespace chainrule::CR_ISA {
namespace {

// Where the product over an image goes: dense rows, or (for a phase of a strided gradient) pixels with gaps.
template <class T> struct ConvOut {
  T* p;
  int64_t image, group, channel, row, col;  // strides
};

// The convolution of n images of `groups` groups by weight[group][m][channels * taps].
template <class T> struct ConvProduct {
  const ConvShape& s;
  int64_t n, groups, m;
  const T* image;  // n, groups, channels, in_h, in_w
  const T* weight;
  const T* bias;  // groups * m, or null
  ConvOut<T> out;

  int64_t k() const { return s.channels * s.taps; }
  bool dense() const { return out.col == 1 && out.row == s.out_w; }

  // c[m][pixels] of one strip on tiles. `weights` are the packed panels of the group, `panel` room for one panel of B.
  void tiles_of(const Strip<T>& strip, const T* padded, const ptrdiff_t* offsets, const T* weights, T* panel,
                const T* group_bias, T* c, ptrdiff_t ldc, int64_t pixels) const {
    constexpr int P = kPanel<T>;
    const int h = tile_height(m);
    const int64_t panels = ceil_div(m, h);
    for (int64_t j = 0; j < pixels; j += P) {
      const int w = static_cast<int>(least<int64_t>(P, pixels - j));
      const int nv = static_cast<int>(ceil_div(w, Reg<T>::W));
      const Runs<T> runs(strip, j, w);
      for (int64_t kk = 0; kk < k(); kk += kBlockK) {
        const int kn = static_cast<int>(least<int64_t>(kBlockK, k() - kk));
        pack_pixels(panel, padded, offsets + kk, kn, runs);
        const bool last = kk + kBlockK >= k();
        for (int64_t ip = 0; ip < panels; ++ip) {
          const int64_t i = ip * h;
          const int r = static_cast<int>(least<int64_t>(h, m - i));
          const TileOut<T> o{c + i * ldc + j,
                             ldc,
                             T(1),
                             kk == 0 ? T(0) : T(1),
                             last && group_bias ? group_bias + i : nullptr,
                             nullptr,
                             w - (nv - 1) * Reg<T>::W};
          tiles<T>.fn[1][nv - 1][r - 1](kn, weights + (kk / kBlockK * panels + ip) * h * kBlockK, 0, 0, panel,
                                        P, o);
        }
      }
    }
  }

  void run() const {
    const int64_t images = n * groups, work = most<int64_t>(1, m * k() * s.out_h * s.out_w);
    const bool direct = m <= kDirectRows || (s.channels == 1 && m < kTileRows);
    // Packed weights, shared by all images.
    const int h = tile_height(m);
    const int64_t panels = ceil_div(m, h), group_size = panels * h * ceil_div(k(), kBlockK) * kBlockK;
    Scratch<T> packed(direct ? 0 : groups * group_size);
    if (!direct) {
      parallel_for(groups * panels, most<int64_t>(1, 65536 / (h * k())), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t g = t / panels, ip = t % panels;
          const Mat<T> a{weight + g * m * k(), static_cast<ptrdiff_t>(k()), 1};
          for (int64_t kk = 0; kk < k(); kk += kBlockK)
            pack_a(packed.p + g * group_size + (kk / kBlockK * panels + ip) * h * kBlockK, a, ip * h,
                   static_cast<int>(least<int64_t>(h, m - ip * h)), kk,
                   static_cast<int>(least<int64_t>(kBlockK, k() - kk)));
        }
      });
    }
    // Strips: small enough for the cache, enough of them for the threads. They do not change a bit.
    const int64_t per_row = s.channels * s.stride_h * (s.out_w + s.reach_w) * s.stride_w;
    int64_t rows = least(s.out_h, most<int64_t>(4, 131072 / per_row));
    if (images < 2 * num_threads() && images * work > kParallelWork)
      rows = least(rows, most<int64_t>(1, ceil_div(s.out_h, ceil_div(2 * num_threads(), images))));
    const int64_t strips = ceil_div(s.out_h, rows);
    parallel_for(images * strips, most<int64_t>(1, kParallelWork / 4 / (work / strips + 1)),
                 [&](int64_t begin, int64_t end) {
                   Worker worker(*this, rows, direct, packed.p, group_size);
                   for (int64_t t = begin; t < end; ++t) worker.strip_of(t / strips, t % strips * rows);
                 });
  }

  // The scratch of one thread.
  struct Worker {
    const ConvProduct& p;
    const int64_t rows;
    const bool direct;
    const T* packed;
    const int64_t group_size;
    const Strip<T> strip;
    Scratch<T> padded, panel, gathered;
    Scratch<ptrdiff_t> offsets;

    Worker(const ConvProduct& product, int64_t strip_rows, bool is_direct, const T* weights, int64_t size)
        : p(product),
          rows(strip_rows),
          direct(is_direct),
          packed(weights),
          group_size(size),
          strip(product.s, strip_rows),
          padded(strip.size(product.s.channels)),
          panel(direct ? 0 : kPanel<T> * (kBlockK + 1)),
          gathered(product.dense() ? 0 : product.m * strip_rows * product.s.out_w),
          offsets(product.k()) {
      for (int64_t c = 0; c < p.s.channels; ++c) {
        for (int64_t t = 0; t < p.s.taps; ++t) offsets.p[c * p.s.taps + t] = strip.offset(c, t);
      }
    }

    void strip_of(int64_t image, int64_t oy) {
      const ConvShape& s = p.s;
      const int64_t b = image / p.groups, g = image % p.groups, count = least(rows, s.out_h - oy);
      T* const pixels = padded.p + Strip<T>::kFront;
      strip.build(pixels, p.image + image * s.channels * s.in_h * s.in_w, s.channels, oy);
      T* const out = p.out.p + b * p.out.image + g * p.out.group + oy * p.out.row;
      T* const c = p.dense() ? out : gathered.p;
      const int64_t ldc = p.dense() ? p.out.channel : count * s.out_w;
      const T* bias = p.bias ? p.bias + g * p.m : nullptr;
      if (direct) {
        direct_strip(strip, pixels, offsets.p, p.k(), p.weight + g * p.m * p.k(), bias, p.m, count, c, ldc);
      } else {
        p.tiles_of(strip, pixels, offsets.p, packed + g * group_size, panel.p, bias, c,
                   static_cast<ptrdiff_t>(ldc), count * s.out_w);
      }
      if (p.dense()) return;
      for (int64_t i = 0; i < p.m; ++i) {
        for (int64_t y = 0; y < count; ++y) {
          const T* src = c + i * ldc + y * s.out_w;
          T* d = out + i * p.out.channel + y * p.out.row;
          for (int64_t x = 0; x < s.out_w; ++x) d[x * p.out.col] = src[x];
        }
      }
    }
  };
};

// A list of the taps of a kernel.
struct Taps {
  Scratch<int64_t> y, x;
  int64_t count = 0;
  explicit Taps(int64_t most) : y(most), x(most) {}
  void add(int64_t dy, int64_t dx) {
    y.p[count] = dy;
    x.p[count++] = dx;
  }
};

bool is_pointwise(const ConvArgs& a) {
  return a.kernel_h == 1 && a.kernel_w == 1 && a.stride_h == 1 && a.stride_w == 1 && a.pad_h == 0 &&
         a.pad_w == 0 && a.groups == 1;
}

// A 1 x 1 convolution is a matrix product a image: of the weight, or of its transpose for the input's gradient.
void pointwise(const ConvArgs& a, const void* image, int64_t channels, int64_t m, int64_t row, int64_t col,
               const void* bias) {
  GemmArgs g;
  const int64_t pixels = a.in_h * a.in_w;
  g.dtype = a.dtype;
  g.batch = a.n;
  g.m = m;
  g.k = channels;
  g.n = pixels;
  g.a = a.weight;
  g.a_row = row;
  g.a_col = col;
  g.b = image;
  g.b_row = pixels;
  g.b_col = 1;
  g.b_batch = channels * pixels;
  g.c = a.out;
  g.c_row = pixels;
  g.c_col = 1;
  g.c_batch = m * pixels;
  g.row_bias = bias;
  gemm(g);
}

ConvShape forward_shape(const ConvArgs& a, Taps& taps) {
  for (int64_t r = 0; r < a.kernel_h; ++r) {
    for (int64_t s = 0; s < a.kernel_w; ++s) taps.add(r * a.dilation_h, s * a.dilation_w);
  }
  return {a.in_channels / a.groups,
          a.in_h,
          a.in_w,
          a.out_h,
          a.out_w,
          a.stride_h,
          a.stride_w,
          -a.pad_h,
          -a.pad_w,
          taps.count,
          taps.y.p,
          taps.x.p,
          (a.kernel_h - 1) * a.dilation_h + 1,
          (a.kernel_w - 1) * a.dilation_w + 1};
}

template <class T> void forward(const ConvArgs& a) {
  Taps taps(a.kernel_h * a.kernel_w);
  const ConvShape s = forward_shape(a, taps);
  const int64_t m = a.out_channels / a.groups, pixels = a.out_h * a.out_w;
  const ConvOut<T> out{static_cast<T*>(a.out), a.out_channels * pixels, m * pixels, pixels, a.out_w, 1};
  ConvProduct<T>{s,
                 a.n,
                 a.groups,
                 m,
                 static_cast<const T*>(a.input),
                 static_cast<const T*>(a.weight),
                 static_cast<const T*>(a.bias),
                 out}
      .run();
}

// Pixel (y, x) of the input's gradient gets weight[r][s] * grad[oy][ox] from each tap with oy * stride + r * dilation - pad
// == y. For y of one phase modulo the stride these taps are the same, and oy moves by one with y: a convolution of the
// output's gradient with stride one, by those taps of the weight, turned round.
template <class T> void input_grad_phase(const ConvArgs& a, int64_t phase_y, int64_t phase_x) {
  const int64_t cig = a.in_channels / a.groups, cog = a.out_channels / a.groups,
                area = a.kernel_h * a.kernel_w;
  const int64_t rows = ceil_div(a.in_h - phase_y, a.stride_h), cols = ceil_div(a.in_w - phase_x, a.stride_w);
  if (rows <= 0 || cols <= 0) return;
  T* const out = static_cast<T*>(a.out) + phase_y * a.in_w + phase_x;
  const ConvOut<T> where{
      out,       a.in_channels * a.in_h * a.in_w, cig * a.in_h * a.in_w, a.in_h * a.in_w, a.stride_h * a.in_w,
      a.stride_w};
  Taps taps(area), source(area);
  int64_t y0 = 0, x0 = 0, y1 = 0, x1 = 0;
  for (int64_t r = a.kernel_h - 1; r >= 0; --r) {
    for (int64_t s = a.kernel_w - 1; s >= 0; --s) {
      const int64_t y = phase_y + a.pad_h - r * a.dilation_h, x = phase_x + a.pad_w - s * a.dilation_w;
      if (y % a.stride_h != 0 || x % a.stride_w != 0) continue;
      const int64_t dy = y / a.stride_h, dx = x / a.stride_w;
      const bool none = taps.count == 0;
      y0 = none ? dy : least(y0, dy);
      x0 = none ? dx : least(x0, dx);
      y1 = none ? dy : most(y1, dy);
      x1 = none ? dx : most(x1, dx);
      taps.add(dy, dx);
      source.add(r, s);
    }
  }
  if (taps.count == 0) {
    parallel_for(a.n * a.in_channels, most<int64_t>(1, 16384 / (rows * cols)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) {
                     for (int64_t y = 0; y < rows; ++y) {
                       for (int64_t x = 0; x < cols; ++x)
                         out[i * where.channel + y * where.row + x * where.col] = T(0);
                     }
                   }
                 });
    return;
  }
  for (int64_t t = 0; t < taps.count; ++t) {
    taps.y.p[t] -= y0;
    taps.x.p[t] -= x0;
  }
  Scratch<T> weight(a.in_channels * cog * taps.count);
  const T* w = static_cast<const T*>(a.weight);
  for (int64_t g = 0; g < a.groups; ++g) {
    for (int64_t i = 0; i < cig; ++i) {
      for (int64_t o = 0; o < cog; ++o) {
        const T* src = w + ((g * cog + o) * cig + i) * area;
        T* dst = weight.p + ((g * cig + i) * cog + o) * taps.count;
        for (int64_t t = 0; t < taps.count; ++t) dst[t] = src[source.y.p[t] * a.kernel_w + source.x.p[t]];
      }
    }
  }
  const ConvShape s{cog, a.out_h, a.out_w,    rows,     cols,     1,           1,
                    y0,  x0,      taps.count, taps.y.p, taps.x.p, y1 - y0 + 1, x1 - x0 + 1};
  ConvProduct<T>{s, a.n, a.groups, cig, static_cast<const T*>(a.grad), weight.p, nullptr, where}.run();
}

// grad[m][pixels] times columns[pixels][channels * taps], for taps columns [j0, j1) of one group, over images [n0, n1).
template <class T> struct WeightGrad {
  const ConvArgs& a;
  const ConvShape& s;
  int64_t m, k, rows;  // output rows a strip

  void depthwise(int64_t group, int64_t n0, int64_t n1, T* out) const {
    const int64_t image = s.in_h * s.in_w, pixels = s.out_h * s.out_w;
    depthwise_weight_grad(s, rows, m, static_cast<const T*>(a.input) + (n0 * a.in_channels + group) * image,
                          static_cast<ptrdiff_t>(a.in_channels * image),
                          static_cast<const T*>(a.grad) + (n0 * a.out_channels + group * m) * pixels,
                          static_cast<ptrdiff_t>(a.out_channels * pixels), n1 - n0, out);
  }

  // A 1 x 1 kernel: products of matrices as they lie in memory.
  void pointwise(int64_t c0, int64_t c1, int64_t n0, int64_t n1, T* out) const {
    const int64_t pixels = a.out_h * a.out_w;
    for (int64_t n = n0; n < n1; ++n) {
      const Mat<T> grad{static_cast<const T*>(a.grad) + n * m * pixels, static_cast<ptrdiff_t>(pixels), 1};
      const Mat<T> image{static_cast<const T*>(a.input) + (n * a.in_channels + c0) * pixels, 1,
                         static_cast<ptrdiff_t>(pixels)};
      multiply_tiles(Product<T>{m, c1 - c0, pixels, grad, image, out + c0, static_cast<ptrdiff_t>(k), T(1),
                                n == n0 ? T(0) : T(1), nullptr, nullptr},
                     false);
    }
  }

  void run(int64_t group, int64_t j0, int64_t j1, int64_t n0, int64_t n1, T* out) const {
    constexpr int P = kPanel<T>;
    const int64_t c0 = j0 / s.taps, c1 = ceil_div(j1, s.taps), pixels = s.out_h * s.out_w;
    const int h = tile_height(m);
    const int64_t panels = ceil_div(m, h);
    const Strip<T> strip(s, rows);
    Scratch<T> padded(strip.size(c1 - c0)), grads(panels * h * kBlockK), panel(P * kBlockK);
    Scratch<ptrdiff_t> offsets(j1 - j0);
    for (int64_t j = j0; j < j1; ++j) offsets.p[j - j0] = strip.offset(j / s.taps - c0, j % s.taps);
    T beta = 0;
    for (int64_t n = n0; n < n1; ++n) {
      const T* image =
          static_cast<const T*>(a.input) + (n * a.in_channels + group * s.channels + c0) * s.in_h * s.in_w;
      const Mat<T> grad{static_cast<const T*>(a.grad) + (n * a.out_channels + group * m) * pixels,
                        static_cast<ptrdiff_t>(pixels), 1};
      for (int64_t oy = 0; oy < s.out_h; oy += rows) {
        T* const pixels = padded.p + Strip<T>::kFront;
        strip.build(pixels, image, c1 - c0, oy);
        const int64_t begin = oy * s.out_w, count = least(rows, s.out_h - oy) * s.out_w;
        for (int64_t p = 0; p < count; p += kBlockK) {
          const int kn = static_cast<int>(least<int64_t>(kBlockK, count - p));
          const Runs<T> runs(strip, p, kn);
          for (int64_t ip = 0; ip < panels; ++ip)
            pack_a(grads.p + ip * h * kBlockK, grad, ip * h, static_cast<int>(least<int64_t>(h, m - ip * h)),
                   begin + p, kn);
          for (int64_t j = j0; j < j1; j += P) {
            const int w = static_cast<int>(least<int64_t>(P, j1 - j)),
                      nv = static_cast<int>(ceil_div(w, Reg<T>::W));
            pack_taps(panel.p, pixels, offsets.p + (j - j0), w, runs);
            for (int64_t ip = 0; ip < panels; ++ip) {
              const TileOut<T> o{
                  out + ip * h * k + j,    static_cast<ptrdiff_t>(k), T(1), beta, nullptr, nullptr,
                  w - (nv - 1) * Reg<T>::W};
              tiles<T>.fn[1][nv - 1][least<int64_t>(h, m - ip * h) - 1](kn, grads.p + ip * h * kBlockK, 0, 0,
                                                                        panel.p, P, o);
            }
          }
          beta = 1;
        }
      }
    }
  }
};

template <class T> void weight_grad(const ConvArgs& a) {
  Taps taps(a.kernel_h * a.kernel_w);
  const ConvShape s = forward_shape(a, taps);
  const int64_t m = a.out_channels / a.groups, k = s.channels * s.taps, size = a.out_channels * k;
  const int64_t per_row = s.channels * s.stride_h * (s.out_w + s.reach_w) * s.stride_w;
  const int64_t rows = least(s.out_h, most<int64_t>(4, 262144 / per_row));
  const WeightGrad<T> job{a, s, m, k, rows};
  // Chunks of images: part of the definition. Ranges of columns: not.
  const int64_t per_chunk = ceil_div(a.n, most<int64_t>(1, least<int64_t>(16, (int64_t{1} << 22) / size)));
  const int64_t chunks = ceil_div(a.n, per_chunk);
  const int64_t work = m * k * s.out_h * s.out_w * per_chunk, wide = ceil_div(k, kPanel<T>);
  const bool direct = s.channels == 1 && m <= 4;
  const int64_t ranges = direct || work * chunks * a.groups < kParallelWork
                             ? 1
                             : least(wide, ceil_div(4 * num_threads(), chunks * a.groups));
  T* const out = static_cast<T*>(a.out);
  Scratch<T> parts(chunks > 1 ? chunks * size : 0);
  parallel_for(chunks * a.groups * ranges, most<int64_t>(1, kParallelWork / 4 / (work / ranges + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t range = t % ranges, g = t / ranges % a.groups, chunk = t / ranges / a.groups;
                   T* c = (chunks > 1 ? parts.p + chunk * size : out) + g * m * k;
                   const int64_t n0 = chunk * per_chunk, n1 = least(a.n, n0 + per_chunk);
                   if (direct) {
                     job.depthwise(g, n0, n1, c);
                     continue;
                   }
                   const int64_t j0 = range * wide / ranges * kPanel<T>,
                                 j1 = (range + 1) * wide / ranges * kPanel<T>;
                   is_pointwise(a) ? job.pointwise(j0, least(k, j1), n0, n1, c)
                                   : job.run(g, j0, least(k, j1), n0, n1, c);
                 }
               });
  if (chunks == 1) return;
  parallel_for(size, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T sum = parts.p[i];
      for (int64_t chunk = 1; chunk < chunks; ++chunk) sum += parts.p[chunk * size + i];
      out[i] = sum;
    }
  });
}

}  // namespace

void conv2d_forward(const ConvArgs& a) {
  if (a.n <= 0 || a.out_channels <= 0 || a.out_h <= 0 || a.out_w <= 0) return;
  if (is_pointwise(a)) return pointwise(a, a.input, a.in_channels, a.out_channels, a.in_channels, 1, a.bias);
  if (takes_winograd(a)) return winograd_forward(a);
  a.dtype == DType::Float32 ? forward<float>(a) : forward<double>(a);
}

void conv2d_input_grad(const ConvArgs& a) {
  if (a.n <= 0 || a.in_channels <= 0 || a.in_h <= 0 || a.in_w <= 0) return;
  if (is_pointwise(a)) return pointwise(a, a.grad, a.out_channels, a.in_channels, 1, a.in_channels, nullptr);
  if (takes_winograd(a)) return winograd_input_grad(a);
  for (int64_t y = 0; y < a.stride_h; ++y) {
    for (int64_t x = 0; x < a.stride_w; ++x)
      a.dtype == DType::Float32 ? input_grad_phase<float>(a, y, x) : input_grad_phase<double>(a, y, x);
  }
}

void conv2d_weight_grad(const ConvArgs& a) {
  const int64_t size = a.out_channels * (a.in_channels / a.groups) * a.kernel_h * a.kernel_w;
  if (size <= 0) return;
  if (a.n <= 0 || a.out_h <= 0 || a.out_w <= 0) {
    memset(a.out, 0, static_cast<size_t>(size) * size_of(a.dtype));
    return;
  }
  if (takes_winograd_weight_grad(a)) return winograd_weight_grad(a);
  a.dtype == DType::Float32 ? weight_grad<float>(a) : weight_grad<double>(a);
}

}  // namespace chainrule::CR_ISA
