#include "kernels/conv.h"

#include "kernels/conv_columns.h"
#include "kernels/conv_depthwise.h"
#include "kernels/conv_direct.h"
#include "kernels/conv_planes.h"
#include "kernels/conv_tiles.h"
#include "kernels/conv_winograd.h"
#include "kernels/gemm.h"

namespace chainrule::CR_ISA {
namespace {

// The convolution of n images of `groups` groups by weight[group][m][channels * taps].
template <class T> struct ConvProduct {
  const ConvShape& s;
  int64_t n, groups, m;
  const T* image;  // n, groups, channels, in_h, in_w
  const T* weight;
  const T* bias;  // groups * m, or null
  T* out;         // n, groups, m, out_h, out_w

  int64_t k() const { return s.channels * s.taps; }

  void run() const {
    if (planes_forward(s, n, groups, m, image, weight, bias, out)) return;
    const int64_t images = n * groups, work = most<int64_t>(1, m * k() * s.out_h * s.out_w);
    // The channels beyond whole registers are summed straight from the strip where that wastes fewer lanes.
    const bool few = m <= kDirectRows || (s.channels == 1 && m < kTileRows);
    const int64_t rest = few ? m : m % Reg<T>::W;
    // A single register beside few rows of a tile waits for loads, a quarter of its time.
    const int64_t tiles_cost = m < Reg<T>::W && kTileRows < 8 ? s.out_w * 4 / 3 : s.out_w;
    const bool direct =
        few || ceil_div(rest, kDirectRows) * kDirectRows * ceil_div(s.out_w, Reg<T>::W) < tiles_cost;
    const int64_t on_tiles = direct ? m - rest : m;
    // Packed weights, shared by all images.
    const int64_t panels = ceil_div(on_tiles, kPanel<T>), panel_size = k() * kPanel<T>;
    Scratch<T> packed(groups * panels * panel_size);
    parallel_for(groups * panels, most<int64_t>(1, 65536 / panel_size), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t i = t % panels * kPanel<T>;
        const Mat<T> b{weight + (t / panels * m + i) * k(), 1, static_cast<ptrdiff_t>(k())};
        pack_b(packed.p + t * panel_size, b, 0, static_cast<int>(k()), 0,
               static_cast<int>(least<int64_t>(kPanel<T>, on_tiles - i)));
      }
    });
    // Strips: small enough for the cache, enough of them for the threads. They do not change a bit.
    const int64_t per_row = s.channels * s.stride_h * (s.out_w + s.reach_w) * s.stride_w;
    int64_t rows = least(s.out_h, most<int64_t>(4, 131072 / per_row));
    if (images < 2 * num_threads() && images * work > kParallelWork)
      rows = least(rows, most<int64_t>(1, ceil_div(s.out_h, ceil_div(2 * num_threads(), images))));
    const int64_t strips = ceil_div(s.out_h, rows);
    parallel_for(images * strips, most<int64_t>(1, kParallelWork / 4 / (work / strips + 1)),
                 [&](int64_t begin, int64_t end) {
                   Worker worker(*this, rows, on_tiles, packed.p, panels * panel_size);
                   for (int64_t t = begin; t < end; t += worker.together) {
                     const int64_t stop = least(end, t + worker.together);
                     for (int64_t i = t; i < stop; ++i) worker.build(i - t, i / strips, i % strips * rows);
                     for (int64_t i = t; i < stop; ++i) worker.multiply(i - t, i / strips, i % strips * rows);
                   }
                 });
  }

  // The scratch of one thread.
  struct Worker {
    const ConvProduct& p;
    const int64_t rows;
    const int64_t on_tiles;  // channels
    const T* packed;
    const int64_t group_size;
    const Strip<T> strip;
    // Strips, small ones, are built before any is read: to load what was just stored in other pieces waits for the stores.
    const int64_t size, together;
    Scratch<T> padded;
    Scratch<ptrdiff_t> offsets;

    Worker(const ConvProduct& product, int64_t strip_rows, int64_t tile_channels, const T* weights,
           int64_t weights_size)
        : p(product),
          rows(strip_rows),
          on_tiles(tile_channels),
          packed(weights),
          group_size(weights_size),
          strip(product.s, strip_rows),
          size(strip.size(product.s.channels)),
          together(product.s.channels == 1 ? most<int64_t>(1, least<int64_t>(8, 2048 / size)) : 1),
          padded(together * size),
          offsets(product.k()) {
      for (int64_t c = 0; c < p.s.channels; ++c) {
        for (int64_t t = 0; t < p.s.taps; ++t) offsets.p[c * p.s.taps + t] = strip.offset(c, t);
      }
    }

    T* pixels_of(int64_t place) const { return padded.p + place * size + Strip<T>::kFront; }
    void build(int64_t place, int64_t image, int64_t oy) const {
      strip.build(pixels_of(place), p.image + image * p.s.channels * p.s.in_h * p.s.in_w, p.s.channels, oy);
    }
    void multiply(int64_t place, int64_t image, int64_t oy) const {
      const ConvShape& s = p.s;
      const int64_t g = image % p.groups, count = least(rows, s.out_h - oy);
      const T* const pixels = pixels_of(place);
      const int64_t ldc = s.out_h * s.out_w;
      T* const c = p.out + image * p.m * ldc + oy * s.out_w;
      const T* bias = p.bias ? p.bias + g * p.m : nullptr;
      window_strip(strip, pixels, offsets.p, p.k(), packed + g * group_size, bias, on_tiles, count * s.out_w,
                   c, ldc);
      direct_strip(strip, pixels, offsets.p, p.k(), p.weight + (g * p.m + on_tiles) * p.k(),
                   bias ? bias + on_tiles : nullptr, p.m - on_tiles, count, c + on_tiles * ldc, ldc);
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

// A kernel as large as the image: a linear layer.
bool is_linear(const ConvArgs& a) {
  return a.out_h == 1 && a.out_w == 1 && a.kernel_h == a.in_h && a.kernel_w == a.in_w && a.pad_h == 0 &&
         a.pad_w == 0 && a.dilation_h == 1 && a.dilation_w == 1 && a.groups == 1;
}

// c[m][n] = a[m][k] b[k][n] (+ bias[n]) of dense matrices, either of which may lie there transposed.
void multiply_dense(DType dtype, int64_t m, int64_t n, int64_t k, const void* a, bool turn_a, const void* b,
                    bool turn_b, void* c, const void* bias = nullptr) {
  GemmArgs g;
  g.dtype = dtype;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.a_row = turn_a ? 1 : k;
  g.a_col = turn_a ? m : 1;
  g.b = b;
  g.b_row = turn_b ? 1 : n;
  g.b_col = turn_b ? k : 1;
  g.c = c;
  g.c_row = n;
  g.c_col = 1;
  g.col_bias = bias;
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

// Measured: few pixels an image, or a weight that would take longer to pack than the windows that it meets.
bool takes_columns(const ConvArgs& a) {
  const int64_t pixels = a.out_h * a.out_w;
  return has_fma && a.groups == 1 && a.out_channels >= 64 && (pixels <= 64 || a.n * pixels <= a.out_channels);
}

template <class T> void forward(const ConvArgs& a) {
  Taps taps(a.kernel_h * a.kernel_w);
  const ConvShape s = forward_shape(a, taps);
  const int64_t m = a.out_channels / a.groups;
  if constexpr (has_fma && sizeof(T) == 4) {  // the others take the tiles, for the wheel's size
    if (takes_columns(a)) {
      ColumnsForward<T>{s,
                        a.n,
                        m,
                        static_cast<const T*>(a.input),
                        static_cast<const T*>(a.weight),
                        static_cast<const T*>(a.bias),
                        static_cast<T*>(a.out)}
          .run();
      return;
    }
  }
  ConvProduct<T>{s,
                 a.n,
                 a.groups,
                 m,
                 static_cast<const T*>(a.input),
                 static_cast<const T*>(a.weight),
                 static_cast<const T*>(a.bias),
                 static_cast<T*>(a.out)}
      .run();
}

// Measured: windows that leave out much of the image, and few pixels a weight.
bool takes_columns_grad(const ConvArgs& a) {
  const int64_t in = a.in_h * a.in_w, out = a.out_h * a.out_w;
  if (a.stride_h > 1 || a.stride_w > 1) return true;
  return has_fma && a.out_channels / a.groups >= 32 &&
         (4 * out <= 3 * in || (a.n * in <= a.in_channels && a.groups == 1));
}

// Measured: few output channels, and groups of 3 x 3 kernels with stride two. A rule for all levels: sums depend on it.
template <class T> bool takes_gather(const ConvArgs& a, const ConvShape& s) {
  const int64_t m = a.out_channels / a.groups;
  return m < kFewSummands || (sizeof(T) == 4 && a.groups > 1 && m <= 32 && s.channels % 4 == 0 &&
                              is_square(s) && s.reach_w == 3 && s.stride_w == 2);
}

template <class T> void input_grad(const ConvArgs& a) {
  const int64_t cig = a.in_channels / a.groups, cog = a.out_channels / a.groups,
                area = a.kernel_h * a.kernel_w;
  const T *grad = static_cast<const T*>(a.grad), *w = static_cast<const T*>(a.weight);
  T* const out = static_cast<T*>(a.out);
  Taps taps(area);
  const ConvShape s = forward_shape(a, taps);
  if (takes_columns_grad(a)) {
    if constexpr (has_fma) {  // the fallback for old machines does without, for the wheel's size
      if (!takes_gather<T>(a, s)) return ColumnsGrad<T>{s, a.n, a.groups, cog, grad, w, out}.run();
    }
    if (planes_input_grad(s, a.n, a.groups, cog, grad, w, out)) return;
    ScatteredGrad<T>{s, a.n, a.groups, cog, grad, w, out}.run();
    return;
  }
  // The convolution of the output's gradient by the weight turned round.
  Scratch<T> turned(a.in_channels * cog * area);
  parallel_for(a.in_channels, most<int64_t>(1, 16384 / (cog * area)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* src = w + (i / cig * cog * cig + i % cig) * area;
      T* dst = turned.p + i * cog * area;
      for (int64_t o = 0; o < cog; ++o, src += cig * area, dst += area)
        for (int64_t t = 0; t < area; ++t) dst[t] = src[area - 1 - t];
    }
  });
  const ConvShape turned_round{
      cog,  a.out_h, a.out_w, a.in_h,    a.in_w,   1, 1, a.pad_h - s.reach_h + 1, a.pad_w - s.reach_w + 1,
      area, s.dy,    s.dx,    s.reach_h, s.reach_w};
  ConvProduct<T>{turned_round, a.n, a.groups, cig, grad, turned.p, nullptr, out}.run();
}

// grad[m][pixels] times columns[pixels][channels * taps], for taps columns [j0, j1) of one group, over images [n0, n1).
template <class T> struct WeightGrad {
  const ConvArgs& a;
  const ConvShape& s;
  int64_t m, k, rows;  // output rows a strip

  void depthwise(DepthwiseWeightGrad<T>& with, int64_t group, int64_t n0, int64_t n1, T* out) const {
    const int64_t image = s.in_h * s.in_w, pixels = s.out_h * s.out_w;
    with.run(static_cast<const T*>(a.input) + (n0 * a.in_channels + group) * image,
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

  // Small images share a K block.
  int64_t together() const { return rows < s.out_h ? 1 : most<int64_t>(1, kBlockK / (s.out_h * s.out_w)); }

  // Panels of channels of the gradient, `panel_size` apart, have taps as rows. j0 is a multiple of kTileRows.
  void run(int64_t group, int64_t j0, int64_t j1, int64_t n0, int64_t n1, T* sums, int64_t panel_size) const {
    constexpr int P = kPanel<T>;
    const int64_t c0 = j0 / s.taps, c1 = ceil_div(j1, s.taps), pixels = s.out_h * s.out_w;
    const Strip<T> strip(s, rows);
    const int64_t strip_size = strip.size(c1 - c0);
    Scratch<T> padded(together() * strip_size), grads(ceil_div(m, P) * P * kBlockK);
    Scratch<ptrdiff_t> offsets(j1 - j0), steps(kBlockK);
    for (int64_t j = j0; j < j1; ++j) offsets.p[j - j0] = strip.offset(j / s.taps - c0, j % s.taps);
    bool add = false;
    for (int64_t n = n0, images; n < n1; n += images) {
      images = least(together(), n1 - n);
      for (int64_t oy = 0; oy < s.out_h; oy += rows) {
        T* const from = padded.p + Strip<T>::kFront;
        for (int64_t b = 0; b < images; ++b)
          strip.build(from + b * strip_size, image_of(n + b, group, c0), c1 - c0, oy);
        const int64_t begin = oy * s.out_w, count = least(rows, s.out_h - oy) * s.out_w;
        for (int64_t p = 0; p < count; p += kBlockK) {
          const int kn = static_cast<int>(least<int64_t>(kBlockK, count - p));
          for (int64_t b = 0; b < images; ++b) {
            Pixels<T> pixel(strip, p);
            for (int i = 0; i < kn; ++i)
              steps.p[b * kn + i] = static_cast<ptrdiff_t>(b * strip_size) + pixel.next();
            const Mat<T> grad{static_cast<const T*>(a.grad) + ((n + b) * a.out_channels + group * m) * pixels,
                              1, static_cast<ptrdiff_t>(pixels)};
            for (int64_t i = 0; i < m; i += P)
              pack_b(grads.p + i * kBlockK + b * kn * P, grad, begin + p, kn, i,
                     static_cast<int>(least<int64_t>(P, m - i)));
          }
          for (int64_t j = 0; j < j1 - j0; j += kTileRows) {
            Windows<T> windows;
            for (int64_t r = j; r < least<int64_t>(j + kTileRows, j1 - j0); ++r)
              windows.add(from + offsets.p[r]);
            for (int64_t i = 0; i < m; i += P)
              windows.tile(least<int64_t>(P, m - i))(static_cast<int>(images) * kn, windows.row, steps.p,
                                                     grads.p + i * kBlockK,
                                                     sums + i / P * panel_size + (j0 + j) * P, add);
          }
          add = true;
        }
      }
    }
  }
  const T* image_of(int64_t n, int64_t group, int64_t channel) const {
    return static_cast<const T*>(a.input) +
           (n * a.in_channels + group * s.channels + channel) * s.in_h * s.in_w;
  }
};

// to[i] = the sum of from[chunk * step + i] over the chunks, in order.
template <class T>
[[gnu::noinline]] void add_chunks(T* to, const T* from, int64_t count, int64_t chunks, int64_t step) {
  using X = Reg<T>;
  for (int64_t i = 0; i < count; i += X::W) {
    const int lanes = static_cast<int>(least<int64_t>(X::W, count - i));
    auto sum = X::load(from + i, lanes);
    for (int64_t c = 1; c < chunks; ++c) sum = sum + X::load(from + c * step + i, lanes);
    X::store(to + i, sum, lanes);
  }
}

template <class T> void weight_grad(const ConvArgs& a) {
  Taps taps(a.kernel_h * a.kernel_w);
  const ConvShape s = forward_shape(a, taps);
  const int64_t m = a.out_channels / a.groups, k = s.channels * s.taps, size = a.out_channels * k;
  const int64_t per_row = s.channels * s.stride_h * (s.out_w + s.reach_w) * s.stride_w;
  const int64_t rows = least(s.out_h, most<int64_t>(4, 262144 / per_row));
  const WeightGrad<T> job{a, s, m, k, rows};
  // Chunks of images: part of the definition. Ranges of columns: not;
  // each packs the gradient, so it has four tiles, unless there are few.
  const int64_t per_chunk = ceil_div(a.n, most<int64_t>(1, least<int64_t>(16, (int64_t{1} << 22) / size)));
  const int64_t chunks = ceil_div(a.n, per_chunk);
  const int64_t work = m * k * s.out_h * s.out_w * per_chunk;
  const bool direct = s.channels == 1 && m <= 4, in_place = is_pointwise(a), tiled = !direct && !in_place;
  constexpr int P = kPanel<T>, W = Reg<T>::W;
  const int64_t unit = tiled ? kTileRows : P, wide = ceil_div(k, unit);
  const int64_t ranges =
      direct || work * chunks * a.groups < kParallelWork
          ? 1
          : least(wide, round_up(least(ceil_div(4 * num_threads(), chunks * a.groups), ceil_div(wide, 4)),
                                 chunks * a.groups % num_threads() == 0 ? 1 : num_threads()));
  T* const out = static_cast<T*>(a.out);
  const int64_t panels = ceil_div(m, P), panel_size = wide * unit * P;
  const int64_t group_size = tiled ? panels * panel_size : m * k, part = a.groups * group_size;
  Scratch<T> parts(chunks > 1 || tiled ? chunks * part : 0);
  parallel_for(chunks * a.groups * ranges, most<int64_t>(1, kParallelWork / 4 / (work / ranges + 1)),
               [&](int64_t begin, int64_t end) {
                 DepthwiseWeightGrad<T> depthwise(s, direct ? rows : 1, direct ? m : 0);
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t range = t % ranges, g = t / ranges % a.groups, chunk = t / ranges / a.groups;
                   T* c = (parts.p ? parts.p + chunk * part : out) + g * group_size;
                   const int64_t n0 = chunk * per_chunk, n1 = least(a.n, n0 + per_chunk);
                   const int64_t j0 = range * wide / ranges * unit,
                                 j1 = least(k, (range + 1) * wide / ranges * unit);
                   if (direct)
                     job.depthwise(depthwise, g, n0, n1, c);
                   else if (in_place)
                     job.pointwise(j0, j1, n0, n1, c);
                   else
                     job.run(g, j0, j1, n0, n1, c, panel_size);
                 }
               });
  if (!parts.p) return;
  // Rows of a panel at a time, which are turned round, or the same number of elements.
  const int64_t blocks = tiled ? ceil_div(k, W) : ceil_div(size, P * W);
  parallel_for((tiled ? a.groups * panels : 1) * blocks, ceil_div(16384, P * W),
               [&](int64_t begin, int64_t end) {
                 alignas(64) T sums[P * W];
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t panel = t / blocks, j = t % blocks * W;
                   const T* const from = parts.p + panel * panel_size + j * P;
                   if (tiled) {
                     const int64_t i = panel % panels * P;
                     const int count = static_cast<int>(least<int64_t>(W, k - j));
                     add_chunks(sums, from, count * P, chunks, part);
                     turn(out + (panel / panels * m + i) * k + j, static_cast<ptrdiff_t>(k), sums, count,
                          static_cast<int>(least<int64_t>(P, m - i)), count);
                   } else {
                     add_chunks(out + j * P, from, least<int64_t>(P * W, size - j * P), chunks, part);
                   }
                 }
               });
}

}  // namespace

void conv2d_forward(const ConvArgs& a) {
  if (a.n <= 0 || a.out_channels <= 0 || a.out_h <= 0 || a.out_w <= 0) return;
  const int64_t k = a.in_channels * a.in_h * a.in_w;
  if (is_linear(a))
    return multiply_dense(a.dtype, a.n, a.out_channels, k, a.input, false, a.weight, true, a.out, a.bias);
  if (is_pointwise(a) && !takes_columns(a))
    return pointwise(a, a.input, a.in_channels, a.out_channels, a.in_channels, 1, a.bias);
  if (takes_winograd(a)) return winograd_forward(a);
  a.dtype == DType::Float32 ? forward<float>(a) : forward<double>(a);
}

void conv2d_input_grad(const ConvArgs& a) {
  if (a.n <= 0 || a.in_channels <= 0 || a.in_h <= 0 || a.in_w <= 0) return;
  const int64_t k = a.in_channels * a.in_h * a.in_w;
  if (is_linear(a))
    return multiply_dense(a.dtype, a.n, k, a.out_channels, a.grad, false, a.weight, false, a.out);
  if (is_pointwise(a) && !(a.in_h * a.in_w <= 64 && takes_columns_grad(a)))
    return pointwise(a, a.grad, a.out_channels, a.in_channels, 1, a.in_channels, nullptr);
  if (takes_winograd(a)) return winograd_input_grad(a);
  a.dtype == DType::Float32 ? input_grad<float>(a) : input_grad<double>(a);
}

void conv2d_weight_grad(const ConvArgs& a) {
  const int64_t size = a.out_channels * (a.in_channels / a.groups) * a.kernel_h * a.kernel_w;
  if (size <= 0) return;
  if (a.n <= 0 || a.out_h <= 0 || a.out_w <= 0) {
    memset(a.out, 0, static_cast<size_t>(size) * size_of(a.dtype));
    return;
  }
  if (is_linear(a))
    return multiply_dense(a.dtype, a.out_channels, size / a.out_channels, a.n, a.grad, true, a.input, false,
                          a.out);
  if (takes_winograd_weight_grad(a)) return winograd_weight_grad(a);
  a.dtype == DType::Float32 ? weight_grad<float>(a) : weight_grad<double>(a);
}

}  // namespace chainrule::CR_ISA
