// Products on tiles: which operands are packed, how the work is cut, and the loops around the tile. Nothing here
// changes a bit of the result, so the cut may look at the number of threads.
#pragma once
#include "core/alloc.h"
#include "kernels/gemm_vector.h"

namespace chainrule::CR_ISA {

template <class T> struct Scratch {
  T* p;
  explicit Scratch(int64_t n)
      : p(n > 0 ? static_cast<T*>(cr_alloc(static_cast<size_t>(n) * sizeof(T))) : nullptr) {}
  ~Scratch() {
    if (p) cr_free(p);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

// Rows a tile: as many as the registers hold, evenly shared, for a last tile of one row runs at the speed of latency.
CR_INLINE int tile_height(int64_t m) { return static_cast<int>(ceil_div(m, ceil_div(m, kTileRows))); }

inline constexpr int64_t kGroupK = 4;             // K blocks that a tile meets in a row, at most
inline constexpr int64_t kRowBytes = 256 << 10;   // of packed A: it stays in the second cache while B passes
inline constexpr int64_t kSlabBytes = 2 << 20;    // of packed B
inline constexpr int64_t kNearBytes = 256 << 10;  // of c: the second cache may hold it already

// A slab of a product: all rows, columns [j0, j0 + n), and k in [k0, k0 + kn), which is a few K blocks. B is packed at
// once, A a few panels at a time.
template <class T> struct Slab {
  const Product<T>& p;
  int h;  // rows a panel of A
  int64_t j0, n, k0, kn, block;
  T* pa;         // packed panels [ip0, ip0 + step) of A: [K block][panel], or null: read in place
  T* pb;         // packed B: [K block][panel], or null
  T* tail;       // with B in place: its last panel, packed, when that is not whole registers; else null
  int64_t step;  // panels of A in hand
  int64_t ip0 = 0;

  int64_t rows() const { return ceil_div(p.m, h); }
  int64_t cols() const { return ceil_div(n, kPanel<T>); }
  int64_t blocks() const { return ceil_div(kn, kBlockK); }
  int height(int64_t ip) const { return static_cast<int>(least<int64_t>(h, p.m - ip * h)); }
  int width(int64_t jp) const { return static_cast<int>(least<int64_t>(kPanel<T>, n - jp * kPanel<T>)); }
  int depth(int64_t kb) const { return static_cast<int>(least<int64_t>(kBlockK, kn - kb * kBlockK)); }
  T* a_panel(int64_t kb, int64_t ip) const { return pa + (kb * step + ip - ip0) * h * block; }
  T* b_panel(int64_t kb, int64_t jp) const { return pb + (kb * cols() + jp) * kPanel<T> * block; }

  // What is contiguous in memory, rows of B and columns of A, is read over several panels, in one piece.
  static constexpr int kPanels = 8;
  // Out of line: inlined, its registers would be saved for products that pack nothing, 2% of a batch of small ones.
  [[gnu::noinline]] void pack_rows() const {
    const int64_t stop = least(ip0 + step, rows()), whole = p.a.row == 1 ? least(stop, p.m / h) : ip0;
    for (int64_t kb = 0; kb < blocks(); ++kb) {
      const int64_t k = k0 + kb * kBlockK;
      for (int64_t ip = ip0; ip < whole; ip += kPanels)
        pack_columns(a_panel(kb, ip), h * block, static_cast<int>(least<int64_t>(kPanels, whole - ip)), p.a,
                     ip * h, h, k, depth(kb));
      for (int64_t ip = whole; ip < stop; ++ip)
        pack_a(a_panel(kb, ip), p.a, ip * h, height(ip), k, depth(kb));
    }
  }
  void pack_cols() const {
    constexpr int P = kPanel<T>;
    const int64_t whole = p.b.col == 1 ? n / P : 0;
    for (int64_t kb = 0; kb < blocks(); ++kb) {
      const int64_t k = k0 + kb * kBlockK;
      for (int64_t jp = 0; jp < whole; jp += kPanels) {
        for (int i = 0; i < depth(kb); ++i) {
          const T* src = p.b.at(k + i, j0 + jp * P);
          fetch_ahead(src, p.b.row, kPanels * P);
          for (int64_t q = jp; q < least(jp + kPanels, whole); ++q, src += P)
            for (int v = 0; v < P; v += Reg<T>::W)
              Reg<T>::store(b_panel(kb, q) + i * P + v, Reg<T>::load(src + v));
        }
      }
      for (int64_t jp = whole; jp < cols(); ++jp)
        pack_b(b_panel(kb, jp), p.b, k, depth(kb), j0 + jp * P, width(jp));
    }
  }
  void pack_tail() const {
    const int64_t jp = cols() - 1;
    for (int64_t kb = 0; kb < blocks(); ++kb)
      pack_b(tail + kb * kPanel<T> * kBlockK, p.b, k0 + kb * kBlockK, depth(kb), j0 + jp * kPanel<T>,
             width(jp));
  }

  void multiply() {
    if (pb) pack_cols();
    if (tail) pack_tail();
    for (ip0 = 0; ip0 < rows(); ip0 += step) {
      if (pa) pack_rows();
      for (int64_t jp = 0, all = cols(); jp < all; ++jp) multiply_panel(jp);
    }
  }

  // The tiles of the rows in hand by a panel of B. Each meets the K blocks in a row, its sums in a buffer of their own: the
  // rows of c, often a power of two apart, would push each other out of the first cache. What does not change from tile
  // to tile is set up once: stores wait behind those of the tile before.
  void multiply_panel(int64_t jp) const {
    constexpr int P = kPanel<T>;
    alignas(64) T sums[kTileRows * P];
    const int w = width(jp), nv = static_cast<int>(ceil_div(w, Reg<T>::W));
    const bool in_place = pb == nullptr && !(tail && jp == cols() - 1);
    const ptrdiff_t ldb = in_place ? p.b.row : P;
    const int64_t j = j0 + jp * P;
    const int all = static_cast<int>(blocks());
    const bool finished = k0 + kn >= p.k, far = p.m * p.n * int64_t{sizeof(T)} > kNearBytes;
    struct Step {
      int kn;
      const T* b;
      TileOut<T> out;
    } steps[kGroupK];
    for (int kb = 0; kb < all; ++kb) {
      const int64_t k = k0 + kb * kBlockK;
      const bool last = kb == all - 1;
      steps[kb] = {depth(kb),
                   in_place ? p.b.at(k, j)
                   : pb     ? b_panel(kb, jp)
                            : tail + kb * P * kBlockK,
                   {sums, last ? p.ldc : P, p.alpha, k == 0 ? p.beta : T(1), nullptr,
                    last && finished && p.col_bias ? p.col_bias + j : nullptr, w - (nv - 1) * Reg<T>::W,
                    last && finished && p.relu, last && far, sums, kb == 0 ? p.ldc : P}};
    }
    TileOut<T>& end = steps[all - 1].out;
    for (int64_t ip = ip0, stop = least(ip0 + step, rows()); ip < stop; ++ip) {
      const int64_t i = ip * h;
      T* const c = p.c + i * p.ldc + j;
      const auto fn = tiles<T>.fn[pa != nullptr][nv - 1][height(ip) - 1];
      steps[0].out.old = end.c = c;
      if (finished && p.row_bias) end.row_bias = p.row_bias + i;
      for (int kb = 0; kb < all; ++kb) {
        const T* a = pa ? a_panel(kb, ip) : p.a.at(i, k0 + kb * kBlockK);
        fn(steps[kb].kn, a, p.a.row, p.a.col, steps[kb].b, ldb, steps[kb].out);
      }
    }
  }
};

// Multiplications from which threads pay: of one product, that of 51 x 51 matrices (a region costs about half a
// microsecond), and of many small ones. The second decides how convolution cuts its sums, so it stays.
inline constexpr int64_t kProductWork = 1 << 17, kParallelWork = 1 << 18;
inline constexpr int64_t kTaskWork = 4 << 20;   // multiplications a task
inline constexpr int64_t kPartBytes = 8 << 20;  // of parts of sums that wait to be joined

// B in place: when a few tiles of rows read it, or it fits the first cache anyway.
template <class T> bool packs_b(const Product<T>& p) {
  return p.b.col != 1 || (p.m > 4 * kTileRows && p.k * p.n * int64_t{sizeof(T)} > 40960);
}
// A in place: while columns are too few to repay its packing, the cache lines that a tile touches are used up soon, and
// its rows do not push each other out of the first cache. A tile of few rows reads few streams.
template <class T> bool packs_a(const Product<T>& p) {
  if (p.a.col != 1) return p.n > kPanel<T>;
  const bool conflicts = p.a.row * ptrdiff_t{sizeof(T)} % 4096 == 0;
  return p.n > (kTileRows > 8 || conflicts ? 8 * kPanel<T> : 512);
}

// On the calling thread. m, n, k > 0.
template <class T> void multiply_here(const Product<T>& p, bool pack_a, bool pack_b) {
  constexpr int P = kPanel<T>;
  constexpr int64_t kSize = sizeof(T);
  const int h = tile_height(p.m);
  const int64_t blocks = ceil_div(p.k, kBlockK), cols = ceil_div(p.n, P);
  const int64_t block = least<int64_t>(kBlockK, p.k);
  const int64_t kn = ceil_div(blocks, ceil_div(blocks, kGroupK)) * block;  // slabs of equal size
  const int64_t most_cols = most<int64_t>(1, kSlabBytes / (kn * P * kSize));
  const int64_t n = pack_b ? ceil_div(cols, ceil_div(cols, most_cols)) * P : p.n;
  const int64_t step = least(ceil_div(p.m, h), most<int64_t>(1, kRowBytes / (h * kn * kSize)));
  // A small panel for the tail is taken from the stack: an allocation is long beside a product of 16 x 16.
  alignas(64) T small[P * kBlockK / 4];
  const bool tail = !pack_b && p.n % Reg<T>::W != 0, on_stack = tail && p.k <= kBlockK / 4;
  const int64_t size_a = pack_a ? ceil_div(step * h * kn, 16) * 16 : 0,
                size_b = pack_b              ? n * kn
                         : tail && !on_stack ? P * kn
                                             : 0,
                size = size_a + size_b, whole = (kRowBytes + kSlabBytes) / kSize;
  // Larger ones are all of one size, so that a thread gets the block of its last product, which its cache still holds.
  Scratch<T> packed(size > whole / 16 ? most(size, whole) : size);
  T* const pb = packed.p + size_a;
  for (int64_t j = 0; j < p.n; j += n)
    for (int64_t k = 0; k < p.k; k += kn)
      Slab<T>{p,
              h,
              j,
              least(n, p.n - j),
              k,
              least(kn, p.k - k),
              block,
              pack_a ? packed.p : nullptr,
              pack_b ? pb : nullptr,
              tail ? (on_stack ? small : pb) : nullptr,
              step}
          .multiply();
}

// Cuts c into gm x gn parts, one a thread, with the shortest time for the longest part.
struct Grid {
  int64_t gm = 1, gn = 1;
  template <class T> Grid(const Product<T>& p, bool pack_a, bool pack_b, int64_t parts) {
    constexpr int64_t kPack = 14;  // to pack a value takes as long as so many multiplications
    const int64_t cols = ceil_div(p.n, kPanel<T>);
    int64_t shortest = -1;
    for (int64_t i = 1; i <= parts; ++i) {
      if (parts % i != 0) continue;
      const int64_t r = least(i, ceil_div(p.m, 4)), c = least(parts / i, cols);
      const int64_t m = ceil_div(p.m, r), n = ceil_div(cols, c) * kPanel<T>;
      const int64_t time = m * n + kPack * ((pack_a ? m : 0) + (pack_b ? n : 0)) + (m + n) / 8;
      if (shortest >= 0 && time > shortest) continue;
      shortest = time;
      gm = r;
      gn = c;
    }
  }
};

// Threads share nothing: each packs what it multiplies. To write memory that another core has read last takes longer
// than to write one's own twice, and nobody waits for the others.
template <class T> void multiply_tiles(const Product<T>& p, bool threads) {
  constexpr int P = kPanel<T>;
  const bool pack_a = packs_a(p), pack_b = packs_b(p);
  if (!threads) return multiply_here(p, pack_a, pack_b);
  int64_t parts = num_threads();
  if (!pack_a && !pack_b) parts *= most<int64_t>(1, p.m * p.n * p.k / kTaskWork / parts);
  const Grid g(p, pack_a, pack_b, parts);
  const int64_t cols = ceil_div(p.n, P);
  parallel_for(g.gm * g.gn, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t / g.gn, j = t % g.gn;
      const int64_t i0 = i * p.m / g.gm, i1 = (i + 1) * p.m / g.gm;
      const int64_t j0 = j * cols / g.gn * P, j1 = least((j + 1) * cols / g.gn * P, p.n);
      Product<T> part = p;
      part.m = i1 - i0;
      part.n = j1 - j0;
      part.a.p = p.a.at(i0, 0);
      part.b.p = p.b.at(0, j0);
      part.c += i0 * p.ldc + j0;
      if (p.row_bias) part.row_bias += i0;
      if (p.col_bias) part.col_bias += j0;
      multiply_here(part, pack_a, pack_b);
    }
  });
}

// Few elements and a long k: the sums of the K blocks are independent, so they are found in parallel and joined in
// order, which gives the bits of the loop above.
template <class T> void multiply_split(const Product<T>& p) {
  const int64_t size = p.m * p.n, blocks = ceil_div(p.k, kBlockK);
  const int64_t wave = most<int64_t>(1, least(blocks, kPartBytes / (size * int64_t{sizeof(T)})));
  Scratch<T> sums(wave * size + Reg<T>::W);  // finish_row reads whole registers
  for (int64_t w = 0; w < blocks; w += wave) {
    const int64_t count = least(wave, blocks - w);
    parallel_for(
        count, most<int64_t>(1, kParallelWork / (2 * size * kBlockK)), [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t k = (w + i) * kBlockK;
            const Mat<T> a{p.a.at(0, k), p.a.row, p.a.col}, b{p.b.at(k, 0), p.b.row, p.b.col};
            multiply_tiles(Product<T>{p.m, p.n, least<int64_t>(kBlockK, p.k - k), a, b, sums.p + i * size,
                                      static_cast<ptrdiff_t>(p.n), T(1), T(0), nullptr, nullptr},
                           false);
          }
        });
    const bool last = w + wave >= blocks;
    const int64_t rows = most<int64_t>(1, 65536 / (count * p.n));
    parallel_for(p.m, rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t i = 0; i < count; ++i) {
          const bool finished = last && i == count - 1;
          finish_row(p.c + r * p.ldc, sums.p + i * size + r * p.n, static_cast<int>(p.n), p.alpha,
                     w + i == 0 ? p.beta : T(1), finished && p.row_bias ? p.row_bias + r : nullptr,
                     finished ? p.col_bias : nullptr, finished && p.relu);
        }
      }
    });
  }
}

}  // namespace chainrule::CR_ISA
