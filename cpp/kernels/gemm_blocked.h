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

inline constexpr int64_t kGroupK = 4;            // K blocks that a tile meets in a row
inline constexpr int64_t kRowBytes = 512 << 10;  // of A that stays in the second cache meanwhile

// A slab of a product: rows [i0, i0 + m), columns [j0, j0 + n), and k in [k0, k0 + kn), with its packed operands.
template <class T> struct Slab {
  const Product<T>& p;
  int h;  // rows a panel of A
  int64_t i0, m, j0, n, k0, kn;
  T* pa;    // packed A: [K block][panel], or null: read in place
  T* pb;    // packed B, or null
  T* tail;  // with B in place: its last panel, packed, when that is not whole registers; else null

  int64_t rows() const { return ceil_div(m, h); }
  int64_t cols() const { return ceil_div(n, kPanel<T>); }
  int64_t blocks() const { return ceil_div(kn, kBlockK); }
  int height(int64_t ip) const { return static_cast<int>(least<int64_t>(h, m - ip * h)); }
  int width(int64_t jp) const { return static_cast<int>(least<int64_t>(kPanel<T>, n - jp * kPanel<T>)); }
  int depth(int64_t kb) const { return static_cast<int>(least<int64_t>(kBlockK, kn - kb * kBlockK)); }
  T* a_panel(int64_t kb, int64_t ip) const { return pa + (kb * rows() + ip) * h * kBlockK; }
  T* b_panel(int64_t kb, int64_t jp) const { return pb + (kb * cols() + jp) * kPanel<T> * kBlockK; }

  void pack_rows(int64_t ip) const {
    for (int64_t kb = 0; kb < blocks(); ++kb)
      pack_a(a_panel(kb, ip), p.a, i0 + ip * h, height(ip), k0 + kb * kBlockK, depth(kb));
  }
  // Panels [jp0, jp1). Where rows of B are contiguous, one is read over several panels, in one piece.
  void pack_cols(int64_t jp0, int64_t jp1) const {
    constexpr int P = kPanel<T>, kPanels = 8;
    const int64_t whole = p.b.col == 1 ? least(jp1, n / P) : jp0;
    for (int64_t kb = 0; kb < blocks(); ++kb) {
      const int64_t k = k0 + kb * kBlockK;
      for (int64_t jp = jp0; jp < whole; jp += kPanels) {
        for (int i = 0; i < depth(kb); ++i) {
          const T* src = p.b.at(k + i, j0 + jp * P);
          for (int64_t q = jp; q < least(jp + kPanels, whole); ++q, src += P)
            for (int v = 0; v < P; v += Reg<T>::W)
              Reg<T>::store(b_panel(kb, q) + i * P + v, Reg<T>::load(src + v));
        }
      }
      for (int64_t jp = most(jp0, whole); jp < jp1; ++jp)
        pack_b(b_panel(kb, jp), p.b, k, depth(kb), j0 + jp * P, width(jp));
    }
  }
  void pack_tail() const {
    const int64_t jp = cols() - 1;
    for (int64_t kb = 0; kb < blocks(); ++kb)
      pack_b(tail + kb * kPanel<T> * kBlockK, p.b, k0 + kb * kBlockK, depth(kb), j0 + jp * kPanel<T>,
             width(jp));
  }

  // The tiles of panels [ip0, ip1) by [jp0, jp1). A tile meets several K blocks in a row, its sums in a buffer of their
  // own: the rows of c, often a power of two apart, would push each other out of the first cache.
  void compute(int64_t ip0, int64_t ip1, int64_t jp0, int64_t jp1) const {
    const int64_t step =
        most<int64_t>(1, kRowBytes / (h * least(kn, kGroupK * kBlockK) * int64_t{sizeof(T)}));
    for (int64_t kb = 0; kb < blocks(); kb += kGroupK)
      for (int64_t ip = ip0; ip < ip1; ip += step)
        for (int64_t jp = jp0; jp < jp1; ++jp)
          for (int64_t i = ip; i < least(ip + step, ip1); ++i)
            compute_tile(i, jp, kb, least(kb + kGroupK, blocks()));
  }

  void compute_tile(int64_t ip, int64_t jp, int64_t kb0, int64_t kb1) const {
    constexpr int P = kPanel<T>;
    alignas(64) T sums[kTileRows * P];
    const int r = height(ip), w = width(jp), nv = static_cast<int>(ceil_div(w, Reg<T>::W));
    const int64_t i = i0 + ip * h, j = j0 + jp * P;
    const bool in_place = pb == nullptr && !(tail && jp == cols() - 1);
    TileOut<T> o;
    o.c = sums;
    o.ldc = P;
    o.old = p.c + i * p.ldc + j;
    o.ld_old = p.ldc;
    o.alpha = p.alpha;
    o.row_bias = o.col_bias = nullptr;
    o.tail = w - (nv - 1) * Reg<T>::W;
    for (int64_t kb = kb0; kb < kb1; ++kb) {
      const int64_t k = k0 + kb * kBlockK;
      o.beta = k == 0 ? p.beta : T(1);
      if (kb == kb1 - 1) {
        o.c = p.c + i * p.ldc + j;
        o.ldc = p.ldc;
        if (k + kBlockK >= p.k) {
          o.row_bias = p.row_bias ? p.row_bias + i : nullptr;
          o.col_bias = p.col_bias ? p.col_bias + j : nullptr;
        }
      }
      const T* a = pa ? a_panel(kb, ip) : p.a.at(i, k);
      const T* b = in_place ? p.b.at(k, j) : pb ? b_panel(kb, jp) : tail + kb * P * kBlockK;
      tiles<T>.fn[pa != nullptr][nv - 1][r - 1](depth(kb), a, p.a.row, p.a.col, b, in_place ? p.b.row : P, o);
      o.old = sums;
      o.ld_old = P;
    }
  }
};

// Multiplications from which threads pay: the product of 64 x 64 matrices. A region costs about half a microsecond.
inline constexpr int64_t kParallelWork = 1 << 18;
inline constexpr int64_t kTaskWork = 4 << 20;   // multiplications a task
inline constexpr int64_t kSlabBytes = 8 << 20;  // of packed operands at a time
inline constexpr int64_t kSlabSide = 4096;

// Cuts rows x cols panels into groups for threads: enough of them, as square as possible, small enough for the caches.
struct Grid {
  int64_t gm = 1, gn = 1;
  template <class T> static Grid cut(const Slab<T>& s, int64_t want) {
    Grid g;
    const int64_t rows = s.rows(), cols = s.cols();
    for (;;) {
      const int64_t mi = ceil_div(rows, g.gm), nj = ceil_div(cols, g.gn);
      const bool more = g.gm * g.gn < want, tall = mi * s.h * int64_t{sizeof(T)} > 1024,
                 wide = nj * kPanel<T> * int64_t{sizeof(T)} > 1024;
      const bool can_m = mi > 1 && (more || tall), can_n = nj > 1 && (more || wide);
      if (!can_m && !can_n) return g;
      if (can_m && (!can_n || mi * s.h >= nj * kPanel<T>))
        ++g.gm;
      else
        ++g.gn;
    }
  }
};

template <class T> void multiply_slab(const Slab<T>& s, bool threads) {
  const int64_t rows = s.rows(), cols = s.cols();
  const int64_t na = s.pa ? rows : 0, nb = s.pb ? cols : 0;
  const int64_t packed = (na * s.h + nb * kPanel<T>)*s.kn;
  auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < least(end, na); ++i) s.pack_rows(i);
    if (end > na) s.pack_cols(most(begin, na) - na, end - na);
  };
  if (s.tail) s.pack_tail();
  if (!threads) {
    pack(0, na + nb);
    s.compute(0, rows, 0, cols);
    return;
  }
  const int64_t want = most<int64_t>(num_threads(), s.m * s.n * s.kn / kTaskWork);
  if (s.pb && !s.pa && s.m <= 1024 && cols % want == 0) {
    // A task packs the columns that it multiplies: one region instead of two.
    parallel_for(want, 1, [&](int64_t begin, int64_t end) {
      const int64_t j0 = begin * cols / want, j1 = end * cols / want;
      s.pack_cols(j0, j1);
      s.compute(0, rows, j0, j1);
    });
    return;
  }
  parallel_for(na + nb, most<int64_t>(1, 65536 * (na + nb) / most<int64_t>(packed, 1)), pack);
  const Grid g = Grid::cut(s, want);
  parallel_for(g.gm * g.gn, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t % g.gm, j = t / g.gm;
      s.compute(i * rows / g.gm, (i + 1) * rows / g.gm, j * cols / g.gn, (j + 1) * cols / g.gn);
    }
  });
}

// m, n, k > 0.
template <class T> void multiply_tiles(const Product<T>& p, bool threads) {
  constexpr int P = kPanel<T>;
  // B in place: when a few tiles of rows read it, or it fits the first cache anyway.
  const bool pack_b = p.b.col != 1 || (p.m > 4 * kTileRows && p.k * p.n * int64_t{sizeof(T)} > 40960);
  // A in place: when few panels of columns read it, and the cache lines that a tile touches are used up soon.
  const bool pack_a = p.n > 8 * P || (p.a.col != 1 && p.n > P);
  const int64_t ms = pack_a ? least(p.m, kSlabSide) : p.m, ns = pack_b ? least(p.n, kSlabSide) : p.n;
  const int h = tile_height(threads ? ceil_div(p.m, num_threads()) : p.m);  // whole tiles for every thread
  const int64_t ra = ceil_div(ms, h) * h, cb = ceil_div(ns, P) * P;
  const bool tail = !pack_b && p.n % Reg<T>::W != 0;
  const int64_t row_bytes = ((pack_a ? ra : 0) + (pack_b ? cb : 0) + (tail ? P : 0)) * int64_t{sizeof(T)};
  const int64_t ks =
      least(ceil_div(p.k, kBlockK), most<int64_t>(1, kSlabBytes / most<int64_t>(1, row_bytes * kBlockK))) *
      kBlockK;
  const int64_t kp = least(ks, ceil_div(p.k, kBlockK) * kBlockK);
  // A small panel for the tail is taken from the stack: an allocation is long beside a product of 16 x 16.
  alignas(64) T small[P * kBlockK / 4];
  const bool on_stack = tail && p.k <= kBlockK / 4;
  Scratch<T> sa(pack_a ? ra * kp : 0), sb(pack_b ? cb * kp : 0), st(tail && !on_stack ? P * kp : 0);
  for (int64_t j = 0; j < p.n; j += ns) {
    for (int64_t k = 0; k < p.k; k += ks) {
      for (int64_t i = 0; i < p.m; i += ms) {
        const Slab<T> s{p,
                        h,
                        i,
                        least(ms, p.m - i),
                        j,
                        least(ns, p.n - j),
                        k,
                        least(ks, p.k - k),
                        sa.p,
                        sb.p,
                        tail ? (on_stack ? small : st.p) : nullptr};
        multiply_slab(s, threads);
      }
    }
  }
}

// Few elements and a long k: the sums of the K blocks are independent, so they are found in parallel and joined in
// order, which gives the bits of the loop above.
template <class T> void multiply_split(const Product<T>& p) {
  const int64_t size = p.m * p.n, blocks = ceil_div(p.k, kBlockK);
  const int64_t wave = most<int64_t>(1, least(blocks, kSlabBytes / (size * int64_t{sizeof(T)})));
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
          const bool add_bias = last && i == count - 1;
          finish_row(p.c + r * p.ldc, sums.p + i * size + r * p.n, static_cast<int>(p.n), p.alpha,
                     w + i == 0 ? p.beta : T(1), add_bias && p.row_bias ? p.row_bias + r : nullptr,
                     add_bias ? p.col_bias : nullptr);
        }
      }
    });
  }
}

}  // namespace chainrule::CR_ISA
