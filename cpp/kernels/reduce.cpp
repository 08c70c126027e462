// Floating reductions by the loops of reduce_loops.h; integers, where order does not matter, by plain ones.
#include "kernels/reduce.h"

#include "kernels/reduce_loops.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

template <class T> struct SumSquaresOp : SumOp<T> {
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return fma(x, x, acc); }
};
template <class T> struct ProdOp : Stateless {
  CR_INLINE Vec<T> identity() const { return T(1); }
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return acc * x; }
  CR_INLINE Vec<T> combine(const Vec<T>& a, const Vec<T>& b) const { return a * b; }
  CR_INLINE T lanes(const Vec<T>& v) const { return reduce_mul(v); }
};
template <class T> struct MinOp : Stateless {
  CR_INLINE Vec<T> identity() const { return infinity<T>; }
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return min(acc, x); }
  CR_INLINE Vec<T> combine(const Vec<T>& a, const Vec<T>& b) const { return min(a, b); }
  CR_INLINE T lanes(const Vec<T>& v) const { return reduce_min(v); }
};
// sum (x - state)^2 and sum e^(x - state).
template <class T> struct DistanceOp : SumOp<T>, WithState<T> {
  using WithState<T>::at;
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int k = 0) const {
    const Vec<T> d = x - this->s[k];
    return fma(d, d, acc);
  }
};
template <class T> struct SumExpOp : SumOp<T>, WithState<T> {
  using WithState<T>::at;
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int k = 0) const {
    return acc + exp(x - this->s[k]);
  }
};

template <class T> void reduce_floating(const ReduceArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T* out = static_cast<T*>(a.out);
  const auto plain = [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; };
  const Strides strides{a.outer_stride, a.row_stride};
  const auto run = [&](auto op) { reduce_array(op, x, out, a.outer, a.n, a.inner, plain, strides); };
  switch (a.op) {
    case Reduction::Sum: {
      if (a.divisor == 1) return run(SumOp<T>{});
      const Vec<T> divisor = static_cast<T>(a.divisor);
      return reduce_array(
          SumOp<T>{}, x, out, a.outer, a.n, a.inner,
          [&](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v / divisor; }, strides);
    }
    case Reduction::Prod: return run(ProdOp<T>{});
    case Reduction::Max: return run(MaxOp<T>{});
    case Reduction::Min: return run(MinOp<T>{});
    case Reduction::SumSquares: return run(SumSquaresOp<T>{});
    case Reduction::Var: {
      const int64_t outputs = a.outer * a.inner;
      T* mean = static_cast<T*>(a.mean);
      if (mean == nullptr) mean = static_cast<T*>(cr_alloc(static_cast<size_t>(outputs) * sizeof(T)));
      const Vec<T> n = static_cast<T>(a.n);
      reduce_array(
          SumOp<T>{}, x, mean, a.outer, a.n, a.inner,
          [&](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v / n; }, strides);
      DistanceOp<T> op;
      op.state = mean;
      op.inner = a.inner;
      const double freedom = static_cast<double>(a.n) - a.parameter;
      const Vec<T> divisor = static_cast<T>(freedom > 0 ? freedom : 0);
      reduce_array(
          op, x, out, a.outer, a.n, a.inner,
          [&](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v / divisor; }, strides);
      if (a.mean == nullptr) cr_free(mean);
      return;
    }
    case Reduction::LogSumExp: {
      const int64_t outputs = a.outer * a.inner;
      T* largest = static_cast<T*>(cr_alloc(static_cast<size_t>(outputs) * sizeof(T)));
      reduce_array(
          MaxOp<T>{}, x, largest, a.outer, a.n, a.inner,
          [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE {
            return where(abs(v) == infinity<T>, 0, v);  // inf - inf would be NaN
          },
          strides);
      SumExpOp<T> op;
      op.state = largest;
      op.inner = a.inner;
      reduce_array(
          op, x, out, a.outer, a.n, a.inner,
          [&](const Vec<T>& v, int64_t o, int64_t j) CR_LAMBDA_INLINE {
            constexpr int L = Vec<T>::lanes;
            const int64_t left = a.inner - j;
            return log(v) + Vec<T>::load(largest + o * a.inner + j, static_cast<int>(left < L ? left : L));
          },
          strides);
      cr_free(largest);
      return;
    }
    default: return;  // All, Any: below
  }
}

// Any order gives the same: rows of tasks, partial results, one pass over them.
template <class T, class Acc, class Step, class Combine>
void reduce_plain(const ReduceArgs& a, Acc* out, Acc identity, Step step, Combine combine) {
  const T* x = static_cast<const T*>(a.x);
  const int64_t inner = a.inner, outputs = a.outer * inner;
  constexpr int64_t strip = 256 / sizeof(Acc);
  int64_t rows = reduce_grain / (inner > 0 ? inner : 1);
  if (rows < 1) rows = 1;
  const int64_t chunks = a.n > rows ? (a.n + rows - 1) / rows : 1;
  Acc* partial =
      chunks == 1 ? out : static_cast<Acc*>(cr_alloc(static_cast<size_t>(outputs * chunks) * sizeof(Acc)));
  const int64_t work = (a.n < rows ? a.n : rows) * inner;
  parallel_for(a.outer * chunks, 1 + reduce_grain / (work + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / chunks, first = i % chunks * rows, last = first + rows < a.n ? first + rows : a.n;
      Acc* to = partial + i * inner;
      const T* from = x + o * a.outer_stride + first * a.row_stride;
      if (inner == 1) {
        Acc acc = identity;
        for (int64_t r = first; r < last; ++r) acc = step(acc, from[r - first]);
        to[0] = acc;
        continue;
      }
      // Strips of columns, whose results stay in registers.
      int64_t j = 0;
      for (; j + strip <= inner; j += strip) {
        Acc acc[strip];
        for (int64_t k = 0; k < strip; ++k) acc[k] = identity;
        for (int64_t r = 0; r < last - first; ++r)
          for (int64_t k = 0; k < strip; ++k) acc[k] = step(acc[k], from[r * a.row_stride + j + k]);
        for (int64_t k = 0; k < strip; ++k) to[j + k] = acc[k];
      }
      for (int64_t k = j; k < inner; ++k) to[k] = identity;
      for (int64_t r = first; r < last; ++r, from += a.row_stride)
        for (int64_t k = j; k < inner; ++k) to[k] = step(to[k], from[k]);
    }
  });
  if (chunks == 1) return;
  for (int64_t o = 0; o < a.outer; ++o) {
    Acc* to = out + o * inner;
    for (int64_t j = 0; j < inner; ++j) to[j] = identity;
    for (int64_t c = 0; c < chunks; ++c)
      for (int64_t j = 0; j < inner; ++j) to[j] = combine(to[j], partial[(o * chunks + c) * inner + j]);
  }
  cr_free(partial);
}

template <class T> void reduce_truth(const ReduceArgs& a) {
  uint8_t* out = static_cast<uint8_t*>(a.out);
  if (a.op == Reduction::All)
    reduce_plain<T, uint8_t>(
        a, out, 1, [](uint8_t acc, T v) { return static_cast<uint8_t>(acc & (v != T(0))); },
        [](uint8_t p, uint8_t q) { return static_cast<uint8_t>(p & q); });
  else
    reduce_plain<T, uint8_t>(
        a, out, 0, [](uint8_t acc, T v) { return static_cast<uint8_t>(acc | (v != T(0))); },
        [](uint8_t p, uint8_t q) { return static_cast<uint8_t>(p | q); });
}

// T is uint8_t for bool as well.
template <class T> void reduce_integral(const ReduceArgs& a) {
  // Unsigned, as overflow wraps.
  const auto add = [](uint64_t p, auto q) { return p + static_cast<uint64_t>(static_cast<int64_t>(q)); };
  const auto multiply = [](uint64_t p, auto q) { return p * static_cast<uint64_t>(static_cast<int64_t>(q)); };
  constexpr T lowest = T(-1) < T(0) ? T(uint64_t(1) << (8 * sizeof(T) - 1)) : T(0),
              highest = static_cast<T>(~lowest);
  switch (a.op) {
    case Reduction::Sum: return reduce_plain<T, uint64_t>(a, static_cast<uint64_t*>(a.out), 0, add, add);
    case Reduction::Prod:
      return reduce_plain<T, uint64_t>(a, static_cast<uint64_t*>(a.out), 1, multiply, multiply);
    case Reduction::Max: {
      const auto larger = [](T p, T q) { return p > q ? p : q; };
      return reduce_plain<T, T>(a, static_cast<T*>(a.out), lowest, larger, larger);
    }
    case Reduction::Min: {
      const auto smaller = [](T p, T q) { return p < q ? p : q; };
      return reduce_plain<T, T>(a, static_cast<T*>(a.out), highest, smaller, smaller);
    }
    default: return;
  }
}

}  // namespace

void reduce(const ReduceArgs& a) {
  const bool truth = a.op == Reduction::All || a.op == Reduction::Any;
  switch (a.dtype) {
    case DType::Float32: return truth ? reduce_truth<float>(a) : reduce_floating<float>(a);
    case DType::Float64: return truth ? reduce_truth<double>(a) : reduce_floating<double>(a);
    case DType::Int64: return truth ? reduce_truth<int64_t>(a) : reduce_integral<int64_t>(a);
    case DType::Int32: return truth ? reduce_truth<int32_t>(a) : reduce_integral<int32_t>(a);
    default: return truth ? reduce_truth<uint8_t>(a) : reduce_integral<uint8_t>(a);
  }
}

}  // namespace chainrule::CR_ISA
