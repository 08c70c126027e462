#include "kernels/elementwise.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/rows.h"
#include "simd/erfinv.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {

// What the table's expressions ask of vectors beyond simd/math.h.
template <class T> CR_INLINE Vec<T> zero(const Vec<T>&) { return Vec<T>(T{0}); }
template <class T> CR_INLINE Vec<T> square(const Vec<T>& x) { return x * x; }
template <class T> CR_INLINE Vec<T> sign(const Vec<T>& x) {
  return where(x > 0, Vec<T>(T{1}), where(x < 0, Vec<T>(T{-1}), Vec<T>(T{0})));
}
// Against a number that is not NaN, so that one instruction keeps the NaNs of x.
template <class T> CR_INLINE Vec<T> max(const Vec<T>& x, double b) {
  return greater(Vec<T>(static_cast<T>(b)), x);
}
template <class T> CR_INLINE Vec<T> min(const Vec<T>& x, double b) {
  return lesser(Vec<T>(static_cast<T>(b)), x);
}
// Powers that take no logarithm, and all others.
template <class T> CR_INLINE Vec<T> pow(const Vec<T>& x, double n) {
  if (n == 3) return x * x * x;
  if (n == 2) return x * x;
  if (n == -1) return 1 / x;
  if (n == -2) return (1 / x) * (1 / x);  // x * x may overflow where the power does not vanish
  if (n == -0.5) return 1 / sqrt(x);
  if (n == -1.5) return where(x == -infinity<T>, 0, 1 / sqrt(x) / x);
  return pow(x, Vec<T>(static_cast<T>(n)));
}
template <class T> CR_INLINE Vec<T> floor_divide(const Vec<T>& a, const Vec<T>& b) {
  // The quotient of what the remainder leaves, so that it is exact where floor(a / b) rounds up.
  const Vec<T> r = fmod(a, b), q = round((a - r) / b);
  return where(b == 0, a / b, where((r < 0 && b > 0) || (r > 0 && b < 0), q - 1, q));
}

namespace {

// An argument of n elements, or one for all: then every position is that of the first vector.
template <class T, bool halves = false> struct Input {
  const T* data;
  int64_t mask;
  Input(const LoopArgs& a, int k) : data(static_cast<const T*>(a.in[k])), mask(a.single[k] ? 0 : -1) {}
  // The vector at i, where `left` elements are left: those beyond are zero.
  CR_INLINE Vec<T> at(int64_t i, int64_t left) const {
    const T* p = data + (i & mask);
    if (left < Vec<T>::lanes) return Vec<T>::load(p, static_cast<int>(left));
    return halves ? Vec<T>::load_halves(p) : Vec<T>::load(p);
  }
};
template <class T> CR_INLINE void put(const Vec<T>& y, T* out, int64_t left) {
  if (left >= Vec<T>::lanes)
    y.store(out);
  else
    y.store(out, static_cast<int>(left));
}

// Values and derivatives that are long chains of operations, and are taken of two vectors at a time. Not on the level
// without a fused multiply-add, the fallback for old machines, for the wheel's size.
template <class T, class F> inline constexpr bool value_in_pairs = false;
template <class T, class F> inline constexpr bool dx_in_pairs = false;
template <> inline constexpr bool value_in_pairs<float, fn::tanh_fn> = has_fma;
template <> inline constexpr bool value_in_pairs<float, fn::sigmoid_fn> = has_fma;
template <> inline constexpr bool value_in_pairs<float, fn::gelu_fn> = has_fma;
template <> inline constexpr bool dx_in_pairs<float, fn::gelu_fn> = has_fma;

template <class T> CR_INLINE Pair<T> pair_at(const Input<T>& x, int64_t i, int64_t left) {
  constexpr int lanes = Vec<T>::lanes;
  return {x.at(i, left), x.at(i + lanes, std::max<int64_t>(left - lanes, 0))};
}
template <class T> CR_INLINE void put(const Pair<T>& y, T* out, int64_t left) {
  constexpr int lanes = Vec<T>::lanes;
  put(y.a, out, left);
  put(y.b, out + lanes, std::max<int64_t>(left - lanes, 0));
}

// f(i, left) for each vector. Functions of many instructions stand in the loop once, for the wheel's size, and tell the
// last vector apart as they load and store; the short ones would take a tenth longer for that.
template <class T, bool once, class F> CR_INLINE void each_value(int64_t n, const F& f) {
  if constexpr (once)
    for (int64_t i = 0; i < n; i += Vec<T>::lanes) f(i, n - i);
  else
    each_vector<T>(n, f);
}
template <class T, class F> CR_INLINE void each_pair(int64_t n, const F& f) {
  constexpr int64_t step = 2 * Vec<T>::lanes;
  const int64_t whole = n - n % step;
  for (int64_t i = 0; i < whole; i += step) f(i, step);
  if (whole < n) f(whole, n - whole);
}

// The parameters where no store reaches them, so that what is computed of them alone is computed once.
struct Params {
  double p[2] = {};
  explicit Params(const LoopArgs& a) {
    if (a.params != nullptr) p[0] = a.params[0], p[1] = a.params[1];
  }
};

template <class T, class F, bool once> void unary_value(const LoopArgs& a) {
  using V = Vec<T>;
  const Params params(a);
  T* out = static_cast<T*>(a.out[0]);
  const Input<T> x(a, 0);
  if constexpr (value_in_pairs<T, F>)
    each_pair<T>(a.n, [&](int64_t i, int64_t left)
                          CR_LAMBDA_INLINE { put(F::value(pair_at(x, i, left), params.p), out + i, left); });
  else
    each_value<T, once>(a.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
      put(V(F::value(x.at(i, left), params.p)), out + i, left);
    });
}

template <class T, class F, bool once> void unary_dx(const LoopArgs& a) {
  using V = Vec<T>;
  const Params params(a);
  T* out = static_cast<T*>(a.out[0]);
  const Input<T> g(a, 0), saved(a, 1);  // saved: x or y, whichever the derivative is written in
  if constexpr (dx_in_pairs<T, F>)
    each_pair<T>(a.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
      const Pair<T> s = pair_at(saved, i, left);
      put(F::dx(pair_at(g, i, left), s, s, params.p), out + i, left);
    });
  else
    each_value<T, once>(a.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
      const V s = saved.at(i, left);
      put(V(F::dx(g.at(i, left), s, s, params.p)), out + i, left);
    });
}

template <class T, class F, bool once> void binary_value(const LoopArgs& a) {
  T* out = static_cast<T*>(a.out[0]);
  const Input<T, !once> x(a, 0), y(a, 1);
  each_value<T, once>(a.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
    put(Vec<T>(F::value(x.at(i, left), y.at(i, left))), out + i, left);
  });
}

template <class T, class F, bool once, bool first> void binary_dx(const LoopArgs& args) {
  using V = Vec<T>;
  T* out = static_cast<T*>(args.out[0]);
  const Input<T, !once> g(args, 0), a(args, 1), b(args, 2), y(args, 3);
  auto rule = [](const V& g, const V& a, const V& b, const V& y) CR_LAMBDA_INLINE -> V {
    if constexpr (first)
      return F::da(g, a, b, y);
    else
      return F::db(g, a, b, y);
  };
  each_value<T, once>(args.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
    put(rule(g.at(i, left), a.at(i, left), b.at(i, left), y.at(i, left)), out + i, left);
  });
}

// Both gradients of a product: g is read once, and often overwritten. The second is added to a sum that waits for it.
template <class T, bool added> void product_dx(const LoopArgs& args) {
  using V = Vec<T>;
  T* da = static_cast<T*>(args.out[0]);
  T* db = static_cast<T*>(args.out[1]);
  const Input<T, true> g(args, 0), a(args, 1), b(args, 2), sum(args, added ? 3 : 0);
  each_vector<T>(args.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
    const V gi = g.at(i, left);
    V second = gi * a.at(i, left);
    put(gi * b.at(i, left), da + i, left);
    if constexpr (added) second = sum.at(i, left) + second;
    put(second, db + i, left);
  });
}

template <class T> void clamp_between(const LoopArgs& args) {
  T* out = static_cast<T*>(args.out[0]);
  const Input<T> x(args, 0), low(args, 1), high(args, 2);
  each_vector<T>(args.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
    put(min(max(x.at(i, left), low.at(i, left)), high.at(i, left)), out + i, left);
  });
}

// The term is told apart in the loop, which waits for memory anyway: one loop for all.
template <class T> void add_term(const LoopArgs& args) {
  using V = Vec<T>;
  T* out = static_cast<T*>(args.out[0]);
  const Input<T, true> x(args, 0), a(args, 1), b(args, 2);
  const T scale = static_cast<T>(args.params[0]);
  const auto term = static_cast<Term>(static_cast<int>(args.params[1]));
  const bool nearer = scale > -0.5 && scale < 0.5;
  each_vector<T>(args.n, [&](int64_t i, int64_t left) CR_LAMBDA_INLINE {
    const V s = scale, xi = x.at(i, left);
    V y = a.at(i, left);
    if (term == Term::Towards) {
      y = nearer ? xi + s * (y - xi) : y - (y - xi) * (1 - s);
    } else if (term == Term::TowardsEach) {
      const V w = b.at(i, left), apart = y - xi;
      y = where(abs(w) < T(0.5), xi + w * apart, y - apart * (1 - w));
    } else {
      if (term == Term::Product) y = y * b.at(i, left);
      if (term == Term::Quotient) y = y / b.at(i, left);
      y = xi + y * s;
    }
    put(y, out + i, left);
  });
}

// Elements of other types, one by one: the compiler makes vectors of them.
template <class T, class F> void unary_each(const LoopArgs& a) {
  T* out = static_cast<T*>(a.out[0]);
  const T* x = static_cast<const T*>(a.in[0]);
  const Params params(a);
  for (int64_t i = 0, n = a.n; i < n; ++i) out[i] = static_cast<T>(F::value(x[i], params.p));
}
template <class T, class F> void binary_each(const LoopArgs& a) {
  T* out = static_cast<T*>(a.out[0]);
  const T* x = static_cast<const T*>(a.in[0]);
  const T* y = static_cast<const T*>(a.in[1]);
  for (int64_t i = 0, n = a.n; i < n; ++i) out[i] = static_cast<T>(F::value(x[i], y[i]));
}
// One of them may be a single element: no vectors where a position stands still, but for bytes by loops of their own.
template <class T, class F> void number_each(const LoopArgs& a) {
  T* out = static_cast<T*>(a.out[0]);
  const T* x = static_cast<const T*>(a.in[0]);
  const T* y = static_cast<const T*>(a.in[1]);
  const int64_t mask_x = a.single[0] ? 0 : -1, mask_y = a.single[1] ? 0 : -1;
  for (int64_t i = 0, n = a.n; i < n; ++i) out[i] = static_cast<T>(F::value(x[i & mask_x], y[i & mask_y]));
}
template <class F> void bytes_each(const LoopArgs& a) {
  uint8_t* out = static_cast<uint8_t*>(a.out[0]);
  const uint8_t* x = static_cast<const uint8_t*>(a.in[0]);
  const uint8_t* y = static_cast<const uint8_t*>(a.in[1]);
  const int64_t n = a.n;
  if (!a.single[0] && !a.single[1]) return binary_each<uint8_t, F>(a);
  if (a.single[0] && a.single[1]) {
    std::memset(out, static_cast<uint8_t>(F::value(*x, *y)), static_cast<size_t>(n));
  } else if (std::is_same_v<F, fn::sub_fn> && a.single[0]) {
    const uint8_t first = *x;
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(first - y[i]);
  } else {  // the others commute
    const uint8_t second = a.single[0] ? *x : *y;
    const uint8_t* each = a.single[0] ? y : x;
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(F::value(each[i], second));
  }
}
template <class T, class F> void predicate(const LoopArgs& a) {
  bool* out = static_cast<bool*>(a.out[0]);
  const T* x = static_cast<const T*>(a.in[0]);
  for (int64_t i = 0, n = a.n; i < n; ++i) out[i] = F::value(x[i], nullptr);
}
template <class T, class F> void comparison(const LoopArgs& a) {
  bool* out = static_cast<bool*>(a.out[0]);
  const T* x = static_cast<const T*>(a.in[0]);
  const T* y = static_cast<const T*>(a.in[1]);
  for (int64_t i = 0, n = a.n; i < n; ++i) out[i] = F::value(x[i], y[i]);
}

template <int bytes> struct Bits;
template <> struct Bits<1> { using T = uint8_t; };
template <> struct Bits<4> { using T = uint32_t; };
template <> struct Bits<8> { using T = uint64_t; };
template <int bytes> void where_loop(const LoopArgs& args) {
  using T = typename Bits<bytes>::T;
  T* out = static_cast<T*>(args.out[0]);
  const uint8_t* c = static_cast<const uint8_t*>(args.in[0]);
  const T* a = static_cast<const T*>(args.in[1]);
  const T* b = static_cast<const T*>(args.in[2]);
  for (int64_t i = 0, n = args.n; i < n; ++i) out[i] = c[i] ? a[i] : b[i];
}

// The dtypes that each kind computes in.
struct number { static constexpr bool integers = true; };
struct rounding { static constexpr bool integers = false; };
struct floating { static constexpr bool integers = false; };

// Which functions stand in their loops once: what is not made of single operations.
template <class F, class Kind> inline constexpr bool stands_once = std::is_same_v<Kind, floating>;
template <> inline constexpr bool stands_once<fn::pow_fn, number> = true;
template <> inline constexpr bool stands_once<fn::fmod_fn, number> = true;
template <> inline constexpr bool stands_once<fn::remainder_fn, number> = true;
template <> inline constexpr bool stands_once<fn::floor_divide_fn, number> = true;

// Which functions of two integers are operations on vectors.
template <class F>
inline constexpr bool in_vectors =
    std::is_same_v<F, fn::add_fn> || std::is_same_v<F, fn::sub_fn> || std::is_same_v<F, fn::mul_fn> ||
    std::is_same_v<F, fn::maximum_fn> || std::is_same_v<F, fn::minimum_fn>;
template <class T, class F> constexpr Loop number_loop() {
  if constexpr (!in_vectors<F>)
    return number_each<T, F>;
  else if constexpr (sizeof(T) == 1)
    return bytes_each<F>;
  else
    return binary_value<T, F, false>;
}

template <class F, class Kind> void fill_unary(UnaryLoops& l) {
  constexpr Loop none = nullptr;
  constexpr bool once = stands_once<F, Kind>;
  l.value[0] = none;
  if constexpr (Kind::integers) {
    l.value[1] = unary_each<uint8_t, F>;
    l.value[2] = unary_each<int32_t, F>;
    l.value[3] = unary_each<int64_t, F>;
  }
  l.value[4] = unary_value<float, F, once>;
  l.value[5] = unary_value<double, F, once>;
  l.dx[0] = unary_dx<float, F, once>;
  l.dx[1] = unary_dx<double, F, once>;
}
template <class F, class Kind> void fill_binary(BinaryLoops& l) {
  constexpr bool once = stands_once<F, Kind>;
  if constexpr (Kind::integers) {
    l.value[1] = number_loop<uint8_t, F>();
    l.value[2] = number_loop<int32_t, F>();
    l.value[3] = number_loop<int64_t, F>();
  }
  l.value[4] = binary_value<float, F, once>;
  l.value[5] = binary_value<double, F, once>;
  l.da[0] = binary_dx<float, F, once, true>;
  l.da[1] = binary_dx<double, F, once, true>;
  l.db[0] = binary_dx<float, F, once, false>;
  l.db[1] = binary_dx<double, F, once, false>;
}
template <class F> void fill_predicate(UnaryLoops& l) {
  l.value[0] = predicate<uint8_t, F>;
  l.value[1] = predicate<uint8_t, F>;
  l.value[2] = predicate<int32_t, F>;
  l.value[3] = predicate<int64_t, F>;
  l.value[4] = predicate<float, F>;
  l.value[5] = predicate<double, F>;
}
template <class F> void fill_comparison(BinaryLoops& l) {
  l.value[0] = comparison<uint8_t, F>;
  l.value[1] = comparison<uint8_t, F>;
  l.value[2] = comparison<int32_t, F>;
  l.value[3] = comparison<int64_t, F>;
  l.value[4] = comparison<float, F>;
  l.value[5] = comparison<double, F>;
}
template <class F> void fill_bitwise(BinaryLoops& l) {
  l.value[0] = binary_each<uint8_t, F>;
  l.value[1] = binary_each<uint8_t, F>;
  l.value[2] = binary_each<int32_t, F>;
  l.value[3] = binary_each<int64_t, F>;
}

}  // namespace

void fill_elementwise_loops(const ElementwiseArgs& args) {
  ElementwiseLoops& l = *args.loops;
#define UNARY(name, kind, ...) fill_unary<fn::name##_fn, kind>(l.unary[static_cast<int>(Unary::name)]);
#define UNARY_P(name, kind, ...) fill_unary<fn::name##_fn, kind>(l.unary[static_cast<int>(Unary::name)]);
#define PREDICATE(name, ...) fill_predicate<fn::name##_fn>(l.unary[static_cast<int>(Unary::name)]);
#define BINARY(name, kind, ...) fill_binary<fn::name##_fn, kind>(l.binary[static_cast<int>(Binary::name)]);
#define COMPARE(name, ...) fill_comparison<fn::name##_fn>(l.binary[static_cast<int>(Binary::name)]);
#define BITWISE(name, ...) fill_bitwise<fn::name##_fn>(l.binary[static_cast<int>(Binary::name)]);
#include "ops/elementwise_table.inc"
  BinaryLoops& mul = l.binary[static_cast<int>(Binary::mul)];
  mul.both[0] = product_dx<float, false>;
  mul.both[1] = product_dx<double, false>;
  mul.both_added[0] = product_dx<float, true>;
  mul.both_added[1] = product_dx<double, true>;
  l.add_term[0] = add_term<float>;
  l.add_term[1] = add_term<double>;
  l.clamp[0] = clamp_between<float>;
  l.clamp[1] = clamp_between<double>;
  l.where[1] = where_loop<1>;
  l.where[4] = where_loop<4>;
  l.where[8] = where_loop<8>;
}

}  // namespace chainrule::CR_ISA
