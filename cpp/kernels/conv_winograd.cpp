#include "kernels/conv_winograd.h"

#include "kernels/conv_winograd_tiles.h"

namespace chainrule::CR_ISA {
namespace {

constexpr int64_t kBlockBytes = 512 << 10;  // of transformed tiles at a time: they stay in the second cache
constexpr int64_t kFewBytes =
    8 << 20;                       // of all transformed tiles, where the weight is transformed panel by panel
constexpr int64_t kFewTiles = 28;  // that a block has at least: two tiles of a product

// The tiles of n images of out_h x out_w outputs. They are numbered along rows, images after each other; a unit is a row
// of tiles of an image, or a part of one where rows are long.
struct TileGrid {
  int64_t n, rows, cols;     // tiles
  int64_t parts, part_cols;  // of a row
  int64_t units;

  TileGrid(int64_t images, int64_t out_h, int64_t out_w, int64_t most_tiles)
      : n(images),
        rows(ceil_div(out_h, 2)),
        cols(ceil_div(out_w, 2)),
        parts(ceil_div(cols, most_tiles)),
        part_cols(ceil_div(cols, parts)),
        units(n * rows * parts) {}

  struct Piece {
    int64_t image, row, rows, col, cols, first;
  };  // `first`: number of its first tile in the block

  // Calls f for the pieces, rectangles of tiles of one image, of units [begin, end), and returns the number of tiles.
  template <class F> int64_t for_pieces(int64_t begin, int64_t end, F f) const {
    int64_t tile = 0;
    for (int64_t u = begin; u < end;) {
      const int64_t part = u % parts, row = u / parts % rows, col = part * part_cols;
      const Piece p{u / parts / rows,
                    row,
                    parts > 1 ? 1 : least(rows - row, end - u),
                    col,
                    least(part_cols, cols - col),
                    tile};
      if (p.cols > 0) f(p);
      tile += p.rows * most<int64_t>(p.cols, 0);
      u += p.rows;
    }
    return tile;
  }
};

// Elements from one of the 16 planes of a block of tiles to the next: a line more than a multiple of four, for else the
// planes meet in few sets of the cache.
template <class T> int64_t plane(int64_t size) {
  return round_up(size, 4 * kPanel<T>) + 64 / int64_t{sizeof(T)};
}

// Tiles a block.
template <class T> int64_t block_tiles(int64_t channels) {
  return most(kFewTiles, kBlockBytes / (16 * channels * int64_t{sizeof(T)}));
}

// out[m] = sum over channels and taps of weight * image shifted by the tap, plus bias: the forward, or the input's
// gradient, which turns the kernel round.
template <class T> struct WinogradProduct {
  int64_t n, channels, in_h, in_w, m, out_h, out_w;
  int64_t y0, x0;  // of the image under the first tap of the first output
  const T* image;
  const T* weight;
  int64_t weight_m, weight_c;  // strides
  bool turned;
  const T* bias;
  T* out;

  int64_t in_lanes() const { return round_up(channels, Reg<T>::W); }
  int64_t out_lanes() const { return round_up(m, Reg<T>::W); }
  const T& tap(int64_t i, int64_t c, int64_t t) const {
    return weight[i * weight_m + c * weight_c + (turned ? 8 - t : t)];
  }

  // u[i * step + (c - c0) * ld + lane] = (G w G')[i] of a register of output channels from m0 on, for channels [c0, c1).
  [[gnu::noinline]] void transform_kernels(T* u, int64_t step, int64_t ld, int64_t m0, int64_t c0,
                                           int64_t c1) const {
    constexpr int W = Reg<T>::W, kChannels = 16;
    const int rows = static_cast<int>(least<int64_t>(W, m - m0));
    alignas(64) T taps[kChannels * 9 * W];  // kernels turned so that a register holds one tap of W of them
    if (rows < W) memset(taps, 0, sizeof(taps));
    for (int64_t c = c0; c < c1; c += kChannels) {
      const int64_t count = least<int64_t>(kChannels, c1 - c);
      const T* const src = weight + m0 * weight_m + c * weight_c;
      // Kernels of neighbouring channels stand behind each other, or those of neighbouring outputs do.
      const int64_t calls = weight_c == 9 ? 1 : count, kn = weight_c == 9 ? 9 * count : 9;
      for (int64_t i = 0; i < calls; ++i)
        pack_transposed(taps + i * 9 * W, W, src + i * weight_c, weight_m, rows, static_cast<int>(kn), 0);
      for (int64_t i = 0; i < count; ++i)
        transform_kernel(u + (c - c0 + i) * ld, step, taps + (i * 9 + (turned ? 8 : 0)) * W, turned ? -W : W);
    }
  }
  // u[i][panel][c][lane].
  void transform_weight(T* u, int64_t step) const {
    constexpr int P = kPanel<T>, W = Reg<T>::W;
    parallel_for(out_lanes() / W, most<int64_t>(1, 1024 / channels), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * W; i < end * W; i += W)
        transform_kernels(u + i / P * channels * P + i % P, step, P, i, 0, channels);
    });
  }

  // The outputs of one tile again, by the definition: where one that is not finite has spoiled its neighbours.
  void repair(T* strip, int64_t pitch, int64_t ld, int64_t m0, int64_t count, int64_t b, int64_t row,
              int64_t col) const {
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t i = m0 + lane;
      bool finite = true;
      for (int64_t y = 0; y < 4; ++y) {
        const T v = strip[y / 2 * pitch + y % 2 * ld + lane];
        finite &= v - v == T(0);
      }
      for (int64_t y = 0; y < 4 && !finite; ++y) {
        T sum = 0;
        for (int64_t c = 0; c < channels; ++c) {
          const T* plane = image + (b * channels + c) * in_h * in_w;
          for (int64_t t = 0; t < 9; ++t) {
            const int64_t iy = 2 * row + y / 2 + t / 3 + y0, ix = 2 * col + y % 2 + t % 3 + x0;
            const bool inside = iy >= 0 && iy < in_h && ix >= 0 && ix < in_w;
            sum = fma_scalar(tap(i, c, t), inside ? plane[iy * in_w + ix] : T(0), sum);
          }
          if (sum != sum) break;
        }
        strip[y / 2 * pitch + y % 2 * ld + lane] = bias ? sum + bias[i] : sum;
      }
    }
  }

  using Piece = typename TileGrid::Piece;
  // v[i][tile][channel] of a piece whose first tile is v's first. `strip` holds the piece's patches.
  [[gnu::noinline]] void transform_piece(const Piece& q, T* v, int64_t step, T* strip,
                                         int64_t strip_cols) const {
    const int64_t cl = in_lanes(), pitch = strip_cols * cl;
    to_channels_last(strip, cl, image + q.image * channels * in_h * in_w, channels, in_h, in_w,
                     2 * q.row + y0, 2 * q.col + x0, 2 * q.rows + 2, strip_cols);
    for (int64_t r = 0; r < q.rows; ++r)
      transform_input(v + r * q.cols * cl, step, strip + 2 * r * pitch, pitch, cl, q.cols);
  }
  // The outputs of a piece, of `count` channels from m0 on, from products of `ld` lanes a tile.
  [[gnu::noinline]] void store_piece(const Piece& q, const T* products, int64_t step, int64_t ld, int64_t m0,
                                     int64_t count, const T* lane_bias, T* strip, int64_t strip_cols) const {
    const int64_t pitch = strip_cols * ld;
    for (int64_t r = 0; r < q.rows; ++r) {
      T* const rows = strip + 2 * r * pitch;
      const bool finite =
          transform_output(rows, pitch, products + r * q.cols * ld, step, ld, lane_bias, q.cols);
      for (int64_t x = 0; x < q.cols && !finite; ++x)
        repair(rows + 2 * x * ld, pitch, ld, m0, count, q.image, q.row + r, q.col + x);
    }
    to_planes(out + (q.image * m + m0) * out_h * out_w, count, out_h, out_w, 2 * q.row, 2 * q.col, strip, ld,
              least(2 * q.rows, out_h - 2 * q.row), strip_cols, least(2 * q.cols, out_w - 2 * q.col));
  }
  // c[tile][lane] (+)= a[tile][channel] b[channel][lane] over kn channels of one K block and nv registers of lanes.
  static void multiply(int64_t tiles, int kn, int nv, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
                       int64_t ldc, bool add) {
    const int h = static_cast<int>(RowPanels(tiles).h);
    for (int64_t i = 0; i < tiles; i += h) {
      const TileOut<T> o{c + i * ldc, static_cast<ptrdiff_t>(ldc), T(1), T(add), nullptr, nullptr, Reg<T>::W};
      chainrule::CR_ISA::tiles<T>.fn[0][nv - 1][least<int64_t>(h, tiles - i) - 1](
          kn, a + i * lda, static_cast<ptrdiff_t>(lda), 1, b, static_cast<ptrdiff_t>(ldb), o);
    }
  }

  void run() const {
    const int64_t cl = in_lanes(), ml = out_lanes(), most_tiles = block_tiles<T>(cl + ml);
    const int64_t all_tiles = n * ceil_div(out_h, 2) * ceil_div(out_w, 2);
    if constexpr (sizeof(T) == 4) {  // doubles do without, for the wheel's size
      if (16 * channels * m * 4 > kBlockBytes && 16 * all_tiles * cl * 4 <= kFewBytes)
        return run_few(all_tiles);
    }
    const TileGrid grid(n, out_h, out_w, most_tiles);
    const int64_t step_u = plane<T>(round_up(m, kPanel<T>) * channels);
    Scratch<T> u(16 * step_u), lane_bias(ml);
    transform_weight(u.p, step_u);
    for (int64_t i = 0; i < ml; ++i) lane_bias.p[i] = bias && i < m ? bias[i] : T(0);
    // Blocks of units, enough of them for the threads. They do not change a bit.
    const int64_t work = 16 * grid.part_cols * channels * m;  // a unit
    int64_t blocks = ceil_div(grid.units, most<int64_t>(1, most_tiles / grid.part_cols));
    if (grid.units * work > kParallelWork) {
      // Large kernels pass through the cache once a block.
      const int64_t few = 16 * step_u * int64_t{sizeof(T)} > kBlockBytes ? kFewTiles : 1;
      const int64_t most_blocks = ceil_div(grid.units, ceil_div(few, grid.part_cols));
      blocks = most(blocks, least<int64_t>(most_blocks, 4 * num_threads()));
    }
    const int64_t per_block = ceil_div(grid.units, blocks);
    blocks = ceil_div(grid.units, per_block);
    parallel_for(blocks, most<int64_t>(1, kParallelWork / 4 / (work * per_block)),
                 [&](int64_t begin, int64_t end) {
                   Worker worker(*this, grid, per_block, u.p, step_u, lane_bias.p);
                   for (int64_t b = begin; b < end; ++b)
                     worker.block(b * per_block, least(grid.units, (b + 1) * per_block));
                 });
  }

  // A large weight and few tiles: all of these are transformed first. Then each panel of output channels transforms its part
  // of the weight, a K block at a time, which stays in the second cache, and goes to the end.
  void run_few(int64_t tiles) const {
    constexpr int W = Reg<T>::W, kLine = 64 / int{sizeof(T)}, L = kPanel<T> < kLine ? kPanel<T> : kLine;
    const TileGrid grid(n, out_h, out_w, tiles);
    const int64_t cl = in_lanes(), cols = 2 * grid.cols, step_v = plane<T>(tiles * cl);
    Scratch<T> v(16 * step_v);
    parallel_for(grid.units, most<int64_t>(1, 16384 / (16 * grid.cols * cl)),
                 [&](int64_t begin, int64_t end) {
                   Scratch<T> strip((2 * least(end - begin, grid.rows) + 2) * (cols + 2) * cl);
                   grid.for_pieces(begin, end, [&](const Piece& q) {
                     transform_piece(q, v.p + (begin * grid.cols + q.first) * cl, step_v, strip.p, cols + 2);
                   });
                 });
    parallel_for(ceil_div(m, L), 1, [&](int64_t begin, int64_t end) {
      const int64_t kn = least<int64_t>(kBlockK, channels), step_u = plane<T>(kn * L),
                    step_m = plane<T>(tiles * L);
      Scratch<T> u(16 * step_u), products(16 * step_m), strip(2 * grid.rows * cols * L);
      for (int64_t m0 = begin * L; m0 < least(m, end * L); m0 += L) {
        const int64_t count = least<int64_t>(L, m - m0), ld = round_up(count, W);
        for (int64_t k = 0; k < channels; k += kBlockK) {
          const int64_t k1 = least(channels, k + kBlockK);
          for (int64_t w = 0; w < ld; w += W) transform_kernels(u.p + w, step_u, L, m0 + w, k, k1);
          for (int i = 0; i < 16; ++i)
            multiply(tiles, static_cast<int>(k1 - k), static_cast<int>(ld / W), v.p + i * step_v + k, cl,
                     u.p + i * step_u, L, products.p + i * step_m, ld, k > 0);
        }
        alignas(64) T lane_bias[L] = {};
        if (bias) memcpy(lane_bias, bias + m0, static_cast<size_t>(count) * sizeof(T));
        grid.for_pieces(0, grid.units, [&](const Piece& q) {
          store_piece(q, products.p + q.first * ld, step_m, ld, m0, count, lane_bias, strip.p, cols);
        });
      }
    });
  }

  struct Worker {
    const WinogradProduct& p;
    const TileGrid& grid;
    const T* const u;
    const int64_t step_u;
    const T* const lane_bias;
    const int64_t cl, ml, strip_cols, out_cols, step_v, step_m;
    Scratch<T> strip, v, products;

    Worker(const WinogradProduct& product, const TileGrid& tiles, int64_t units, const T* kernels,
           int64_t step, const T* biases)
        : p(product),
          grid(tiles),
          u(kernels),
          step_u(step),
          lane_bias(biases),
          cl(p.in_lanes()),
          ml(p.out_lanes()),
          strip_cols(2 * grid.part_cols + 2),
          out_cols(2 * grid.part_cols),
          step_v(plane<T>(units * grid.part_cols * cl)),
          step_m(plane<T>(units * grid.part_cols * ml)),
          strip(most((2 * least(units, grid.rows) + 2) * strip_cols * cl,
                     2 * least(units, grid.rows) * out_cols * ml)),
          v(16 * step_v),
          products(16 * step_m) {}

    void block(int64_t begin, int64_t end) {
      const int64_t tiles = grid.for_pieces(begin, end, [&](const Piece& q) {
        p.transform_piece(q, v.p + q.first * cl, step_v, strip.p, strip_cols);
      });
      for (int i = 0; i < 16; ++i) {
        for (int64_t k = 0; k < p.channels; k += kBlockK) {
          const int kn = static_cast<int>(least<int64_t>(kBlockK, p.channels - k));
          for (int64_t j = 0; j < ml; j += kPanel<T>)
            multiply(tiles, kn, static_cast<int>(least<int64_t>(kPanel<T>, ml - j) / Reg<T>::W),
                     v.p + i * step_v + k, cl, u + i * step_u + j * p.channels + k * kPanel<T>, kPanel<T>,
                     products.p + i * step_m + j, ml, k > 0);
        }
      }
      grid.for_pieces(begin, end, [&](const Piece& q) {
        p.store_piece(q, products.p + q.first * ml, step_m, ml, 0, p.m, lane_bias, strip.p, out_cols);
      });
    }
  };
};

// The weight's gradient. Sums run over the tiles of a block (a chain of fused multiply-adds), over the blocks of a chunk of
// images, and over the chunks, all of them functions of sizes.
template <class T> struct WinogradWeightGrad {
  static constexpr int64_t kTiles = 64;  // a block
  const ConvArgs& a;
  TileGrid grid;
  int64_t per_block;  // units

  explicit WinogradWeightGrad(const ConvArgs& args)
      : a(args), grid(a.n, a.out_h, a.out_w, kTiles), per_block(most<int64_t>(1, kTiles / grid.part_cols)) {}

  // sums[i][m][lanes of channels c0 to c0 + channels] over units [begin, end).
  void sum_tiles(int64_t begin, int64_t end, int64_t c0, int64_t channels, T* sums, int64_t step_s) const {
    constexpr int P = kPanel<T>, W = Reg<T>::W;
    const int64_t cl = round_up(channels, W), m = a.out_channels, ml = round_up(m, W);
    const int h = static_cast<int>(RowPanels(m).h);
    const int64_t panels = ceil_div(m, h), most_tiles = per_block * grid.part_cols,
                  panel = most_tiles * h + 2 * W;
    const int64_t strip_rows = 2 * least(per_block, grid.rows), strip_cols = 2 * grid.part_cols;
    const int64_t step_v = plane<T>(most_tiles * cl), step_d = plane<T>(panels * panel);
    Scratch<T> strip(most((strip_rows + 2) * (strip_cols + 2) * cl, strip_rows * strip_cols * ml) + 2 * W),
        v(16 * step_v), d(16 * step_d);
    for (int64_t u = begin; u < end; u += per_block) {
      const int64_t tiles = grid.for_pieces(u, least(end, u + per_block), [&](const TileGrid::Piece& q) {
        const int64_t in = a.in_h * a.in_w, out = a.out_h * a.out_w;
        const int64_t pitch = (strip_cols + 2) * cl, grad_pitch = strip_cols * ml;
        to_channels_last(strip.p, cl, static_cast<const T*>(a.input) + (q.image * a.in_channels + c0) * in,
                         channels, a.in_h, a.in_w, 2 * q.row - a.pad_h, 2 * q.col - a.pad_w, 2 * q.rows + 2,
                         strip_cols + 2);
        for (int64_t r = 0; r < q.rows; ++r)
          transform_input(v.p + (q.first + r * q.cols) * cl, step_v, strip.p + 2 * r * pitch, pitch, cl,
                          q.cols);
        to_channels_last(strip.p, ml, static_cast<const T*>(a.grad) + q.image * m * out, m, a.out_h, a.out_w,
                         2 * q.row, 2 * q.col, 2 * q.rows, strip_cols);
        for (int64_t r = 0; r < q.rows; ++r) {
          for (int64_t i = 0; i < panels; ++i) {
            const int height = static_cast<int>(least<int64_t>(h, m - i * h));
            transform_grad(d.p + i * panel + (q.first + r * q.cols) * height, step_d, height,
                           strip.p + 2 * r * grad_pitch + i * h, grad_pitch, ml, q.cols);
          }
        }
      });
      for (int s = 0; s < 16; ++s) {
        for (int64_t j = 0; j < cl; j += P) {
          const int nv = static_cast<int>(least<int64_t>(P, cl - j) / W);
          for (int64_t i = 0; i < panels; ++i) {
            const TileOut<T> o{sums + s * step_s + i * h * cl + j,
                               static_cast<ptrdiff_t>(cl),
                               T(1),
                               u == begin ? T(0) : T(1),
                               nullptr,
                               nullptr,
                               W};
            chainrule::CR_ISA::tiles<T>.fn[1][nv - 1][least<int64_t>(h, m - i * h) - 1](
                static_cast<int>(tiles), d.p + s * step_d + i * panel, 0, 0, v.p + s * step_v + j,
                static_cast<ptrdiff_t>(cl), o);
          }
        }
      }
    }
  }

  // One element by the definition.
  T element(int64_t i, int64_t c, int64_t tap) const {
    T sum = 0;
    for (int64_t b = 0; b < a.n; ++b) {
      const T* x = static_cast<const T*>(a.input) + (b * a.in_channels + c) * a.in_h * a.in_w;
      const T* g = static_cast<const T*>(a.grad) + (b * a.out_channels + i) * a.out_h * a.out_w;
      for (int64_t oy = 0; oy < a.out_h && sum == sum; ++oy) {
        for (int64_t ox = 0; ox < a.out_w; ++ox) {
          const int64_t y = oy + tap / 3 - a.pad_h, xx = ox + tap % 3 - a.pad_w;
          const bool inside = y >= 0 && y < a.in_h && xx >= 0 && xx < a.in_w;
          sum = fma_scalar(g[oy * a.out_w + ox], inside ? x[y * a.in_w + xx] : T(0), sum);
        }
      }
    }
    return sum;
  }

  void run() const {
    constexpr int W = Reg<T>::W;
    const int64_t m = a.out_channels, channels = a.in_channels, lanes = round_up(channels, W),
                  size = 9 * m * lanes;
    const int64_t image_tiles = grid.rows * grid.cols;
    // Chunks: part of the definition, so not of the padded sizes. Ranges of channels: not.
    const int64_t per_chunk =
        ceil_div(a.n, most<int64_t>(1, least(least<int64_t>(16, (int64_t{1} << 22) / (9 * m * channels)),
                                             a.n * image_tiles / 128)));
    const int64_t chunks = ceil_div(a.n, per_chunk);
    const int64_t wide = ceil_div(channels, kPanel<T>);
    const int64_t ranges = least(wide, ceil_div(4 * num_threads(), chunks));
    Scratch<T> parts(chunks * size);
    parallel_for(chunks * ranges, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t chunk = t / ranges, range = t % ranges;
        const int64_t c0 = range * wide / ranges * kPanel<T>,
                      c1 = least(channels, (range + 1) * wide / ranges * kPanel<T>),
                      cl = round_up(c1 - c0, W);
        const int64_t per_image = grid.rows * grid.parts, step = plane<T>(m * cl);
        Scratch<T> sums(16 * step);
        sum_tiles(chunk * per_chunk * per_image, least(a.n, (chunk + 1) * per_chunk) * per_image, c0, c1 - c0,
                  sums.p, step);
        for (int64_t i = 0; i < m; ++i)
          transform_kernel_grad(parts.p + chunk * size + i * lanes + c0, m * lanes, sums.p + i * cl, step,
                                cl);
      }
    });
    T* const out = static_cast<T*>(a.out);
    parallel_for(m, most<int64_t>(1, 16384 / (9 * channels)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t tap = 0; tap < 9; ++tap) {
          T* const first = parts.p + (tap * m + i) * lanes;
          for (int64_t chunk = 1; chunk < chunks; ++chunk) {
            for (int64_t c = 0; c < lanes; c += W)
              Reg<T>::store(first + c, Reg<T>::load(first + c) + Reg<T>::load(first + chunk * size + c));
          }
          for (int64_t c = 0; c < channels; ++c) {
            const T sum = first[c];
            out[(i * channels + c) * 9 + tap] = sum - sum == T(0) ? sum : element(i, c, tap);
          }
        }
      }
    });
  }
};

int64_t tiles_of(const ConvArgs& a) { return a.n * ceil_div(a.out_h, 2) * ceil_div(a.out_w, 2); }

template <class T> void forward(const ConvArgs& a) {
  const WinogradProduct<T> product{.n = a.n,
                                   .channels = a.in_channels,
                                   .in_h = a.in_h,
                                   .in_w = a.in_w,
                                   .m = a.out_channels,
                                   .out_h = a.out_h,
                                   .out_w = a.out_w,
                                   .y0 = -a.pad_h,
                                   .x0 = -a.pad_w,
                                   .image = static_cast<const T*>(a.input),
                                   .weight = static_cast<const T*>(a.weight),
                                   .weight_m = a.in_channels * 9,
                                   .weight_c = 9,
                                   .turned = false,
                                   .bias = static_cast<const T*>(a.bias),
                                   .out = static_cast<T*>(a.out)};
  product.run();
}
template <class T> void input_grad(const ConvArgs& a) {
  const WinogradProduct<T> product{.n = a.n,
                                   .channels = a.out_channels,
                                   .in_h = a.out_h,
                                   .in_w = a.out_w,
                                   .m = a.in_channels,
                                   .out_h = a.in_h,
                                   .out_w = a.in_w,
                                   .y0 = a.pad_h - 2,
                                   .x0 = a.pad_w - 2,
                                   .image = static_cast<const T*>(a.grad),
                                   .weight = static_cast<const T*>(a.weight),
                                   .weight_m = 9,
                                   .weight_c = a.in_channels * 9,
                                   .turned = true,
                                   .bias = nullptr,
                                   .out = static_cast<T*>(a.out)};
  product.run();
}

}  // namespace

// Measured: with fewer channels the transforms cost what the products win; the weight's gradient transforms a sum of its
// own size, which wants many tiles.
// Levels without a fused multiply-add, the fallback for old machines, do without: the wheel is the smaller for it.
bool takes_winograd(const ConvArgs& a) {
  return has_fma && a.kernel_h == 3 && a.kernel_w == 3 && a.stride_h == 1 && a.stride_w == 1 &&
         a.dilation_h == 1 && a.dilation_w == 1 && a.groups == 1 && a.in_channels >= 16 &&
         a.out_channels >= 16 && 2 * tiles_of(a) <= a.n * a.out_h * a.out_w;
}
bool takes_winograd_weight_grad(const ConvArgs& a) {
  return takes_winograd(a) && tiles_of(a) >= 48 + a.in_channels * a.out_channels / 4096;
}

void winograd_forward([[maybe_unused]] const ConvArgs& a) {
  if constexpr (has_fma) a.dtype == DType::Float32 ? forward<float>(a) : forward<double>(a);
}
void winograd_input_grad([[maybe_unused]] const ConvArgs& a) {
  if constexpr (has_fma) a.dtype == DType::Float32 ? input_grad<float>(a) : input_grad<double>(a);
}
void winograd_weight_grad([[maybe_unused]] const ConvArgs& a) {
  if constexpr (has_fma) {
    if (a.dtype == DType::Float32)
      WinogradWeightGrad<float>(a).run();
    else
      WinogradWeightGrad<double>(a).run();
  }
}

}  // namespace chainrule::CR_ISA
