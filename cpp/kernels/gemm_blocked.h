// Products on tiles: which operands are packed, how the work is cut, and the loops around the tile. Nothing here
// changes a bit of the result, so the cut may look at the number of threads.
#pragma once
#include "kernels/gemm_copy.h"
#include "kernels/gemm_vector.h"
#include "kernels/scratch.h"

namespace chainrule::CR_ISA {

// Panels of rows, one a tile: `tall` of h rows, then some of h - 1. As many as the registers hold, evenly shared, for a
// last tile of one row would run at the speed of latency.
struct RowPanels {
  int64_t count, h, tall;
  explicit RowPanels(int64_t m, int64_t most_rows = kTileRows)
      : count(ceil_div(m, most_rows)), h(ceil_div(m, count)), tall(m - count * (h - 1)) {}
  int64_t first_row(int64_t panel) const { return panel * h - most<int64_t>(0, panel - tall); }
  int height(int64_t panel) const { return static_cast<int>(panel < tall ? h : h - 1); }
};

inline constexpr int64_t kTogether = 4;          // tiles that meet a K block in a row, when there are several
inline constexpr int64_t kGroupK = 8;            // K blocks that a tile meets in a row, at most
inline constexpr int64_t kGroupPackedK = 4;      // with A packed
inline constexpr int64_t kRowBytes = 256 << 10;  // of A: it stays in the second cache while B passes
inline constexpr int64_t kAllRowBytes =
    512 << 10;  // of A: all rows are in hand, so that a panel of B passes once
inline constexpr int64_t kSlabBytes = 2 << 20;    // of packed B
inline constexpr int64_t kNearBytes = 256 << 10;  // of c: the second cache may hold it already

// Panels of an operand: where the first is or null for an operand in place, the steps from panel to panel and from K
// block to K block, and whether the tiles are to pack them.
template <class T> struct PackedPanels {
  T* p;
  ptrdiff_t step, block;
  bool by_tiles;
};

// A slab of a product: all rows, columns [j0, j0 + n), and k in [k0, k0 + kn), which is a few K blocks. A panel is packed
// when a tile first meets it.
template <class T> struct Slab {
  static constexpr int P = kPanel<T>, W = Reg<T>::W;
  const Product<T>& p;
  RowPanels rows;
  int64_t j0, n, k0, kn;
  PackedPanels<T> pa;  // [ip0, ip0 + step) of A
  PackedPanels<T> pb;  // of B
  T* tail;             // with B in place: its last panel, packed, when that is not whole registers; else null
  int64_t step;        // panels of A in hand
  // Panels of A that the first panel of B meets begin with `first`, those that the last meets end before `last`.
  int64_t first, last;
  int64_t ip0 = 0;

  int64_t blocks() const { return ceil_div(kn, kBlockK); }
  int width(int64_t jp) const { return static_cast<int>(least<int64_t>(P, n - jp * P)); }
  int depth(int64_t kb) const { return static_cast<int>(least<int64_t>(kBlockK, kn - kb * kBlockK)); }
  T* a_panel(int64_t ip) const { return pa.p + (ip - ip0) * pa.step; }
  T* b_panel(int64_t jp) const { return pb.p + jp * pb.step; }

  void pack_b_panel(T* to, ptrdiff_t b_block, int64_t jp) const {
    for (int64_t kb = 0; kb < blocks(); ++kb)
      pack_b(to + kb * b_block, p.b, k0 + kb * kBlockK, depth(kb), j0 + jp * P, width(jp));
  }
  // What is contiguous in memory, rows of B and columns of A, is read over several panels, in one piece.
  static constexpr int kPanels = 8;
  void pack_b_panels() const {
    const int64_t whole = p.b.col == 1 ? n / P : 0;
    for (int64_t kb = 0; kb < blocks(); ++kb) {
      for (int64_t jp = 0; jp < whole; jp += kPanels) {
        for (int i = 0; i < depth(kb); ++i) {
          const T* src = p.b.at(k0 + kb * kBlockK + i, j0 + jp * P);
          fetch_ahead(src, p.b.row, kPanels * P);
          for (int64_t q = jp; q < least(jp + kPanels, whole); ++q, src += P)
            for (int v = 0; v < P; v += W)
              Reg<T>::store(b_panel(q) + kb * pb.block + i * P + v, Reg<T>::load(src + v));
        }
      }
    }
    for (int64_t jp = whole; jp < ceil_div(n, P); ++jp) pack_b_panel(b_panel(jp), pb.block, jp);
  }
  void pack_a_panels(int64_t ip, int64_t end) const {
    for (int64_t next; ip < end; ip = next) {
      const int h = rows.height(ip);
      const int64_t i = rows.first_row(ip);
      next = p.a.row != 1 ? ip + 1 : least(ip + kPanels, ip < rows.tall ? least(end, rows.tall) : end);
      for (int64_t kb = 0; kb < blocks(); ++kb) {
        T* const to = a_panel(ip) + kb * pa.block;
        const int64_t k = k0 + kb * kBlockK;
        if (p.a.row == 1)
          pack_columns(to, pa.step, static_cast<int>(next - ip), p.a, i, h, k, depth(kb));
        else
          pack_a(to, p.a, i, h, k, depth(kb));
      }
    }
  }

  void multiply() {
    if (pb.p && !pb.by_tiles) pack_b_panels();
    if (tail) pack_b_panel(tail, P * kBlockK, ceil_div(n, P) - 1);
    for (ip0 = 0; ip0 < rows.count; ip0 += step) multiply_rows();
  }

  // The rows in hand, panel of B by panel. The tiles of a panel follow each other within a call, so that the sums of one
  // begin while those of the last are stored.
  void multiply_rows() const {
    const bool finished = k0 + kn >= p.k;
    const int64_t stop = least(ip0 + step, rows.count);
    const auto* fn = tiles<T>.fn[pa.p != nullptr][kTileVectors - 1];
    const T* b = p.b.at(k0, j0);
    ptrdiff_t ldb = pb.p ? P : p.b.row, b_block = pb.p ? pb.block : kBlockK * p.b.row;
    T* c = p.c + j0;
    TileOut<T> out{nullptr,
                   p.ldc,
                   p.alpha,
                   k0 == 0 ? p.beta : T(1),
                   nullptr,
                   finished && p.col_bias ? p.col_bias + j0 : nullptr,
                   W,
                   finished && p.relu,
                   p.m * p.n * int64_t{sizeof(T)} > kNearBytes};
    // Stores only what changes: whoever reads what has just been stored in other pieces waits for all stores before it.
    const auto multiply = [&](int64_t ip, int64_t panels, int64_t h) CR_LAMBDA_INLINE {
      const int64_t row = rows.first_row(ip);
      out.c = c + row * p.ldc;
      out.old = out.c;
      if (finished && p.row_bias) out.row_bias = p.row_bias + row;
      out.panels = panels;
      out.a_panel = pa.p ? pa.step : h * p.a.row;
      run_tiles(fn[h - 1], h, pa.p ? a_panel(ip) : p.a.at(row, k0), pa.p ? pa.block : kBlockK * p.a.col, b,
                ldb, b_block, out);
    };
    for (int64_t left = n; left > 0; left -= P, c += P) {
      if (left < P) {
        const int nv = static_cast<int>(ceil_div(left, W));
        fn = tiles<T>.fn[pa.p != nullptr][nv - 1];
        out.tail = static_cast<int>(left) - (nv - 1) * W;
        if (tail) {
          b = tail;
          ldb = P;
          b_block = P * kBlockK;
        }
      }
      int64_t ip = left == n ? most(ip0, first) : ip0;
      const int64_t end = left <= P ? least(stop, last) : stop;
      if (pb.p) b = b_panel((n - left) / P);
      if ((pa.by_tiles || pb.by_tiles) && ip < end)
        ip = multiply_first((n - left) / P, ip, end, b, ldb, b_block, out);
      const int64_t low = least(most(ip, rows.tall), end);
      if (ip < low) multiply(ip, low - ip, rows.h);
      if (low < end) multiply(low, end - low, rows.h - 1);
      if (!pb.p) b += P;
      if (out.col_bias) out.col_bias += P;
    }
  }

  // Of the tiles [ip, end) of panel jp, those that meet a panel first, with the packing of it. Returns the next. Out of
  // line: inlined, its registers would be saved for products that pack nothing, 2% of a batch of small ones.
  [[gnu::noinline]] int64_t multiply_first(int64_t jp, int64_t ip, int64_t end, const T* b, ptrdiff_t ldb,
                                           ptrdiff_t b_block, TileOut<T> out) const {
    const int64_t unpacked = !pa.by_tiles || jp > 1 ? ip : jp == 0 ? end : most(ip, least(first, end));
    const bool whole = width(jp) == P, copies_a = whole && p.a.row == 1, copies_b = whole && p.b.col == 1;
    out.panels = 1;
    bool new_b = pb.by_tiles && ip == (jp == 0 ? first : 0);
    for (; ip < unpacked || new_b; ++ip, new_b = false) {
      const bool new_a = ip < unpacked;
      const auto& fns = copying_tiles<T>;
      const TileFn<T>* const fn = !pa.p ? fns.strided : !new_a ? fns.packed : fns.copied[new_b];
      const int h = rows.height(ip);
      if ((new_a && !copies_a) || (new_b && !copies_b) || fn[h] == nullptr) {
        if (new_b) pack_b_panel(b_panel(jp), pb.block, jp);
        pack_a_panels(ip, unpacked);
        return ip;
      }
      const int64_t row = rows.first_row(ip);
      out.c = p.c + row * p.ldc + j0 + jp * P;
      out.old = out.c;
      if (k0 + kn >= p.k && p.row_bias) out.row_bias = p.row_bias + row;
      out.copy_a = new_a ? a_panel(ip) : nullptr;
      out.copy_b = new_b ? b_panel(jp) : nullptr;
      const bool packed = pa.p && !new_a;
      run_tiles(fn[h], h, packed ? a_panel(ip) : p.a.at(row, k0), packed ? pa.block : kBlockK * p.a.col,
                new_b ? p.b.at(k0, j0 + jp * P) : b, new_b ? p.b.row : ldb,
                new_b ? kBlockK * p.b.row : b_block, out);
    }
    return ip;
  }

  CR_INLINE void run_tiles(TileFn<T> fn, int64_t h, const T* a, ptrdiff_t a_block, const T* b, ptrdiff_t ldb,
                           ptrdiff_t b_block, const TileOut<T>& out) const {
    if (kn <= kBlockK)
      fn(static_cast<int>(kn), a, p.a.row, p.a.col, b, ldb, out);
    else
      multiply_blocks(fn, h, a, a_block, b, ldb, b_block, out);
  }

  // Of several K blocks, a few tiles meet one after the other, their sums in a buffer of their own: the rows of c, often a
  // power of two apart, would push each other out of the first cache.
  [[gnu::noinline]] void multiply_blocks(TileFn<T> fn, int64_t h, const T* a, ptrdiff_t a_block, const T* b,
                                         ptrdiff_t ldb, ptrdiff_t b_block, const TileOut<T>& end) const {
    alignas(64) T sums[kTogether * kTileRows * P];
    TileOut<T> out = end;
    const T* row_bias = end.row_bias;
    T* c = end.c;
    for (int64_t left = end.panels; left > 0; left -= kTogether) {
      out.panels = least<int64_t>(left, kTogether);
      for (int64_t kb = 0, last = blocks() - 1; kb <= last; ++kb) {
        out.old = kb == 0 ? c : sums;
        out.ld_old = kb == 0 ? p.ldc : P;
        out.beta = kb == 0 ? end.beta : T(1);
        out.c = kb == last ? c : sums;
        out.ldc = kb == last ? p.ldc : P;
        out.row_bias = kb == last ? row_bias : nullptr;
        out.col_bias = kb == last ? end.col_bias : nullptr;
        out.relu = kb == last && end.relu;
        if (end.copy_a) out.copy_a = end.copy_a + kb * pa.block;
        if (end.copy_b) out.copy_b = end.copy_b + kb * pb.block;
        out.far = kb == last && end.far;
        fn(depth(kb), a + kb * a_block, p.a.row, p.a.col, b + kb * b_block, ldb, out);
      }
      a += kTogether * end.a_panel;
      c += kTogether * h * p.ldc;
      if (row_bias) row_bias += kTogether * h;
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
// A in place when its rows are contiguous: a tile reads them as a few long streams, as fast as packed panels.
template <class T> bool packs_a(const Product<T>& p) { return p.a.col != 1 && p.n > kPanel<T>; }
// Of lines a multiple of 4 KB apart, the first cache holds eight: those of seven rows, and one of B.
template <class T> RowPanels row_panels(const Product<T>& p, bool pack_a) {
  const bool conflicts = !pack_a && p.a.row * ptrdiff_t{sizeof(T)} % 4096 == 0;
  return RowPanels(p.m, conflicts ? least(7, kTileRows) : kTileRows);
}

// On the calling thread. The first panel of B begins with panel `first` of A, its last ends before panel `last`: what
// the two lack belongs to other threads. Then, while next(p) finds another product of the same form, that. m, n, k > 0.
template <class T, class Next>
void multiply_here(Product<T> p, const RowPanels& rows, bool pack_a, bool pack_b, int64_t first, int64_t last,
                   const Next& next) {
  constexpr int P = kPanel<T>;
  constexpr int64_t kSize = sizeof(T);
  const int64_t cols = ceil_div(p.n, P);
  int64_t kn = p.k, n = p.n, step = rows.count;  // divisions are long beside a small product
  if (p.k > kBlockK) {
    const int64_t blocks = ceil_div(p.k, kBlockK);
    const int64_t group = pack_a ? kGroupPackedK : kGroupK;
    kn = ceil_div(blocks, ceil_div(blocks, group)) * kBlockK;  // slabs of equal size
  }
  // A large B in long runs of its rows: a tile would meet few lines of many pages.
  const bool b_first = pack_b && p.k * p.n * kSize > kSlabBytes;
  if (p.m * kn * kSize > (pack_b ? kAllRowBytes : kRowBytes))
    step = most<int64_t>(1, kRowBytes / (rows.h * kn * kSize));
  const bool many = b_first || step < rows.count;  // panels of B that are kept
  if (pack_b && many) {
    const int64_t most_cols = most<int64_t>(1, kSlabBytes / (kn * P * kSize));
    n = ceil_div(cols, ceil_div(cols, most_cols)) * P;
  }
  // A small panel for the tail is taken from the stack: an allocation is long beside a product of 16 x 16.
  alignas(64) T small[P * kBlockK / 4];
  const bool tail = !pack_b && p.n % Reg<T>::W != 0, on_stack = tail && p.k <= kBlockK / 4;
  // The register behind a panel of A is what copies of its last column may write to.
  const int64_t panel_a = rows.h * kn + Reg<T>::W, size_a = pack_a ? ceil_div(step * panel_a, 16) * 16 : 0,
                size_b = pack_b              ? (many ? n : P) * kn
                         : tail && !on_stack ? P * kn
                                             : 0,
                size = size_a + size_b, whole = (kRowBytes + kSlabBytes) / kSize;
  // Larger ones are all of one size, so that a thread gets the block of its last product, which its cache still holds.
  Scratch<T> packed(size > whole / 16 ? most(size, whole) : size);
  T* const pb = packed.p + size_a;
  do {
    for (int64_t j = 0; j < p.n; j += n)
      for (int64_t k = 0; k < p.k; k += kn)
        Slab<T>{p,
                rows,
                j,
                least(n, p.n - j),
                k,
                least(kn, p.k - k),
                {pack_a ? packed.p : nullptr, panel_a, rows.h * kBlockK, pack_a},
                {pack_b ? pb : nullptr, many ? P * kn : 0, P * kBlockK, pack_b && !b_first},
                tail ? (on_stack ? small : pb) : nullptr,
                step,
                j == 0 ? first : 0,
                j + n >= p.n ? last : rows.count}
            .multiply();
  } while (next(p));
}
// Several of the same form, which are planned once, on the calling thread.
template <class T, class Next> void multiply_alike(const Product<T>& p, const Next& next) {
  const bool pack_a = packs_a(p);
  const RowPanels rows = row_panels(p, pack_a);
  multiply_here(p, rows, pack_a, packs_b(p), 0, rows.count, next);
}
inline constexpr auto alone = [](const auto&) { return false; };

// Cuts c into gm x gn parts, one a thread, which may share a panel of B, with the shortest time for the longest part.
struct Grid {
  int64_t gm = 1, gn = 1;
  template <class T> Grid(const Product<T>& p, bool pack_a, int64_t parts) {
    // To meet a value of A, or of B, first takes as long as so many multiplications: to pack it, or to get it from the
    // other threads' caches, since a thread has the rows of A that it wrote when C is cut by rows,
    constexpr int64_t kMeetA = 8, kMeetB = 11;
    constexpr int64_t kLine = 1024;  // and a line of c that two threads write as so many
    constexpr int64_t kLineBytes = 64;
    const bool shares =
        (reinterpret_cast<uintptr_t>(p.c) | static_cast<uintptr_t>(p.ldc * ptrdiff_t{sizeof(T)})) %
            kLineBytes !=
        0;  // lines of c, where columns are cut
    const int64_t cols = ceil_div(p.n, kPanel<T>);
    int64_t shortest = -1;
    for (int64_t i = 1; i <= parts; ++i) {
      if (parts % i != 0) continue;
      const int64_t r = least(i, ceil_div(p.m, 4)), c = least(parts / i, cols);
      const int64_t m = ceil_div(p.m, r), n = ceil_div(cols * kPanel<T>, c);
      const int64_t slabs =
          ceil_div(n * least(p.k, kGroupPackedK * kBlockK) * int64_t{sizeof(T)}, kSlabBytes);
      const int64_t time = m * n + kMeetA * m * (pack_a ? slabs : 1) + kMeetB * n + (m + n) / 8 +
                           (c > 1 && shares ? m * kLine / p.k : 0);
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
  if (!threads) return multiply_alike(p, alone);
  const bool pack_a = packs_a(p), pack_b = packs_b(p);
  int64_t parts = num_threads();
  if (!pack_a && !pack_b) parts *= most<int64_t>(1, p.m * p.n * p.k / kTaskWork / parts);
  const Grid g(p, pack_a, parts);
  const int64_t cols = ceil_div(p.n, P);
  const bool narrow = p.n - (cols - 1) * P <= Reg<T>::W;
  parallel_for(g.gm * g.gn, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t / g.gn, j = t % g.gn;
      const int64_t i0 = i * p.m / g.gm, i1 = (i + 1) * p.m / g.gm;
      Product<T> part = p;
      part.m = i1 - i0;
      // Tiles are counted along the panels of B. One of a single register takes half the time of another; with few
      // rows, whose sums are too few to keep the machine busy, two thirds.
      const RowPanels panels = row_panels(part, pack_a);
      const int64_t rows = panels.count, tiles = cols * rows - (narrow ? rows / (kTileRows > 8 ? 2 : 3) : 0);
      const int64_t x0 = j * tiles / g.gn, x1 = j + 1 < g.gn ? (j + 1) * tiles / g.gn : cols * rows;
      const int64_t j0 = x0 / rows * P, j1 = least(ceil_div(x1, rows) * P, p.n);
      part.n = j1 - j0;
      part.a.p = p.a.at(i0, 0);
      part.b.p = p.b.at(0, j0);
      part.c += i0 * p.ldc + j0;
      if (p.row_bias) part.row_bias += i0;
      if (p.col_bias) part.col_bias += j0;
      multiply_here(part, panels, pack_a, pack_b, x0 % rows, (x1 - 1) % rows + 1, alone);
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
