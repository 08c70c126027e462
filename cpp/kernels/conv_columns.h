// Convolution with many channels on few pixels, where each weight meets few windows: products of matrices whose columns
// are the pixels of several images. The weight is read where it lies; what is packed are the windows (for the output) or
// the gradient's pixels (for the input's gradient), little beside the multiplications.
#pragma once
#include "kernels/conv_image.h"

namespace chainrule::CR_ISA {

// Output rows of all images, numbered through: [begin, end) are the columns of a product.
struct ImageRows {
  int64_t height, width;  // of an image

  struct Piece { int64_t image, row, rows, column; };  // of one image, and its first column
  // Calls f for the part of each image, and returns the number of columns.
  template <class F> int64_t for_pieces(int64_t begin, int64_t end, F f) const {
    int64_t column = 0;
    for (int64_t u = begin; u < end;) {
      const Piece p{u / height, u % height, least(height - u % height, end - u), column};
      f(p);
      column += p.rows * width;
      u += p.rows;
    }
    return column;
  }
};

// Where the lanes of a panel come from: registers, each stored over the end of the one before.
template <class T> struct Segments {
  struct Segment {
    ptrdiff_t from;
    int to, lanes;
  };
  Scratch<Segment> list;
  Scratch<int64_t> ends;  // of the panels
  int64_t columns = 0, count = 0;

  explicit Segments(int64_t most_columns)
      : list(2 * most_columns + 4 * kPanel<T>), ends(ceil_div(most_columns, kPanel<T>)) {}
  // `n` columns that lie behind each other.
  [[gnu::noinline]] void add(ptrdiff_t from, int64_t n) {
    constexpr int P = kPanel<T>;
    while (n > 0) {
      const int to = static_cast<int>(columns % P),
                lanes = static_cast<int>(least<int64_t>(n, least(Reg<T>::W, P - to)));
      list.p[count++] = {from, to, lanes};
      ends.p[columns / P] = count;
      columns += lanes;
      from += lanes;
      n -= lanes;
    }
  }
  // The lanes of the last register that no column has: numbers that the tile may multiply.
  void fill() {
    const ptrdiff_t from = list.p[0].from;
    while (columns % Reg<T>::W != 0) add(from, 1);
  }
  // dst[K block][panel][k][lane] = src[from + step(k)], for k < kn. Registers may run over what is written later.
  template <bool kMasked, class Step> void pack(T* dst, const T* src, int64_t kn, int64_t block,
                                                Step step) const {
    using X = Reg<T>;
    constexpr int P = kPanel<T>;
    for (int64_t k0 = 0; k0 < kn; k0 += block) {
      const int64_t k1 = least(kn, k0 + block);
      for (int64_t panel = 0, first = 0; panel * P < columns; first = ends.p[panel++]) {
        for (int64_t k = k0; k < k1; ++k, dst += P) {
          const T* const s = src + step(k);
          for (int64_t i = first; i < ends.p[panel]; ++i) {
            const auto [from, to, lanes] = list.p[i];
            X::store(dst + to, kMasked && lanes < X::W ? X::load(s + from, lanes) : X::load(s + from));
          }
        }
        dst += (block - (k1 - k0)) * P;
      }
    }
  }
};

inline constexpr int64_t kColumns = 256;  // of a product, about
inline constexpr int64_t kColumnsK = 4;   // blocks of windows that are packed at a time, at most

// The output of one group: chains and K blocks of gemm.h.
template <class T> struct ColumnsForward {
  const ConvShape& s;
  int64_t n, m;
  const T *image, *weight, *bias;
  T* out;

  void run() const {
    const ImageRows rows{s.out_h, s.out_w};
    const int64_t units = n * s.out_h, slabs = ceil_div(units, most<int64_t>(1, kColumns / s.out_w)),
                  per_slab = ceil_div(units, slabs);
    const int64_t parts =
        slabs % num_threads() == 0 ? 1 : most<int64_t>(1, least<int64_t>(num_threads(), m / 32));
    parallel_for(slabs * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t slab = t / parts, part = t % parts;
        slab_of(rows, slab * per_slab, least(units, (slab + 1) * per_slab), part * m / parts,
                (part + 1) * m / parts);
      }
    });
  }

  void slab_of(const ImageRows& images, int64_t u0, int64_t u1, int64_t m0, int64_t m1) const {
    if (u0 >= u1) return;
    using X = Reg<T>;
    const int64_t k = s.channels * s.taps, block = least<int64_t>(k, kBlockK), blocks = ceil_div(k, block),
                  kn = least(k, ceil_div(blocks, ceil_div(blocks, kColumnsK)) * block),
                  columns = (u1 - u0) * s.out_w;
    const Strip<T> strip(s, least(u1 - u0, s.out_h));
    const int64_t channels = least(s.channels, kn / s.taps + 2), strip_size = strip.size(channels);
    Segments<T> segments(columns);
    int64_t pieces = 0;
    images.for_pieces(u0, u1, [&](const ImageRows::Piece& q) {
      for (int64_t y = 0; y < q.rows; ++y)
        segments.add(static_cast<ptrdiff_t>(pieces * strip_size + y * s.stride_h * strip.row()), s.out_w);
      ++pieces;
    });
    segments.fill();
    const int64_t ld = segments.columns + 64 / int64_t{sizeof(T)};
    Scratch<T> padded(pieces * strip_size + Strip<T>::kFront),
        packed(ceil_div(columns, kPanel<T>) * kPanel<T> * round_up(kn, block) + X::W), sums((m1 - m0) * ld);
    Scratch<ptrdiff_t> offsets(kn);
    T* const pixels = padded.p + Strip<T>::kFront;
    const Product<T> p{m1 - m0,
                       segments.columns,
                       k,
                       {weight + m0 * k, static_cast<ptrdiff_t>(k), 1},
                       {},
                       sums.p,
                       static_cast<ptrdiff_t>(ld),
                       T(1),
                       T(0),
                       nullptr,
                       nullptr};
    const RowPanels panels = row_panels(p, false);
    for (int64_t k0 = 0; k0 < k; k0 += kn) {
      const int64_t count = least(kn, k - k0), c0 = k0 / s.taps, c1 = ceil_div(k0 + count, s.taps);
      int64_t piece = 0;
      images.for_pieces(u0, u1, [&](const ImageRows::Piece& q) {
        strip.build(pixels + piece++ * strip_size, image + (q.image * s.channels + c0) * s.in_h * s.in_w,
                    c1 - c0, q.row);
      });
      for (int64_t i = 0, c = 0, t = k0 - c0 * s.taps; i < count; ++i) {
        offsets.p[i] = strip.offset(c, t);
        if (++t == s.taps) t = 0, ++c;
      }
      segments.template pack<false>(packed.p, pixels, count, block, [&](int64_t i) { return offsets.p[i]; });
      const int64_t step = most<int64_t>(1, kRowBytes / (panels.h * kn * int64_t{sizeof(T)}));
      const ptrdiff_t panel = kPanel<T> * block;
      Slab<T> slab{
          p,       panels, 0,  segments.columns,
          k0,      count,  {}, {packed.p, panel, ceil_div(segments.columns, kPanel<T>) * panel, false},
          nullptr, step,   0,  panels.count};
      for (; slab.ip0 < panels.count; slab.ip0 += step) slab.multiply_rows();
    }
    images.for_pieces(u0, u1, [&](const ImageRows::Piece& q) {
      for (int64_t i = m0; i < m1; ++i) {
        const T* src = sums.p + (i - m0) * ld + q.column;
        T* const dst = out + ((q.image * m + i) * s.out_h + q.row) * s.out_w;
        const auto b = X::set1(bias ? bias[i] : T(-0.0));
        const int64_t size = q.rows * s.out_w;
        int64_t j = 0;
        for (; j + X::W <= size; j += X::W) X::store(dst + j, X::load(src + j) + b);
        if (j < size) X::store(dst + j, X::load(src + j) + b, static_cast<int>(size - j));
      }
    });
  }
};

// Where the input's gradient is summed: the padded image, columns by their phase modulo the stride, as a strip has them.
template <class T> struct Places {
  const ConvShape& s;  // of the output
  int64_t height, pitch;

  explicit Places(const ConvShape& shape)
      : s(shape),
        height(most((s.out_h - 1) * s.stride_h + s.reach_h, s.in_h - s.y0)),
        pitch(most(s.out_w - 1 + ceil_div(s.reach_w, s.stride_w), ceil_div(s.in_w - s.x0, s.stride_w))) {}

  int64_t row() const { return s.stride_w * pitch; }
  int64_t channel() const { return height * row(); }
  int64_t size(int64_t channels) const {
    return channels * channel() + 2 * Reg<T>::W;
  }  // registers run over the end
  // Of the first output's tap, and of the first pixel of an image's row.
  int64_t offset(int64_t t) const { return s.dy[t] * row() + column(s.dx[t]); }
  int64_t column(int64_t x) const { return x % s.stride_w * pitch + x / s.stride_w; }

  [[gnu::noinline]] void store(const T* sums, T* to, int64_t channels) const {
    using X = Reg<T>;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < s.in_h; ++y, to += s.in_w) {
        const T* const src = sums + c * channel() + (y - s.y0) * row();
        const T* const first = src + column(-s.x0);
        int64_t x = 0;
        if (s.stride_w == 1) {
          for (; x + X::W <= s.in_w; x += X::W) X::store(to + x, X::load(first + x));
          if (x < s.in_w) X::store(to + x, X::load(first + x), static_cast<int>(s.in_w - x));
        } else if (s.stride_w == 2) {
          const T* const second = src + column(1 - s.x0);
          for (; x + 2 * X::W <= s.in_w; x += 2 * X::W) {
            const auto a = X::load(first + x / 2), b = X::load(second + x / 2);
            X::store(to + x, zip<0>(a, b));
            X::store(to + x + X::W, zip<1>(a, b));
          }
          for (; x + 1 < s.in_w; x += 2) {
            to[x] = first[x / 2];
            to[x + 1] = second[x / 2];
          }
          if (x < s.in_w) to[x] = first[x / 2];
        } else {
          for (int64_t q = 0; q < s.stride_w; ++q) {
            const T* from = src + column(q - s.x0);
            for (x = q; x < s.in_w; x += s.stride_w) to[x] = *from++;
          }
        }
      }
    }
  }
};

// The input's gradient: what each tap gives to its pixel, a product over output channels, is added up tap by tap, the
// last row of the kernel first (so that rows of the output may come one after the other).
template <class T> struct ColumnsGrad {
  const ConvShape& s;    // of the output
  int64_t n, groups, m;  // output channels of a group
  const T *grad, *weight;
  T* out;

  void run() const {
    const int64_t most_rows = least<int64_t>(kColumns, 2 * kRowBytes / (m * int64_t{sizeof(T)}));
    int64_t blocks = ceil_div(s.channels, most<int64_t>(1, most_rows / s.taps));
    const int64_t slabs = least(n, ceil_div(4 * num_threads(), groups * blocks)),
                  per_slab = ceil_div(n, slabs);
    // As many tasks as threads, or a multiple.
    if (groups * blocks * slabs < 4 * num_threads()) blocks = round_up(blocks, num_threads());
    const int64_t per_block = ceil_div(s.channels, least(blocks, s.channels));
    blocks = ceil_div(s.channels, per_block);
    const int64_t work = per_slab * per_block * s.taps * m * s.out_h * s.out_w;
    parallel_for(groups * blocks * slabs, most<int64_t>(1, kParallelWork / 4 / (work + 1)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t t = begin; t < end; ++t) {
                     const int64_t slab = t % slabs, block = t / slabs % blocks;
                     block_of(t / slabs / blocks, slab * per_slab, least(n, (slab + 1) * per_slab),
                              block * per_block, least(s.channels, (block + 1) * per_block));
                   }
                 });
  }

  // Channels [c0, c1) of a group's gradient, for images [n0, n1).
  void block_of(int64_t group, int64_t n0, int64_t n1, int64_t c0, int64_t c1) const {
    if (n0 >= n1) return;
    using X = Reg<T>;
    constexpr int P = kPanel<T>;
    const ImageRows images{s.out_h, s.out_w};
    const int64_t pixels = s.out_h * s.out_w, units = (n1 - n0) * s.out_h,
                  slabs = ceil_div(units, most<int64_t>(1, kColumns / s.out_w)),
                  per_slab = ceil_div(units, slabs), ld = round_up(per_slab * s.out_w, X::W) + X::W;
    const int64_t block = least<int64_t>(m, kBlockK), kn = least<int64_t>(round_up(m, block), 2 * kBlockK);
    Product<T> p{
        (c1 - c0) * s.taps,
        0,
        m,
        {weight + (group * m * s.channels + c0) * s.taps, 1, static_cast<ptrdiff_t>(s.channels * s.taps)},
        {},
        nullptr,
        static_cast<ptrdiff_t>(ld),
        T(1),
        T(0),
        nullptr,
        nullptr};
    const RowPanels panels(p.m);
    const Places<T> places(s);
    const int64_t sums_size = places.size(c1 - c0), a_block = panels.count * panels.h * block;
    Scratch<T> packed_a(ceil_div(m, block) * a_block + X::W),
        packed_b(round_up(per_slab * s.out_w, P) * kn + X::W), products(p.m * ld), sums(sums_size);
    p.c = products.p;
    const auto slab_of = [&](int64_t k0, int64_t count) {
      return Slab<T>{p,
                     panels,
                     0,
                     p.n,
                     k0,
                     count,
                     {packed_a.p + k0 / block * a_block, panels.h * block, a_block, false},
                     {packed_b.p, P * block, ceil_div(p.n, P) * P * block, false},
                     nullptr,
                     panels.count,
                     0,
                     panels.count};
    };
    slab_of(0, m).pack_a_panels(0, panels.count);
    for (int64_t u = n0 * s.out_h; u < n1 * s.out_h; u += per_slab) {
      const int64_t end = least(n1 * s.out_h, u + per_slab);
      Segments<T> segments((end - u) * s.out_w);
      images.for_pieces(u, end, [&](const ImageRows::Piece& q) {
        segments.add(static_cast<ptrdiff_t>(q.image * groups * m * pixels + q.row * s.out_w),
                     q.rows * s.out_w);
      });
      segments.fill();
      p.n = segments.columns;
      for (int64_t k0 = 0; k0 < m; k0 += kn) {
        const int64_t count = least(kn, m - k0);
        segments.template pack<true>(packed_b.p, grad + (group * m + k0) * pixels, count, block,
                                     [&](int64_t k) { return k * pixels; });
        slab_of(k0, count).multiply_rows();
      }
      images.for_pieces(u, end, [&](const ImageRows::Piece& q) {
        if (q.row == 0) memset(sums.p, 0, static_cast<size_t>(sums_size) * sizeof(T));
        add_taps(places, sums.p, products.p + q.column, ld, c1 - c0, q.row, q.rows);
        if (q.row + q.rows == s.out_h)
          places.store(sums.p, out + ((q.image * groups + group) * s.channels + c0) * s.in_h * s.in_w,
                       c1 - c0);
      });
    }
  }

  // Registers run over the ends of rows, where they add zeros.
  void add_taps(const Places<T>& places, T* sums, const T* products, int64_t ld, int64_t channels,
                int64_t row, int64_t rows) const {
    using X = Reg<T>;
    for (int64_t stop = s.taps; stop > 0;) {
      int64_t first = stop - 1;  // of the taps in a row of the kernel
      while (first > 0 && s.dy[first - 1] == s.dy[first]) --first;
      for (int64_t t = first; t < stop; ++t) {
        for (int64_t c = 0; c < channels; ++c) {
          const T* src = products + (c * s.taps + t) * ld;
          T* dst = sums + c * places.channel() + places.offset(t) + row * s.stride_h * places.row();
          for (int64_t y = 0; y < rows; ++y, src += s.out_w, dst += s.stride_h * places.row()) {
            int64_t x = 0;
            for (; x + X::W <= s.out_w; x += X::W) X::store(dst + x, X::load(dst + x) + X::load(src + x));
            if (x < s.out_w)
              X::store(dst + x, X::load(dst + x) + X::load(src + x, static_cast<int>(s.out_w - x)));
          }
        }
      }
      stop = first;
    }
  }
};

// Output channels from which it pays to store their sums, a tap each.
inline constexpr int64_t kFewSummands = 8;

// The same where few output channels share a pixel: their products go to its place one by one, in a chain of fused
// multiply-adds over output channels and taps, the last tap first.
template <class T> struct ScatteredGrad {
  const ConvShape& s;  // of the output
  int64_t n, groups, m;
  const T *grad, *weight;
  T* out;

  void run() const {
    const Places<T> places(s);
    const int64_t work = m * s.taps * s.out_h * s.out_w;
    parallel_for(n * groups * s.channels, most<int64_t>(1, kParallelWork / 4 / (work + 1)),
                 [&](int64_t begin, int64_t end) {
                   Scratch<T> sums(places.size(1));
                   for (int64_t t = begin; t < end; ++t) {
                     const int64_t c = t % s.channels, image = t / s.channels, group = image % groups;
                     memset(sums.p, 0, static_cast<size_t>(places.size(1)) * sizeof(T));
                     for (int64_t i = 0; i < m; ++i)
                       add_channel(places, sums.p, grad + (image * m + i) * s.out_h * s.out_w,
                                   weight + ((group * m + i) * s.channels + c) * s.taps);
                     places.store(sums.p, out + t * s.in_h * s.in_w, 1);
                   }
                 });
  }

  void add_channel(const Places<T>& places, T* sums, const T* g, const T* w) const {
    using X = Reg<T>;
    for (int64_t t = s.taps - 1; t >= 0; --t) {
      const auto tap = X::set1(w[t]);
      const T* src = g;
      T* dst = sums + places.offset(t);
      for (int64_t y = 0; y < s.out_h; ++y, src += s.out_w, dst += s.stride_h * places.row()) {
        int64_t x = 0;
        for (; x + X::W <= s.out_w; x += X::W)
          X::store(dst + x, X::fma(tap, X::load(src + x), X::load(dst + x)));
        if (const int lanes = static_cast<int>(s.out_w - x))
          X::store(dst + x, X::fma(tap, X::load(src + x, lanes), X::load(dst + x)), lanes);
      }
    }
  }
};

}  // namespace chainrule::CR_ISA
