// Products of integers. They wrap, so no order of the sums is to be kept: a tile's go to c after as much of k as a packed
// panel of b holds, and are added there.
#pragma once
#include "core/parallel_for.h"
#include "kernels/gemm.h"
#include "kernels/gemm_blocked.h"

namespace chainrule::CR_ISA {

// Registers of what T is multiplied in: unsigned, and bytes in 16 bits, of which the lower 8 are right.
template <class T> struct WrappedOf;
template <> struct WrappedOf<uint8_t> { using type = uint16_t; };
template <> struct WrappedOf<int32_t> { using type = uint32_t; };
template <> struct WrappedOf<int64_t> { using type = uint64_t; };
template <class T> struct IntegerReg {
  using U = typename WrappedOf<T>::type;
  static constexpr int W = register_bytes / static_cast<int>(sizeof(U));
  typedef U V __attribute__((vector_size(register_bytes)));
  typedef T Narrow __attribute__((vector_size(W * sizeof(T))));
  static CR_INLINE V load(const T* p) {
    Narrow v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, V);
  }
};

// A register of sums, and one of b as they take it. kColumns: how many stand side by side in a tile.
template <class T> struct IntegerSum {
  using V = typename IntegerReg<T>::V;
  using Row = V;
  static constexpr int kColumns = 2;
  V sum{};
  CR_INLINE void add(const V& x, const Row& row) { sum += x * row; }
  CR_INLINE V value() const { return sum; }
};
#if defined(CR_SIMD_AVX2)
// No product of 64 bits: those of the lower halves, and of halves crossed, whose sums are put together in the end.
template <> struct IntegerSum<int64_t> {
  using V = IntegerReg<int64_t>::V;
  struct Row {
    __m256i b, swapped;
    Row() = default;
    CR_INLINE Row(const V& v) : b((__m256i)v), swapped(_mm256_shuffle_epi32((__m256i)v, 0xb1)) {}
  };
  static constexpr int kColumns = 1;
  __m256i low{}, crossed{};
  CR_INLINE void add(const V& x, const Row& row) {
    low = _mm256_add_epi64(low, _mm256_mul_epu32((__m256i)x, row.b));
    crossed = _mm256_add_epi32(crossed, _mm256_mullo_epi32((__m256i)x, row.swapped));
  }
  CR_INLINE V value() const {
    const __m256i both = _mm256_add_epi32(crossed, _mm256_srli_epi64(crossed, 32));
    return (V)_mm256_add_epi64(low, _mm256_slli_epi64(both, 32));
  }
};
#endif

inline constexpr int64_t kIntegerBlockK = 1024;
inline constexpr int64_t kIntegerRows = 128;  // that a thread multiplies by a panel
inline constexpr int kFewRows = 4;  // those of a tile; fewer do not pay for packing what lies across

// sums (R x C registers) = R rows of a times C registers of columns of b.
template <class T, int R, int C>
[[gnu::noinline]] void integer_tile(typename WrappedOf<T>::type* sums, const Mat<T>& a, const T* b,
                                    ptrdiff_t ld, int64_t kn) {
  using X = IntegerReg<T>;
  IntegerSum<T> acc[R][C];
  for (int64_t k = 0; k < kn; ++k, b += ld) {
    typename IntegerSum<T>::Row row[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) row[c] = X::load(b + c * X::W);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const typename X::V x = typename X::V{} + static_cast<typename X::U>(*a.at(r, k));
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c].add(x, row[c]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const typename X::V v = acc[r][c].value();
      __builtin_memcpy(sums + (r * C + c) * X::W, &v, sizeof v);
    }
  }
}

template <class T> using IntegerTile = void (*)(typename WrappedOf<T>::type*, const Mat<T>&, const T*,
                                                ptrdiff_t, int64_t);
template <class T, int R, int C> IntegerTile<T> tile_of() { return integer_tile<T, R, C>; }

// c = alpha * s + beta * c + biases, for an element.
template <class T> struct IntegerOut {
  using U = typename WrappedOf<T>::type;
  U alpha, beta;
  const T *row_bias, *col_bias;
  ptrdiff_t row, col;  // strides of c

  explicit IntegerOut(const GemmArgs& g)
      : alpha(static_cast<U>(static_cast<int64_t>(g.alpha))),
        beta(static_cast<U>(static_cast<int64_t>(g.beta))),
        row_bias(static_cast<const T*>(g.row_bias)),
        col_bias(static_cast<const T*>(g.col_bias)),
        row(g.c_row),
        col(g.c_col) {}
  // What further blocks of k are added with.
  void go_on() {
    beta = 1;
    row_bias = col_bias = nullptr;
  }
  // The elements [j, j + n) of row i of c.
  [[gnu::noinline]] void finish(T* c, const U* s, int64_t i, int64_t j, int64_t n) const {
    c += i * row + j * col;
    const U bias = row_bias ? static_cast<U>(row_bias[i]) : U{0};
    for (int64_t q = 0; q < n; ++q) {
      U y = static_cast<U>(1u * alpha * s[q] + bias);  // 1u: 16 bits would be multiplied as int
      if (beta != 0) y = static_cast<U>(y + 1u * beta * static_cast<U>(c[q * col]));
      if (col_bias) y = static_cast<U>(y + static_cast<U>(col_bias[j + q]));
      c[q * col] = static_cast<T>(y);
    }
  }
};

// n columns of kn rows of b, with zeros up to P.
template <class T>
[[gnu::noinline]] void pack_integers(T* to, int64_t P, const T* b, ptrdiff_t row, ptrdiff_t col, int64_t kn,
                                     int64_t n) {
  for (int64_t k = 0; k < kn; ++k, to += P, b += row) {
    if (col == 1) {
      __builtin_memcpy(to, b, static_cast<size_t>(n) * sizeof(T));
    } else {
#pragma GCC unroll 1
      for (int64_t j = 0; j < n; ++j) to[j] = b[j * col];
    }
    __builtin_memset(to + n, 0, static_cast<size_t>(P - n) * sizeof(T));
  }
}

// Rows of a, four at a time, times panels of b: columns that lie side by side are read in place by few rows, others packed.
template <class T> void multiply_panels(const GemmArgs& g) {
  constexpr int C = IntegerSum<T>::kColumns, W = IntegerReg<T>::W;
  const bool few = g.m < kFewRows;
  const int R = few ? 1 : kFewRows;
  const int64_t P = (few ? 4 * C : C) * W;
  const auto tile = few ? tile_of<T, 1, 4 * C>() : tile_of<T, kFewRows, C>();
  const auto last_tile = few ? tile : tile_of<T, 1, C>();
  const bool in_place = few && g.b_col == 1 && g.n >= P;
  const int64_t panels = ceil_div(g.n, P), parts = ceil_div(g.m, kIntegerRows), tasks = panels * parts;
  const int64_t work = least(g.m, kIntegerRows) * P * most<int64_t>(g.k, 1);
  parallel_for(g.batch * tasks, most<int64_t>(1, 65536 / work), [&](int64_t begin, int64_t end) {
    const Scratch<T> packed(in_place ? 0 : least(g.k, kIntegerBlockK) * P);
    const Scratch<typename IntegerReg<T>::U> sums(4 * C * W);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t batch = t / tasks, i0 = t % tasks / panels * kIntegerRows, j0 = t % panels * P;
      const int64_t rows = least(g.m, i0 + kIntegerRows), n = least<int64_t>(P, g.n - j0);
      // In place, the last panel reads columns of the one before.
      const int64_t from = in_place ? least(j0, g.n - P) : j0;
      const Mat<T> a{matrix_of(static_cast<const T*>(g.a), g.a_offsets, g.a_batch, batch),
                     static_cast<ptrdiff_t>(g.a_row), static_cast<ptrdiff_t>(g.a_col)};
      const T* b = matrix_of(static_cast<const T*>(g.b), g.b_offsets, g.b_batch, batch) + from * g.b_col;
      T* c = matrix_of(static_cast<T*>(g.c), g.c_offsets, g.c_batch, batch);
      IntegerOut<T> out(g);
      int64_t k0 = 0;
      do {
        const int64_t kn = least(g.k - k0, kIntegerBlockK);
        const T* panel = b + k0 * g.b_row;
        if (!in_place)
          pack_integers<T>(packed.p, P, panel, static_cast<ptrdiff_t>(g.b_row),
                           static_cast<ptrdiff_t>(g.b_col), kn, n);
        const ptrdiff_t ld = in_place ? static_cast<ptrdiff_t>(g.b_row) : P;
        if (!in_place) panel = packed.p;
        int64_t i = i0;
        for (; i + R <= rows; i += R) {
          tile(sums.p, {a.at(i, k0), a.row, a.col}, panel, ld, kn);
          for (int r = 0; r < R; ++r) out.finish(c, sums.p + r * P + (j0 - from), i + r, j0, n);
        }
        for (; i < rows; ++i) {
          last_tile(sums.p, {a.at(i, k0), a.row, a.col}, panel, ld, kn);
          out.finish(c, sums.p + (j0 - from), i, j0, n);
        }
        out.go_on();
        k0 += kIntegerBlockK;
      } while (k0 < g.k);
    }
  });
}

// An element at a time: rows of a and columns of b, both long.
template <class T> void multiply_dots(const GemmArgs& g) {
  using U = typename WrappedOf<T>::type;
  const int64_t work = most<int64_t>(g.n * g.k, 1);
  parallel_for(g.batch * g.m, most<int64_t>(1, 65536 / work), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t batch = t / g.m, i = t % g.m;
      const T* a = matrix_of(static_cast<const T*>(g.a), g.a_offsets, g.a_batch, batch) + i * g.a_row;
      const T* b = matrix_of(static_cast<const T*>(g.b), g.b_offsets, g.b_batch, batch);
      T* c = matrix_of(static_cast<T*>(g.c), g.c_offsets, g.c_batch, batch);
      const IntegerOut<T> out(g);
      for (int64_t j = 0; j < g.n; ++j) {
        U s = 0;
        for (int64_t k = 0; k < g.k; ++k)
          s = static_cast<U>(s + 1u * static_cast<U>(a[k * g.a_col]) *
                                     static_cast<U>(b[k * g.b_row + j * g.b_col]));
        out.finish(c, &s, i, j, 1);
      }
    }
  });
}

template <class T> void gemm_integer(const GemmArgs& given) {
  GemmArgs g = given;
  // The product of the transposes, whose rows are contiguous.
  if (g.n < kFewRows && g.a_row == 1 && g.m > 1) {
    g.m = given.n, g.n = given.m;
    g.a = given.b, g.a_row = given.b_col, g.a_col = given.b_row;
    g.a_batch = given.b_batch, g.a_offsets = given.b_offsets;
    g.b = given.a, g.b_row = given.a_col, g.b_col = given.a_row;
    g.b_batch = given.a_batch, g.b_offsets = given.a_offsets;
    g.c_row = given.c_col, g.c_col = given.c_row;
    g.row_bias = given.col_bias, g.col_bias = given.row_bias;
  }
  if (g.n < kFewRows || (g.m < kFewRows && g.b_col != 1)) return multiply_dots<T>(g);
  multiply_panels<T>(g);
}

}  // namespace chainrule::CR_ISA
