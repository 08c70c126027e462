// Tiles that pack: the first tile that meets a panel of B or of A reads it where it lies and leaves a packed copy for
// the others. What the copy costs, and the way from the caches that hold the operand, pass behind multiplications.
#pragma once
#include "kernels/gemm_tile.h"

namespace chainrule::CR_ISA {

// A tile asks for the row so many further on, which waits in the second cache, and for the same row of the next panel, to
// be there then. It passes a row in 28 cycles with AVX-512, in 6 with AVX2.
inline constexpr bool kTall = kTileRows > 8;
inline constexpr int kRowsAhead = kTall ? 12 : 40;

// Where a tile takes A from; kCopied: columns contiguous, and copied.
enum class Left { kStrided, kPacked, kCopied };

// Copies a row of B, and of A's R values in a column, into their panels. Whole registers are stored, for a masked store is
// slow: what is behind the R values is the next column's place, or free.
template <class T, int R, Left kLeft, bool kCopyB> struct CopyRow {
  using X = Reg<T>;
  T *a, *b;
  ptrdiff_t lda, ldb;
  static CR_INLINE void fetch(const T* soon, const T* next) {
    __builtin_prefetch(soon);
    __builtin_prefetch(next);
  }
  template <class Rows, int NV> CR_INLINE void operator()(const Rows& rows, const T* from,
                                                          const typename X::V (&bv)[NV]) {
    if constexpr (kCopyB) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) X::store(b + v * X::W, bv[v]);
#pragma GCC unroll 4
      for (int j = 0; j < NV * X::W; j += 64 / static_cast<int>(sizeof(T)))
        fetch(from + kRowsAhead * ldb + j, from + NV * X::W + j);
      b += NV * X::W;
    }
    if constexpr (kLeft == Left::kCopied) {
      fetch(rows.p + kRowsAhead * lda + R - 1, rows.p + 2 * R - 1);  // the tile above has met the line before
#pragma GCC unroll 4
      for (int r = 0; r < R; r += X::W)
        X::store(a + r, r + X::W <= R ? X::load(rows.p + r) : X::load(rows.p + r, R - r));
      a += R;
    }
  }
};

template <class T, int R, Left kLeft, bool kCopyB>
void copying_tile(int kn, const T* a, ptrdiff_t a_row, ptrdiff_t a_col, const T* b, ptrdiff_t ldb,
                  const TileOut<T>& o) {
  using X = Reg<T>;
  constexpr int NV = kTileVectors;
  typename X::V acc[R][NV];
  const CopyRow<T, R, kLeft, kCopyB> copy{o.copy_a, o.copy_b, a_col, ldb};
  if constexpr (kLeft == Left::kStrided)
    sum_tile<T>(acc, kn, StridedRows<T, R>(a, a_row, a_col), b, ldb, copy);
  else
    sum_tile<T>(acc, kn, PackedRows<T, R>{a, kLeft == Left::kCopied ? a_col : R}, b, ldb, copy);
  alignas(64) T sums[R * NV * X::W];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) X::store(sums + (r * NV + v) * X::W, acc[r][v]);
  }
  finish_tile(sums, 0, R, NV, o);
}

// The tile of h rows and all columns that copies what is asked for, or null: heights that parts of many rows do not have,
// and columns of A with AVX2, whose tiles pass a line too fast for it to arrive.
template <class T> struct CopyingTiles {
  static constexpr int kLeast = kTall ? 10 : kTileRows / 2 + 1;
  TileFn<T> strided[kTileRows + 1]{}, packed[kTileRows + 1]{}, copied[2][kTileRows + 1]{};
  template <int R> constexpr void fill() {
    strided[R] = copying_tile<T, R, Left::kStrided, true>;
    packed[R] = copying_tile<T, R, Left::kPacked, true>;
    if constexpr (kTall) {
      copied[0][R] = copying_tile<T, R, Left::kCopied, false>;
      copied[1][R] = copying_tile<T, R, Left::kCopied, true>;
    }
    if constexpr (R > kLeast) fill<R - 1>();
  }
  constexpr CopyingTiles() {
    fill<kTileRows>();
    if constexpr (kTall) strided[7] = copying_tile<T, 7, Left::kStrided, true>;
  }
};
template <class T> inline constexpr CopyingTiles<T> copying_tiles{};

}  // namespace chainrule::CR_ISA
