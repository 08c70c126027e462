// The register tile of the matrix product, and the native registers that it is made of.
//
// tile<T, R, NV, kPacked> multiplies R rows of A by NV registers of columns of B over one K block, and then the panels of
// R rows below. Each element is one chain of fused multiply-adds in the order of k, starting at zero, whatever R and NV
// are: that, and not the shape of the tile, is what makes all levels with FMA give the same bits.
#pragma once
#include <cstddef>
#include <cstdint>

#include "simd/native.h"
#ifdef __ARM_NEON
#include <arm_neon.h>
#endif

namespace chainrule::CR_ISA {

// One native register of T: W lanes.
template <class T> struct Reg;

#if defined(__AVX512F__)
inline constexpr int kTileRows = 14, kTileVectors = 2;

template <> struct Reg<float> {
  using V = __m512;
  static constexpr int W = 16;
  static CR_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
  static CR_INLINE V load(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static CR_INLINE void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static CR_INLINE void store(float* p, V v, int n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static CR_INLINE V set1(float s) { return _mm512_set1_ps(s); }
  static CR_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static CR_INLINE __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  using M = __mmask16;
  static CR_INLINE M first(int n) { return mask(n); }
  static CR_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_ps(m, b, a); }
  static CR_INLINE V lanes(V a, V b, int odd) {
    return odd ? _mm512_shuffle_f32x4(a, b, 0xdd) : _mm512_shuffle_f32x4(a, b, 0x88);
  }
  // r[i] lane j becomes r[j] lane i.
  static CR_INLINE void transpose(V (&r)[16]) {
    V t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 4) {
      for (int j = 0; j < 2; ++j) {
        const __m512d x = _mm512_castps_pd(t[i + j]), y = _mm512_castps_pd(t[i + 2 + j]);
        r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
        r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < 4; ++c) {
      const V a = lanes(r[c], r[4 + c], 0), b = lanes(r[8 + c], r[12 + c], 0);
      const V d = lanes(r[c], r[4 + c], 1), e = lanes(r[8 + c], r[12 + c], 1);
      t[c] = lanes(a, b, 0);
      t[4 + c] = lanes(d, e, 0);
      t[8 + c] = lanes(a, b, 1);
      t[12 + c] = lanes(d, e, 1);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
  }
};

template <> struct Reg<double> {
  using V = __m512d;
  static constexpr int W = 8;
  static CR_INLINE V load(const double* p) { return _mm512_loadu_pd(p); }
  static CR_INLINE V load(const double* p, int n) { return _mm512_maskz_loadu_pd(mask(n), p); }
  static CR_INLINE void store(double* p, V v) { _mm512_storeu_pd(p, v); }
  static CR_INLINE void store(double* p, V v, int n) { _mm512_mask_storeu_pd(p, mask(n), v); }
  static CR_INLINE V set1(double s) { return _mm512_set1_pd(s); }
  static CR_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  static CR_INLINE __mmask8 mask(int n) { return static_cast<__mmask8>((1u << n) - 1u); }
  using M = __mmask8;
  static CR_INLINE M first(int n) { return mask(n); }
  static CR_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_pd(m, b, a); }
  static CR_INLINE V lanes(V a, V b, int odd) {
    return odd ? _mm512_shuffle_f64x2(a, b, 0xdd) : _mm512_shuffle_f64x2(a, b, 0x88);
  }
  static CR_INLINE void transpose(V (&r)[8]) {
    V t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 2; ++c) {
      const V a = lanes(t[c], t[2 + c], 0), b = lanes(t[4 + c], t[6 + c], 0);
      const V d = lanes(t[c], t[2 + c], 1), e = lanes(t[4 + c], t[6 + c], 1);
      r[c] = lanes(a, b, 0);
      r[2 + c] = lanes(d, e, 0);
      r[4 + c] = lanes(a, b, 1);
      r[6 + c] = lanes(d, e, 1);
    }
  }
};

#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int kTileRows = 6, kTileVectors = 2;

template <> struct Reg<float> {
  using V = __m256;
  static constexpr int W = 8;
  static CR_INLINE V load(const float* p) { return _mm256_loadu_ps(p); }
  static CR_INLINE V load(const float* p, int n) { return _mm256_maskload_ps(p, mask(n)); }
  static CR_INLINE void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static CR_INLINE void store(float* p, V v, int n) { _mm256_maskstore_ps(p, mask(n), v); }
  static CR_INLINE V set1(float s) { return _mm256_set1_ps(s); }
  static CR_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static CR_INLINE __m256i mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  using M = __m256;
  static CR_INLINE M first(int n) { return _mm256_castsi256_ps(mask(n)); }
  static CR_INLINE V select(M m, V a, V b) { return _mm256_blendv_ps(b, a, m); }
  static CR_INLINE void transpose(V (&r)[8]) {
    V t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4) {
      for (int j = 0; j < 2; ++j) {
        const __m256d x = _mm256_castps_pd(t[i + j]), y = _mm256_castps_pd(t[i + 2 + j]);
        r[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(x, y));
        r[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < 4; ++c) {
      t[c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x20);
      t[4 + c] = _mm256_permute2f128_ps(r[c], r[4 + c], 0x31);
    }
    for (int i = 0; i < 8; ++i) r[i] = t[i];
  }
};

template <> struct Reg<double> {
  using V = __m256d;
  static constexpr int W = 4;
  static CR_INLINE V load(const double* p) { return _mm256_loadu_pd(p); }
  static CR_INLINE V load(const double* p, int n) { return _mm256_maskload_pd(p, mask(n)); }
  static CR_INLINE void store(double* p, V v) { _mm256_storeu_pd(p, v); }
  static CR_INLINE void store(double* p, V v, int n) { _mm256_maskstore_pd(p, mask(n), v); }
  static CR_INLINE V set1(double s) { return _mm256_set1_pd(s); }
  static CR_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
  static CR_INLINE __m256i mask(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  using M = __m256d;
  static CR_INLINE M first(int n) { return _mm256_castsi256_pd(mask(n)); }
  static CR_INLINE V select(M m, V a, V b) { return _mm256_blendv_pd(b, a, m); }
  static CR_INLINE void transpose(V (&r)[4]) {
    const V a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const V c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
  }
};

#else
#if defined(__ARM_NEON)
inline constexpr int kTileRows = 8, kTileVectors = 3;
#else
inline constexpr int kTileRows = 4, kTileVectors = 2;
#endif

// 16-byte registers. Without a fused multiply-add (x86-64-v2) the chain rounds twice a step: bits of its own.
template <class T> struct Reg {
  typedef T V __attribute__((vector_size(16)));
  typedef T Unaligned __attribute__((vector_size(16), aligned(sizeof(T)), may_alias));
  static constexpr int W = 16 / sizeof(T);
  static CR_INLINE V load(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
  static CR_INLINE V load(const T* p, int n) {
    V v = {};
    for (int i = 0; i < W; ++i)
      if (i < n) v[i] = p[i];
    return v;
  }
  static CR_INLINE void store(T* p, V v) { *reinterpret_cast<Unaligned*>(p) = v; }
  static CR_INLINE void store(T* p, V v, int n) {
    for (int i = 0; i < W; ++i)
      if (i < n) p[i] = v[i];
  }
  // Lanes 0 to n - 1, and a there, b elsewhere.
  typedef decltype(V{} < V{}) M;
  static CR_INLINE M first(int n) {
    M m;
    for (int i = 0; i < W; ++i) m[i] = i < n ? -1 : 0;
    return m;
  }
  static CR_INLINE V select(M m, V a, V b) { return (V)((m & (M)a) | (~m & (M)b)); }
  static CR_INLINE V set1(T s) {
    V v;
    for (int i = 0; i < W; ++i) v[i] = s;
    return v;
  }
  static CR_INLINE V fma(V a, V b, V c) {
#if defined(__ARM_NEON)
    if constexpr (sizeof(T) == 4)
      return vfmaq_f32(c, a, b);
    else
      return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
  }
  static CR_INLINE void transpose(V (&r)[W]) {
    for (int i = 0; i < W; ++i) {
      for (int j = 0; j < i; ++j) {
        const T t = r[i][j];
        r[i][j] = r[j][i];
        r[j][i] = t;
      }
    }
  }
};
#endif

// The scalar form of one step of a chain, with the rounding of this level's registers.
template <class T> CR_INLINE T fma_scalar(T a, T b, T c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return __builtin_fmaf(a, b, c);
  else
    return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Where a tile's sums go: c = alpha * sum + beta * old, then + bias, then the ReLU. beta == 0 does not read old, which is c
// unless told.
template <class T> struct TileOut {
  T* c = nullptr;
  ptrdiff_t ldc = 0;
  T alpha, beta;
  const T* row_bias;  // one a row, or null
  const T* col_bias;  // one a column, or null
  int tail;           // valid lanes of the last register
  bool relu = false;
  bool far = false;  // c comes from beyond the second cache, even to be written over
  const T* old = c;
  ptrdiff_t ld_old = ldc;
  int64_t panels = 1;                      // tiles, one below the other
  ptrdiff_t a_panel = 0;                   // from one to the next in A
  T *copy_a = nullptr, *copy_b = nullptr;  // see gemm_copy.h
};

template <class T> CR_INLINE typename Reg<T>::V finish(typename Reg<T>::V sum, typename Reg<T>::V old,
                                                       const TileOut<T>& o) {
  if (o.beta == T(0)) return o.alpha == T(1) ? sum : sum * Reg<T>::set1(o.alpha);
  return Reg<T>::fma(Reg<T>::set1(o.alpha), sum, old * Reg<T>::set1(o.beta));
}

template <class T> CR_INLINE typename Reg<T>::V rectified(typename Reg<T>::V x) {
  const typename Reg<T>::V zero{};
  return x <= zero ? zero : x;
}

// Sums in memory, `rows` times `vectors` registers, to where they go, from row `first` on.
template <class T>
[[gnu::noinline]] void finish_tile(const T* sums, int64_t first, int rows, int vectors, const TileOut<T>& o) {
  using X = Reg<T>;
  for (int64_t r = first; r < first + rows; ++r) {
    for (int v = 0; v < vectors; ++v, sums += X::W) {
      const int lanes = v < vectors - 1 ? X::W : o.tail;
      const auto load = [lanes](const T* p) { return lanes == X::W ? X::load(p) : X::load(p, lanes); };
      typename X::V old = {};
      if (o.beta != T(0)) old = load(o.old + r * o.ld_old + v * X::W);
      auto y = finish<T>(X::load(sums), old, o);
      if (o.row_bias) y = y + X::set1(o.row_bias[r]);
      if (o.col_bias) y = y + load(o.col_bias + v * X::W);
      if (o.relu) y = rectified<T>(y);
      T* p = o.c + r * o.ldc + v * X::W;
      if (lanes == X::W)
        X::store(p, y);
      else
        X::store(p, y, lanes);
    }
  }
}

// The next row. All their addresses at once are more than there are registers, and the compiler is not to try.
template <class T> CR_INLINE T* next_row(T* p, ptrdiff_t ld) {
  p += ld;
  asm("" : "+r"(p));
  return p;
}

// R rows of A in one column, and the step to the next. Packed, a column is contiguous.
template <class T, int R> struct PackedRows {
  const T* p;
  ptrdiff_t step;
  CR_INLINE T at(int r) const { return p[r]; }
  CR_INLINE void next() { p += step; }
};
// Strided: two pointers and three strides, in bytes, reach 14 rows. Left to itself, the compiler keeps one register a
// row, runs out of them, and loads one of three from the stack.
template <class T, int R> struct StridedRows {
  const char *p, *q;
  ptrdiff_t row, row3, row5, step;
  CR_INLINE StridedRows(const T* a, ptrdiff_t a_row, ptrdiff_t a_col)
      : p(reinterpret_cast<const char*>(a)),
        row(a_row * ptrdiff_t{sizeof(T)}),
        row3(3 * row),
        row5(5 * row),
        step(a_col * ptrdiff_t{sizeof(T)}) {
    q = R > 7 ? p + 7 * row : p;
    asm(""
        : "+r"(row), "+r"(row3), "+r"(row5), "+r"(step),
          "+r"(q));  // how they hang together is not its business
  }
  CR_INLINE T at(int r) const {
    const char* const from = r < 7 ? p : q;
    switch (r % 7) {
      case 0: return *reinterpret_cast<const T*>(from);
      case 1: return *reinterpret_cast<const T*>(from + row);
      case 2: return *reinterpret_cast<const T*>(from + row * 2);
      case 3: return *reinterpret_cast<const T*>(from + row3);
      case 4: return *reinterpret_cast<const T*>(from + row * 4);
      case 5: return *reinterpret_cast<const T*>(from + row5);
      default: return *reinterpret_cast<const T*>(from + row3 * 2);
    }
  }
  CR_INLINE void next() {
    p += step;
    if (R > 7) q += step;
  }
};

struct Nothing {
  template <class... Args> CR_INLINE void operator()(const Args&...) const {}
};

// The sums of a tile over kn > 0 rows of B; `also` gets each row. With AVX2, where a row is few instructions, two a turn:
// the machine gets further ahead of its multiplications, and so through the end of a tile without a pause.
template <class T, int R, int NV, class Rows, class Also = Nothing>
CR_INLINE void sum_tile(typename Reg<T>::V (&acc)[R][NV], int64_t kn, Rows a, const T* b, ptrdiff_t ldb,
                        Also also = {}) {
  using X = Reg<T>;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = typename X::V{};
  }
  const auto row = [&]() CR_LAMBDA_INLINE {
    typename X::V bv[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bv[v] = X::load(b + v * X::W);
    also(a, b, bv);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto s = X::set1(a.at(r));
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = X::fma(s, bv[v], acc[r][v]);
    }
    a.next();
    b += ldb;
  };
  if constexpr (sizeof(typename X::V) == 32 && R * NV >= 10) {
    if (kn % 2 != 0) row();
    for (kn /= 2; kn > 0; --kn) {
      row();
      row();
    }
  } else {
    do row();
    while (--kn > 0);
  }
}

// The ReLU of doubles goes through memory, for the wheel's size.
template <class T> inline constexpr bool kRectifies = sizeof(T) == 4;

// What is left to do with sums: to store them or to add them, with a bias of columns, or more than that.
enum class Ending { kStore, kAdd, kMore };
template <class T> [[gnu::noinline]] Ending ending(const TileOut<T>& o) {
  if (o.alpha != T(1) || o.tail != Reg<T>::W || o.row_bias || (o.relu && !kRectifies<T>))
    return Ending::kMore;
  return o.beta == T(0) ? Ending::kStore : o.beta == T(1) ? Ending::kAdd : Ending::kMore;
}

// Packed A: a[k * R + r]. Otherwise a[r * a_row + k * a_col].
template <class T, int R, int NV, bool kPacked>
void tile(int kn, const T* a, ptrdiff_t a_row, ptrdiff_t a_col, const T* b, ptrdiff_t ldb,
          const TileOut<T>& o) {
  using X = Reg<T>;
  const Ending end = ending(o);
  const bool fetch = o.beta != T(0) || o.far;
  const ptrdiff_t ldc = o.ldc;
  T* c = o.c;
  const T* old = o.old;
  for (int64_t panel = 0;;) {
    if (fetch) {  // what c holds arrives while the sums are formed
      const T* p = c;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r, p = next_row(p, ldc)) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) __builtin_prefetch(p + v * X::W, 1);
      }
    }
    typename X::V acc[R][NV];
    if constexpr (kPacked)
      sum_tile<T>(acc, kn, PackedRows<T, R>{a, R}, b, ldb);
    else
      sum_tile<T>(acc, kn, StridedRows<T, R>(a, a_row, a_col), b, ldb);
    // Straight from the registers, if it may be; -0 is what a sum does not see, whatever its sign.
    if (end != Ending::kMore) {
      typename X::V bias[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) bias[v] = o.col_bias ? X::load(o.col_bias + v * X::W) : X::set1(T(-0.0));
      bool add = end == Ending::kAdd;
      if (kRectifies<T> && o.relu) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) {
            if (add) acc[r][v] = acc[r][v] + X::load(old + v * X::W);
            acc[r][v] = rectified<T>(acc[r][v] + bias[v]);
          }
          if (add) old = next_row(old, o.ld_old);
        }
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) bias[v] = X::set1(T(-0.0));
        add = false;
      }
      if (!add) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r, c = next_row(c, ldc)) {
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) X::store(c + v * X::W, acc[r][v] + bias[v]);
        }
      } else {
        const ptrdiff_t ld_old = o.ld_old;
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r, c = next_row(c, ldc), old = next_row(old, ld_old)) {
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v)
            X::store(c + v * X::W, (acc[r][v] + X::load(old + v * X::W)) + bias[v]);
        }
      }
    } else {
      alignas(64) T sums[R * NV * X::W];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) X::store(sums + (r * NV + v) * X::W, acc[r][v]);
      }
      finish_tile(sums, panel * R, R, NV, o);
      c += R * ldc;
    }
    if (++panel == o.panels) return;
    a += o.a_panel;
  }
}

template <class T> using TileFn = void (*)(int, const T*, ptrdiff_t, ptrdiff_t, const T*, ptrdiff_t,
                                           const TileOut<T>&);

template <class T> struct TileTable {
  TileFn<T> fn[2][kTileVectors][kTileRows];
  template <int R, int NV> constexpr void fill() {
    fn[0][NV - 1][R - 1] = tile<T, R, NV, false>;
    fn[1][NV - 1][R - 1] = tile<T, R, NV, true>;
    if constexpr (R > 1)
      fill<R - 1, NV>();
    else if constexpr (NV > 1)
      fill<kTileRows, NV - 1>();
  }
  constexpr TileTable() : fn{} { fill<kTileRows, kTileVectors>(); }
};
template <class T> inline constexpr TileTable<T> tiles{};

}  // namespace chainrule::CR_ISA
