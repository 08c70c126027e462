// One machine register of each element type, with the operations that vec.h builds on. Three backends with
// one interface: AVX-512, AVX2 with FMA, and 16-byte registers (SSE4.2, or NEON and others through compiler
// vectors). Only operations that IEEE 754 defines to the bit, so that every backend with a fused multiply-add
// agrees.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels/isa.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define CR_SIMD_AVX512 1
#define CR_REGISTER_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define CR_SIMD_AVX2 1
#define CR_REGISTER_BYTES 32
#else
#define CR_REGISTER_BYTES 16
#endif

#define CR_INLINE inline __attribute__((always_inline))
#define CR_LAMBDA_INLINE __attribute__((always_inline))
// Functions of the vector math, and parts of vectors: inlined wherever they are used, except on the level without a
// fused multiply-add, the fallback for old machines, where they stand once for the wheel's size.
#if defined(__x86_64__) && !defined(__FMA__)
#define CR_MATH inline __attribute__((noinline))
#else
#define CR_MATH CR_INLINE
#endif

namespace chainrule::CR_ISA {

inline constexpr int register_bytes = CR_REGISTER_BYTES;
// False on levels where fma(a, b, c) rounds twice.
#if defined(__FMA__) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA)
inline constexpr bool has_fma = true;
#else
inline constexpr bool has_fma = false;
#endif

namespace native {

typedef float f32 __attribute__((vector_size(CR_REGISTER_BYTES)));
typedef double f64 __attribute__((vector_size(CR_REGISTER_BYTES)));
typedef int32_t i32 __attribute__((vector_size(CR_REGISTER_BYTES)));
typedef int64_t i64 __attribute__((vector_size(CR_REGISTER_BYTES)));
typedef uint32_t u32 __attribute__((vector_size(CR_REGISTER_BYTES)));
typedef uint64_t u64 __attribute__((vector_size(CR_REGISTER_BYTES)));

template <class T>
struct RegisterOf;
template <>
struct RegisterOf<float> {
  using type = f32;
  using integer = i32;
  using wrapping = f32;
};
template <>
struct RegisterOf<double> {
  using type = f64;
  using integer = i64;
  using wrapping = f64;
};
template <>
struct RegisterOf<int32_t> {
  using type = i32;
  using integer = i32;
  using unsigned_integer = u32;
  using wrapping = u32;  // sums and products of lanes that overflow are defined there
};
template <>
struct RegisterOf<int64_t> {
  using type = i64;
  using integer = i64;
  using unsigned_integer = u64;
  using wrapping = u64;
};
template <class T>
using Register = typename RegisterOf<T>::type;

template <class T>
CR_INLINE Register<T> load(const T* p) {
  Register<T> r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
// A line of 64 bytes in two loads: with one, Zen 4 waits 3 to 15% longer for lines from the third cache.
template <class T>
CR_INLINE Register<T> load_halves(const T* p) {
#if defined(CR_SIMD_AVX512)
  __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  asm("" : "+v"(low));  // or the compiler makes one load of the two
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p) + 1);
  return (Register<T>)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
#else
  return load(p);
#endif
}
template <class T>
CR_INLINE void store(T* p, Register<T> r) {
  std::memcpy(p, &r, sizeof r);
}
// Past the caches, to an address that is a multiple of the register's size.
template <class T>
CR_INLINE void stream(T* p, Register<T> r) {
#if defined(CR_SIMD_AVX512)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)r);
#elif defined(CR_SIMD_AVX2)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)r);
#elif defined(__SSE4_1__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)r);
#else
  store<T>(p, r);
#endif
}
// Orders streamed stores before what follows: once at the end of each block of a parallel loop.
CR_INLINE void stream_fence() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_sfence();
#endif
}

// Lane i takes lane i ^ distance (distance a power of two): the step of every reduction tree.
template <int distance>
CR_INLINE f32 swap_lanes(f32 x) {
#if CR_REGISTER_BYTES == 64
  return __builtin_shufflevector(x, x, 0 ^ distance, 1 ^ distance, 2 ^ distance, 3 ^ distance, 4 ^ distance,
                                 5 ^ distance, 6 ^ distance, 7 ^ distance, 8 ^ distance, 9 ^ distance,
                                 10 ^ distance, 11 ^ distance, 12 ^ distance, 13 ^ distance, 14 ^ distance,
                                 15 ^ distance);
#elif CR_REGISTER_BYTES == 32
  return __builtin_shufflevector(x, x, 0 ^ distance, 1 ^ distance, 2 ^ distance, 3 ^ distance, 4 ^ distance,
                                 5 ^ distance, 6 ^ distance, 7 ^ distance);
#else
  return __builtin_shufflevector(x, x, 0 ^ distance, 1 ^ distance, 2 ^ distance, 3 ^ distance);
#endif
}
template <int distance>
CR_INLINE f64 swap_lanes(f64 x) {
#if CR_REGISTER_BYTES == 64
  return __builtin_shufflevector(x, x, 0 ^ distance, 1 ^ distance, 2 ^ distance, 3 ^ distance, 4 ^ distance,
                                 5 ^ distance, 6 ^ distance, 7 ^ distance);
#elif CR_REGISTER_BYTES == 32
  return __builtin_shufflevector(x, x, 0 ^ distance, 1 ^ distance, 2 ^ distance, 3 ^ distance);
#else
  return __builtin_shufflevector(x, x, 0 ^ distance, 1 ^ distance);
#endif
}
template <int distance>
CR_INLINE i32 swap_lanes(i32 x) {
  return (i32)swap_lanes<distance>((f32)x);
}
template <int distance>
CR_INLINE i64 swap_lanes(i64 x) {
  return (i64)swap_lanes<distance>((f64)x);
}

#if defined(CR_SIMD_AVX512)

using m32 = __mmask16;
using m64 = __mmask8;

CR_INLINE f32 splat(float s) { return _mm512_set1_ps(s); }
CR_INLINE f64 splat(double s) { return _mm512_set1_pd(s); }
CR_INLINE i32 splat(int32_t s) { return (i32)_mm512_set1_epi32(s); }
CR_INLINE i64 splat(int64_t s) { return (i64)_mm512_set1_epi64(s); }

CR_INLINE m32 first32(int n) { return (m32)((1u << n) - 1); }
CR_INLINE m64 first64(int n) { return (m64)((1u << n) - 1); }
CR_INLINE f32 load(const float* p, int n) { return _mm512_maskz_loadu_ps(first32(n), p); }
CR_INLINE f64 load(const double* p, int n) { return _mm512_maskz_loadu_pd(first64(n), p); }
CR_INLINE i32 load(const int32_t* p, int n) { return (i32)_mm512_maskz_loadu_epi32(first32(n), p); }
CR_INLINE i64 load(const int64_t* p, int n) { return (i64)_mm512_maskz_loadu_epi64(first64(n), p); }
CR_INLINE void store(float* p, f32 r, int n) { _mm512_mask_storeu_ps(p, first32(n), r); }
CR_INLINE void store(double* p, f64 r, int n) { _mm512_mask_storeu_pd(p, first64(n), r); }
CR_INLINE void store(int32_t* p, i32 r, int n) { _mm512_mask_storeu_epi32(p, first32(n), (__m512i)r); }
CR_INLINE void store(int64_t* p, i64 r, int n) { _mm512_mask_storeu_epi64(p, first64(n), (__m512i)r); }

CR_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm512_fmadd_ps(a, b, c); }
CR_INLINE f64 fma(f64 a, f64 b, f64 c) { return _mm512_fmadd_pd(a, b, c); }
CR_INLINE f32 sqrt(f32 a) { return _mm512_sqrt_ps(a); }
CR_INLINE f64 sqrt(f64 a) { return _mm512_sqrt_pd(a); }
CR_INLINE f32 floor(f32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f64 floor(f64 a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f32 ceil(f32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f64 ceil(f64 a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f32 trunc(f32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
CR_INLINE f64 trunc(f64 a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
CR_INLINE f32 round(f32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
CR_INLINE f64 round(f64 a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

#define CR_COMPARE(name, imm, int_imm)                                                                \
  CR_INLINE m32 name(f32 a, f32 b) { return _mm512_cmp_ps_mask(a, b, imm); }                          \
  CR_INLINE m64 name(f64 a, f64 b) { return _mm512_cmp_pd_mask(a, b, imm); }                          \
  CR_INLINE m32 name(i32 a, i32 b) { return _mm512_cmp_epi32_mask((__m512i)a, (__m512i)b, int_imm); } \
  CR_INLINE m64 name(i64 a, i64 b) { return _mm512_cmp_epi64_mask((__m512i)a, (__m512i)b, int_imm); }
CR_COMPARE(lt, _CMP_LT_OQ, _MM_CMPINT_LT)
CR_COMPARE(le, _CMP_LE_OQ, _MM_CMPINT_LE)
CR_COMPARE(eq, _CMP_EQ_OQ, _MM_CMPINT_EQ)
CR_COMPARE(ne, _CMP_NEQ_UQ, _MM_CMPINT_NE)
#undef CR_COMPARE
CR_INLINE f32 select(m32 m, f32 a, f32 b) { return _mm512_mask_blend_ps(m, b, a); }
CR_INLINE f64 select(m64 m, f64 a, f64 b) { return _mm512_mask_blend_pd(m, b, a); }
CR_INLINE i32 select(m32 m, i32 a, i32 b) { return (i32)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }
CR_INLINE i64 select(m64 m, i64 a, i64 b) { return (i64)_mm512_mask_blend_epi64(m, (__m512i)b, (__m512i)a); }
// a > b ? a : b and a < b ? a : b: the second operand when either is NaN.
CR_INLINE f32 greater(f32 a, f32 b) { return _mm512_max_ps(a, b); }
CR_INLINE f64 greater(f64 a, f64 b) { return _mm512_max_pd(a, b); }
CR_INLINE f32 lesser(f32 a, f32 b) { return _mm512_min_ps(a, b); }
CR_INLINE f64 lesser(f64 a, f64 b) { return _mm512_min_pd(a, b); }

CR_INLINE unsigned bits_of(m32 m) { return m; }
CR_INLINE unsigned bits_of(m64 m) { return m; }

// a * 2^n for integral n, rounded once.
CR_INLINE f32 scale(f32 a, f32 n) { return _mm512_scalef_ps(a, n); }
CR_INLINE f64 scale(f64 a, f64 n) { return _mm512_scalef_pd(a, n); }
// table[index mod 8], for a table whose second eight entries are its first.
CR_INLINE f32 pick(const float* table, i32 index) {
  return _mm512_permutexvar_ps((__m512i)index, _mm512_load_ps(table));
}
CR_INLINE i32 to_int(f32 a) { return (i32)_mm512_cvtps_epi32(a); }
CR_INLINE f32 to_float(i32 a) { return _mm512_cvtepi32_ps((__m512i)a); }
CR_INLINE void widen(f32 a, f64& low, f64& high) {
  low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
  high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
CR_INLINE f32 narrow(f64 low, f64 high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

#else  // masks are integer registers, all bits of a lane set or clear

using m32 = i32;
using m64 = i64;

#define CR_COMPARE(name, op)                                 \
  CR_INLINE m32 name(f32 a, f32 b) { return (m32)(a op b); } \
  CR_INLINE m64 name(f64 a, f64 b) { return (m64)(a op b); } \
  CR_INLINE m32 name(i32 a, i32 b) { return (m32)(a op b); } \
  CR_INLINE m64 name(i64 a, i64 b) { return (m64)(a op b); }
CR_COMPARE(lt, <)
CR_COMPARE(le, <=)
CR_COMPARE(eq, ==)
CR_COMPARE(ne, !=)
#undef CR_COMPARE

#if defined(CR_SIMD_AVX2)

CR_INLINE f32 splat(float s) { return _mm256_set1_ps(s); }
CR_INLINE f64 splat(double s) { return _mm256_set1_pd(s); }
CR_INLINE i32 splat(int32_t s) { return (i32)_mm256_set1_epi32(s); }
CR_INLINE i64 splat(int64_t s) { return (i64)_mm256_set1_epi64x(s); }

CR_INLINE __m256i first32(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
CR_INLINE __m256i first64(int n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
// A masked store is microcode on some machines, so a whole register takes the plain way.
CR_INLINE f32 load(const float* p, int n) {
  return n >= 8 ? load<float>(p) : (f32)_mm256_maskload_ps(p, first32(n));
}
CR_INLINE f64 load(const double* p, int n) {
  return n >= 4 ? load<double>(p) : (f64)_mm256_maskload_pd(p, first64(n));
}
CR_INLINE i32 load(const int32_t* p, int n) {
  return n >= 8 ? load<int32_t>(p) : (i32)_mm256_maskload_epi32((const int*)p, first32(n));
}
CR_INLINE i64 load(const int64_t* p, int n) {
  return n >= 4 ? load<int64_t>(p) : (i64)_mm256_maskload_epi64((const long long*)p, first64(n));
}
CR_INLINE void store(float* p, f32 r, int n) {
  if (n >= 8)
    store<float>(p, r);
  else if (n > 0)
    _mm256_maskstore_ps(p, first32(n), r);
}
CR_INLINE void store(double* p, f64 r, int n) {
  if (n >= 4)
    store<double>(p, r);
  else if (n > 0)
    _mm256_maskstore_pd(p, first64(n), r);
}
CR_INLINE void store(int32_t* p, i32 r, int n) {
  if (n >= 8)
    store<int32_t>(p, r);
  else if (n > 0)
    _mm256_maskstore_epi32((int*)p, first32(n), (__m256i)r);
}
CR_INLINE void store(int64_t* p, i64 r, int n) {
  if (n >= 4)
    store<int64_t>(p, r);
  else if (n > 0)
    _mm256_maskstore_epi64((long long*)p, first64(n), (__m256i)r);
}

CR_INLINE f32 fma(f32 a, f32 b, f32 c) { return _mm256_fmadd_ps(a, b, c); }
CR_INLINE f64 fma(f64 a, f64 b, f64 c) { return _mm256_fmadd_pd(a, b, c); }
CR_INLINE f32 sqrt(f32 a) { return _mm256_sqrt_ps(a); }
CR_INLINE f64 sqrt(f64 a) { return _mm256_sqrt_pd(a); }
CR_INLINE f32 floor(f32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f64 floor(f64 a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f32 ceil(f32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f64 ceil(f64 a) { return _mm256_round_pd(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
CR_INLINE f32 trunc(f32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
CR_INLINE f64 trunc(f64 a) { return _mm256_round_pd(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
CR_INLINE f32 round(f32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
CR_INLINE f64 round(f64 a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

CR_INLINE f32 select(m32 m, f32 a, f32 b) { return _mm256_blendv_ps(b, a, (__m256)m); }
CR_INLINE f64 select(m64 m, f64 a, f64 b) { return _mm256_blendv_pd(b, a, (__m256d)m); }
CR_INLINE i32 select(m32 m, i32 a, i32 b) {
  return (i32)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m);
}
CR_INLINE i64 select(m64 m, i64 a, i64 b) {
  return (i64)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)m);
}
CR_INLINE f32 greater(f32 a, f32 b) { return _mm256_max_ps(a, b); }
CR_INLINE f64 greater(f64 a, f64 b) { return _mm256_max_pd(a, b); }
CR_INLINE f32 lesser(f32 a, f32 b) { return _mm256_min_ps(a, b); }
CR_INLINE f64 lesser(f64 a, f64 b) { return _mm256_min_pd(a, b); }

CR_INLINE unsigned bits_of(m32 m) { return (unsigned)_mm256_movemask_ps((__m256)m); }
CR_INLINE unsigned bits_of(m64 m) { return (unsigned)_mm256_movemask_pd((__m256d)m); }

CR_INLINE f32 pick(const float* table, i32 index) {
  return _mm256_permutevar8x32_ps(_mm256_load_ps(table), (__m256i)index);
}
CR_INLINE i32 to_int(f32 a) { return (i32)_mm256_cvtps_epi32(a); }
CR_INLINE f32 to_float(i32 a) { return _mm256_cvtepi32_ps((__m256i)a); }
CR_INLINE void widen(f32 a, f64& low, f64& high) {
  low = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
  high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}
CR_INLINE f32 narrow(f64 low, f64 high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
}

#else  // 16-byte registers

CR_INLINE f32 splat(float s) { return f32{s, s, s, s}; }
CR_INLINE f64 splat(double s) { return f64{s, s}; }
CR_INLINE i32 splat(int32_t s) { return i32{s, s, s, s}; }
CR_INLINE i64 splat(int64_t s) { return i64{s, s}; }

template <class T>
CR_MATH Register<T> load_part(const T* p, int n) {
  T lanes[16 / sizeof(T)] = {};
  for (int i = 0; i < int{16 / sizeof(T)}; ++i)
    if (i < n) lanes[i] = p[i];
  return load(lanes);
}
template <class T>
CR_MATH void store_part(T* p, Register<T> r, int n) {
  for (int i = 0; i < n; ++i) p[i] = r[i];
}
template <class T>
CR_INLINE Register<T> load(const T* p, int n) {
  return n >= static_cast<int>(16 / sizeof(T)) ? load(p) : load_part(p, n);
}
template <class T>
CR_INLINE void store(T* p, Register<T> r, int n) {
  if (n >= static_cast<int>(16 / sizeof(T)))
    store<T>(p, r);
  else
    store_part(p, r, n);
}
CR_INLINE f32 greater(f32 a, f32 b) { return a > b ? a : b; }
CR_INLINE f64 greater(f64 a, f64 b) { return a > b ? a : b; }
CR_INLINE f32 lesser(f32 a, f32 b) { return a < b ? a : b; }
CR_INLINE f64 lesser(f64 a, f64 b) { return a < b ? a : b; }
CR_INLINE f32 pick(const float* table, i32 index) {
  return f32{table[index[0] & 7], table[index[1] & 7], table[index[2] & 7], table[index[3] & 7]};
}

#if defined(__SSE4_1__)

CR_INLINE f32 fma(f32 a, f32 b, f32 c) { return a * b + c; }
CR_INLINE f64 fma(f64 a, f64 b, f64 c) { return a * b + c; }
CR_INLINE f32 sqrt(f32 a) { return _mm_sqrt_ps(a); }
CR_INLINE f64 sqrt(f64 a) { return _mm_sqrt_pd(a); }
CR_INLINE f32 floor(f32 a) { return _mm_floor_ps(a); }
CR_INLINE f64 floor(f64 a) { return _mm_floor_pd(a); }
CR_INLINE f32 ceil(f32 a) { return _mm_ceil_ps(a); }
CR_INLINE f64 ceil(f64 a) { return _mm_ceil_pd(a); }
CR_INLINE f32 trunc(f32 a) { return _mm_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
CR_INLINE f64 trunc(f64 a) { return _mm_round_pd(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
CR_INLINE f32 round(f32 a) { return _mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
CR_INLINE f64 round(f64 a) { return _mm_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
CR_INLINE f32 select(m32 m, f32 a, f32 b) { return _mm_blendv_ps(b, a, (__m128)m); }
CR_INLINE f64 select(m64 m, f64 a, f64 b) { return _mm_blendv_pd(b, a, (__m128d)m); }
CR_INLINE i32 select(m32 m, i32 a, i32 b) { return (i32)_mm_blendv_epi8((__m128i)b, (__m128i)a, (__m128i)m); }
CR_INLINE i64 select(m64 m, i64 a, i64 b) { return (i64)_mm_blendv_epi8((__m128i)b, (__m128i)a, (__m128i)m); }
CR_INLINE unsigned bits_of(m32 m) { return (unsigned)_mm_movemask_ps((__m128)m); }
CR_INLINE unsigned bits_of(m64 m) { return (unsigned)_mm_movemask_pd((__m128d)m); }
CR_INLINE i32 to_int(f32 a) { return (i32)_mm_cvtps_epi32(a); }
CR_INLINE f32 to_float(i32 a) { return _mm_cvtepi32_ps((__m128i)a); }
CR_INLINE void widen(f32 a, f64& low, f64& high) {
  low = _mm_cvtps_pd(a);
  high = _mm_cvtps_pd(_mm_movehl_ps(a, a));
}
CR_INLINE f32 narrow(f64 low, f64 high) { return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high)); }

#else  // lane by lane; the compiler finds the instructions (NEON has one for each)

#define CR_EACH_LANE(name, f, d)                                                \
  CR_INLINE f32 name(f32 a) { return f32{f(a[0]), f(a[1]), f(a[2]), f(a[3])}; } \
  CR_INLINE f64 name(f64 a) { return f64{d(a[0]), d(a[1])}; }
CR_EACH_LANE(sqrt, __builtin_sqrtf, __builtin_sqrt)
CR_EACH_LANE(floor, __builtin_floorf, __builtin_floor)
CR_EACH_LANE(ceil, __builtin_ceilf, __builtin_ceil)
CR_EACH_LANE(trunc, __builtin_truncf, __builtin_trunc)
CR_EACH_LANE(round, __builtin_rintf, __builtin_rint)  // the rounding mode is never changed: half to even
#undef CR_EACH_LANE
CR_INLINE f32 fma(f32 a, f32 b, f32 c) {
  if constexpr (!has_fma) return a * b + c;
  return f32{__builtin_fmaf(a[0], b[0], c[0]), __builtin_fmaf(a[1], b[1], c[1]),
             __builtin_fmaf(a[2], b[2], c[2]), __builtin_fmaf(a[3], b[3], c[3])};
}
CR_INLINE f64 fma(f64 a, f64 b, f64 c) {
  if constexpr (!has_fma) return a * b + c;
  return f64{__builtin_fma(a[0], b[0], c[0]), __builtin_fma(a[1], b[1], c[1])};
}
CR_INLINE i32 select(m32 m, i32 a, i32 b) { return (a & m) | (b & ~m); }
CR_INLINE i64 select(m64 m, i64 a, i64 b) { return (a & m) | (b & ~m); }
CR_INLINE f32 select(m32 m, f32 a, f32 b) { return (f32)select(m, (i32)a, (i32)b); }
CR_INLINE f64 select(m64 m, f64 a, f64 b) { return (f64)select(m, (i64)a, (i64)b); }
CR_INLINE unsigned bits_of(m32 m) { return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8); }
CR_INLINE unsigned bits_of(m64 m) { return (m[0] & 1) | (m[1] & 2); }
CR_INLINE i32 to_int(f32 a) {
  a = round(a);
  return i32{(int32_t)a[0], (int32_t)a[1], (int32_t)a[2], (int32_t)a[3]};
}
CR_INLINE f32 to_float(i32 a) { return f32{(float)a[0], (float)a[1], (float)a[2], (float)a[3]}; }
CR_INLINE void widen(f32 a, f64& low, f64& high) {
  low = f64{a[0], a[1]};
  high = f64{a[2], a[3]};
}
CR_INLINE f32 narrow(f64 low, f64 high) {
  return f32{(float)low[0], (float)low[1], (float)high[0], (float)high[1]};
}

#endif
#endif
#endif

template <int bytes>
struct MaskOf {
  using type = m32;
};
template <>
struct MaskOf<8> {
  using type = m64;
};

}  // namespace native
}  // namespace chainrule::CR_ISA
