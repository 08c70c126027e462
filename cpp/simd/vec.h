// Vec<T>: the virtual vector, 64 bytes on every machine (16 float, 8 double, 16 int32_t, 8 int64_t), held in
// one, two or four registers; Mask<T>: one truth value a lane. Every operation is exact to the bit in IEEE
// 754, so a kernel written with it gives the same result on all levels that have a fused multiply-add. A
// scalar converts implicitly: `1 - y * y`, `where(x > 0, g, 0)`, `max(x, lo)` work, found through their
// arguments' namespace.
#pragma once
#include "simd/native.h"

namespace chainrule::CR_ISA {

inline constexpr int vector_bytes = 64;
inline constexpr int registers = vector_bytes / register_bytes;

// Runs the statement with i = 0 .. registers - 1, unrolled, so that the registers stay registers.
#define CR_REGISTERS(...)        \
  {                              \
    constexpr int i = 0;         \
    __VA_ARGS__;                 \
  }                              \
  if constexpr (registers > 1) { \
    constexpr int i = 1;         \
    __VA_ARGS__;                 \
  }                              \
  if constexpr (registers > 2) { \
    {                            \
      constexpr int i = 2;       \
      __VA_ARGS__;               \
    }                            \
    {                            \
      constexpr int i = 3;       \
      __VA_ARGS__;               \
    }                            \
  }

template <class T>
struct Vec;

template <class T>
struct Mask {
  using M = typename native::MaskOf<sizeof(T)>::type;
  static constexpr int per_register = register_bytes / sizeof(T);
  M r[registers];

  Mask() = default;
  CR_INLINE Mask(const Mask& other){
      CR_REGISTERS(r[i] = other.r[i])} CR_INLINE Mask& operator=(const Mask& other) {
    CR_REGISTERS(r[i] = other.r[i])
    return *this;
  }

  // Lanes 0 .. n - 1.
  static CR_INLINE Mask first(int n) { return Vec<T>::iota() < Vec<T>(static_cast<T>(n)); }
  // The same lanes of another type of the same size.
  template <class U>
  CR_INLINE Mask<U> as() const {
    static_assert(sizeof(U) == sizeof(T));
    Mask<U> m;
    CR_REGISTERS(m.r[i] = r[i])
    return m;
  }
  // Bit i is lane i.
  CR_INLINE unsigned bits() const {
    unsigned b = 0;
    CR_REGISTERS(b |= native::bits_of(r[i]) << (i * per_register))
    return b;
  }

#define CR_MASK_OP(op)                                              \
  friend CR_INLINE Mask operator op(const Mask& a, const Mask& b) { \
    Mask m;                                                         \
    CR_REGISTERS(m.r[i] = static_cast<M>(a.r[i] op b.r[i]))         \
    return m;                                                       \
  }
  CR_MASK_OP(&)
  CR_MASK_OP(|)
  CR_MASK_OP(^)
#undef CR_MASK_OP
  friend CR_INLINE Mask operator~(const Mask& a) {
    Mask m;
    CR_REGISTERS(m.r[i] = static_cast<M>(~a.r[i]))
    return m;
  }
  // The logical spellings, for lambdas that also run on plain bool.
  friend CR_INLINE Mask operator!(const Mask& a) { return ~a; }
  friend CR_INLINE Mask operator&&(const Mask& a, const Mask& b) { return a & b; }
  friend CR_INLINE Mask operator||(const Mask& a, const Mask& b) { return a | b; }

  friend CR_INLINE bool any(const Mask& a) { return a.bits() != 0; }
  friend CR_INLINE bool all(const Mask& a) {
    M m = a.r[0];
    CR_REGISTERS(m = static_cast<M>(m & a.r[i]))
    return native::bits_of(m) == (1u << per_register) - 1;
  }
  friend CR_INLINE Vec<T> where(const Mask& m, const Vec<T>& a, const Vec<T>& b) {
    Vec<T> v;
    CR_REGISTERS(v.r[i] = native::select(m.r[i], a.r[i], b.r[i]))
    return v;
  }
};

template <class T>
struct Vec {
  using R = native::Register<T>;
  using Integer = typename native::RegisterOf<T>::integer;
  static constexpr int lanes = vector_bytes / sizeof(T);
  static constexpr int per_register = register_bytes / sizeof(T);
  R r[registers];

  Vec() = default;
  // Copied register by register: GCC sends a trivial copy of an aggregate of registers through memory.
  CR_INLINE Vec(const Vec& other){
      CR_REGISTERS(r[i] = other.r[i])} CR_INLINE Vec& operator=(const Vec& other) {
    CR_REGISTERS(r[i] = other.r[i])
    return *this;
  }
  CR_INLINE Vec(T s) { CR_REGISTERS(r[i] = native::splat(s)) }

  static CR_INLINE Vec load(const T* p) {
    Vec v;
    CR_REGISTERS(v.r[i] = native::load<T>(p + i * per_register))
    return v;
  }
  // For loops that wait for memory, see native.h.
  static CR_INLINE Vec load_halves(const T* p) {
    Vec v;
    CR_REGISTERS(v.r[i] = native::load_halves<T>(p + i * per_register))
    return v;
  }
  // The first n lanes, 0 <= n <= lanes; the others are zero and their memory is not touched.
  static CR_INLINE Vec load(const T* p, int n) {
    Vec v;
    CR_REGISTERS(v.r[i] = native::load(p + i * per_register, n - i * per_register))
    return v;
  }
  static CR_INLINE Vec load_halves(const T* p, int n) { return n == lanes ? load_halves(p) : load(p, n); }
  CR_INLINE void store(T* p) const { CR_REGISTERS(native::store<T>(p + i * per_register, r[i])); }
  CR_INLINE void store(T* p, int n) const {
    CR_REGISTERS(native::store(p + i * per_register, r[i], n - i * per_register));
  }
  // Past the caches, to a multiple of 64 bytes; then native::stream_fence(). For results that the caches cannot keep.
  CR_INLINE void stream(T* p) const { CR_REGISTERS(native::stream<T>(p + i * per_register, r[i])); }
  // 0, 1, 2, ...
  static CR_INLINE Vec iota() {
    alignas(64) static constexpr T count[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return load(count);
  }
  // One lane, through memory: for tails and rare slow paths.
  CR_INLINE T operator[](int lane) const {
    T all_lanes[lanes];
    store(all_lanes);
    return all_lanes[lane];
  }

#define CR_VEC_OP(op, W)                                         \
  friend CR_INLINE Vec operator op(const Vec& a, const Vec& b) { \
    Vec v;                                                       \
    CR_REGISTERS(v.r[i] = (R)((W)a.r[i] op(W) b.r[i]))           \
    return v;                                                    \
  }                                                              \
  CR_INLINE Vec& operator op## = (const Vec& b) { return *this = *this op b; }
  // Integer lanes wrap: those of a special argument hold anything until they are replaced.
  using Wrapping = typename native::RegisterOf<T>::wrapping;
  CR_VEC_OP(+, Wrapping)
  CR_VEC_OP(-, Wrapping)
  CR_VEC_OP(*, Wrapping)
  CR_VEC_OP(/, R)
  CR_VEC_OP(&, R)
  CR_VEC_OP(|, R)
  CR_VEC_OP(^, R)
#undef CR_VEC_OP
  friend CR_INLINE Vec operator-(const Vec& a) {
    Vec v;
    CR_REGISTERS(v.r[i] = (R)(-(Wrapping)a.r[i]))
    return v;
  }
  friend CR_INLINE Vec operator+(const Vec& a) { return a; }
  friend CR_INLINE Vec operator~(const Vec& a) {
    Vec v;
    CR_REGISTERS(v.r[i] = ~a.r[i])
    return v;
  }
  // Shifts of integer lanes by one count for all; >> keeps the sign.
  friend CR_INLINE Vec operator<<(const Vec& a, int count) {
    Vec v;
    CR_REGISTERS(v.r[i] = a.r[i] << count)
    return v;
  }
  friend CR_INLINE Vec operator>>(const Vec& a, int count) {
    Vec v;
    CR_REGISTERS(v.r[i] = a.r[i] >> count)
    return v;
  }
  // >> that fills with zeros.
  friend CR_INLINE Vec shift_right_logical(const Vec& a, int count) {
    using Unsigned = typename native::RegisterOf<T>::unsigned_integer;
    Vec v;
    CR_REGISTERS(v.r[i] = (R)((Unsigned)a.r[i] >> count))
    return v;
  }

#define CR_VEC_COMPARE(op, expression)                               \
  friend CR_INLINE Mask<T> operator op(const Vec& a, const Vec& b) { \
    Mask<T> m;                                                       \
    CR_REGISTERS(m.r[i] = native::expression)                        \
    return m;                                                        \
  }
  CR_VEC_COMPARE(<, lt(a.r[i], b.r[i]))
  CR_VEC_COMPARE(<=, le(a.r[i], b.r[i]))
  CR_VEC_COMPARE(>, lt(b.r[i], a.r[i]))
  CR_VEC_COMPARE(>=, le(b.r[i], a.r[i]))
  CR_VEC_COMPARE(==, eq(a.r[i], b.r[i]))
  CR_VEC_COMPARE(!=, ne(a.r[i], b.r[i]))
#undef CR_VEC_COMPARE

#define CR_VEC_UNARY(name)                      \
  friend CR_INLINE Vec name(const Vec& a) {     \
    Vec v;                                      \
    CR_REGISTERS(v.r[i] = native::name(a.r[i])) \
    return v;                                   \
  }
  CR_VEC_UNARY(sqrt)
  CR_VEC_UNARY(floor)
  CR_VEC_UNARY(ceil)
  CR_VEC_UNARY(trunc)
  CR_VEC_UNARY(round)  // half to even
#undef CR_VEC_UNARY

  // a * b + c rounded once (twice on the level without the instruction).
  friend CR_INLINE Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    Vec v;
    CR_REGISTERS(v.r[i] = native::fma(a.r[i], b.r[i], c.r[i]))
    return v;
  }
  // a > b ? a : b, and a < b ? a : b: b when either is NaN. One instruction; for when the caller knows his
  // NaNs.
  friend CR_INLINE Vec greater(const Vec& a, const Vec& b) {
    Vec v;
    CR_REGISTERS(v.r[i] = native::greater(a.r[i], b.r[i]))
    return v;
  }
  friend CR_INLINE Vec lesser(const Vec& a, const Vec& b) {
    Vec v;
    CR_REGISTERS(v.r[i] = native::lesser(a.r[i], b.r[i]))
    return v;
  }
  // NaN when either is NaN.
  friend CR_INLINE Vec max(const Vec& a, const Vec& b) {
    if constexpr (is_float)
      return where(isnan(a), a, greater(a, b));
    else
      return where(a > b, a, b);
  }
  friend CR_INLINE Vec min(const Vec& a, const Vec& b) {
    if constexpr (is_float)
      return where(isnan(a), a, lesser(a, b));
    else
      return where(a < b, a, b);
  }
  friend CR_INLINE Mask<T> isnan(const Vec& a) { return a != a; }
  friend CR_INLINE Vec abs(const Vec& a) {
    if constexpr (is_float) {
      Vec v;
      CR_REGISTERS(v.r[i] = (R)((Integer)a.r[i] & ~(Integer)native::splat(T(-0.0))))
      return v;
    } else {
      return where(a < Vec(T(0)), -a, a);
    }
  }
  friend CR_INLINE Vec copysign(const Vec& magnitude, const Vec& sign) {
    Vec v;
    CR_REGISTERS(const Integer bit = (Integer)native::splat(T(-0.0));
                 v.r[i] = (R)(((Integer)magnitude.r[i] & ~bit) | ((Integer)sign.r[i] & bit)))
    return v;
  }

  // Over the lanes in a fixed tree: i with i + lanes / 2, then lanes / 4, ... ; the same order on every
  // level.
  template <class F>
  static CR_INLINE T reduce(const Vec& a, F f) {
    R x = a.r[0];
    if constexpr (registers == 2) x = f(a.r[0], a.r[1]);
    if constexpr (registers == 4) x = f(f(a.r[0], a.r[2]), f(a.r[1], a.r[3]));
    if constexpr (per_register > 8) x = f(x, native::swap_lanes<8>(x));
    if constexpr (per_register > 4) x = f(x, native::swap_lanes<4>(x));
    if constexpr (per_register > 2) x = f(x, native::swap_lanes<2>(x));
    x = f(x, native::swap_lanes<1>(x));
    return x[0];
  }
  friend CR_INLINE T reduce_add(const Vec& a) {
    return reduce(a, [](R x, R y) CR_LAMBDA_INLINE { return x + y; });
  }
  friend CR_INLINE T reduce_mul(const Vec& a) {
    return reduce(a, [](R x, R y) CR_LAMBDA_INLINE { return x * y; });
  }
  friend CR_INLINE T reduce_max(const Vec& a) {
    return reduce(a, [](R x, R y) CR_LAMBDA_INLINE {
      if constexpr (is_float)
        return native::select(native::ne(x, x), x, native::greater(x, y));
      else
        return native::select(native::lt(y, x), x, y);
    });
  }
  friend CR_INLINE T reduce_min(const Vec& a) {
    return reduce(a, [](R x, R y) CR_LAMBDA_INLINE {
      if constexpr (is_float)
        return native::select(native::ne(x, x), x, native::lesser(x, y));
      else
        return native::select(native::lt(x, y), x, y);
    });
  }

  static constexpr bool is_float = T(0.5) != T(0);
};

// The bits of floating lanes as integers of the same width, and back.
CR_INLINE Vec<int32_t> bits(const Vec<float>& a) {
  Vec<int32_t> v;
  CR_REGISTERS(v.r[i] = (native::i32)a.r[i])
  return v;
}
CR_INLINE Vec<int64_t> bits(const Vec<double>& a) {
  Vec<int64_t> v;
  CR_REGISTERS(v.r[i] = (native::i64)a.r[i])
  return v;
}
CR_INLINE Vec<float> from_bits(const Vec<int32_t>& a) {
  Vec<float> v;
  CR_REGISTERS(v.r[i] = (native::f32)a.r[i])
  return v;
}
CR_INLINE Vec<double> from_bits(const Vec<int64_t>& a) {
  Vec<double> v;
  CR_REGISTERS(v.r[i] = (native::f64)a.r[i])
  return v;
}

// The nearest integer (half to even), for |a| < 2^31 (float) and 2^51 (double); the same lane count.
CR_INLINE Vec<int32_t> to_int(const Vec<float>& a) {
  Vec<int32_t> v;
  CR_REGISTERS(v.r[i] = native::to_int(a.r[i]))
  return v;
}
// No 64-bit conversion below AVX-512: adding 1.5 * 2^52 leaves the integer in the low bits.
CR_INLINE Vec<int64_t> to_int(const Vec<double>& a) {
  const Vec<double> magic = 0x1.8p52;
  return bits(a + magic) - bits(magic);
}
CR_INLINE Vec<float> to_float(const Vec<int32_t>& a) {
  Vec<float> v;
  CR_REGISTERS(v.r[i] = native::to_float(a.r[i]))
  return v;
}
CR_INLINE Vec<double> to_float(const Vec<int64_t>& a) {  // |a| < 2^51
  const Vec<double> magic = 0x1.8p52;
  return from_bits(a + bits(magic)) - magic;
}

// Eight numbers, of which each lane picks the one that the low three bits of an integer name: one instruction where
// registers have eight lanes or more. Sixteen lanes take four bits, so the numbers stand there twice.
struct Table8 {
  alignas(64) float v[16];
  constexpr Table8(float a, float b, float c, float d, float e, float f, float g, float h)
      : v{a, b, c, d, e, f, g, h, a, b, c, d, e, f, g, h} {}
};
CR_INLINE Vec<float> pick(const Table8& table, const Vec<int32_t>& index) {
  Vec<float> v;
  CR_REGISTERS(v.r[i] = native::pick(table.v, index.r[i]))
  return v;
}

// Sixteen floats as twice eight doubles, and back with one rounding.
struct Wide { Vec<double> low, high; };
CR_INLINE Wide widen(const Vec<float>& a) {
  native::f64 d[2 * registers];
  CR_REGISTERS(native::widen(a.r[i], d[2 * i], d[2 * i + 1]))
  Wide w;
  CR_REGISTERS(w.low.r[i] = d[i]; w.high.r[i] = d[registers + i])
  return w;
}
CR_INLINE Vec<float> narrow(const Vec<double>& low, const Vec<double>& high) {
  native::f64 d[2 * registers];
  CR_REGISTERS(d[i] = low.r[i]; d[registers + i] = high.r[i])
  Vec<float> v;
  CR_REGISTERS(v.r[i] = native::narrow(d[2 * i], d[2 * i + 1]))
  return v;
}

}  // namespace chainrule::CR_ISA
