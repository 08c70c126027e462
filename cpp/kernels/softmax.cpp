// Each row (or strip of columns) is read from memory once: the passes over it find it in the first or second cache.
// y = e^(x - max) * (1 / sum). Sums in the order of reduce.h.
#include "kernels/softmax.h"

#include "kernels/reduce_loops.h"
#include "kernels/rows.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

template <class T> CR_INLINE Vec<T> exp_of_log(const Vec<T>& log_p) {
  return exp_in_units(log_p) * (1 / exp_unit<T>);
}
template <class T> CR_INLINE Vec<T> log_of_units(const Vec<T>& sum) { return log(sum * (1 / exp_unit<T>)); }

// ---- along rows ----

// The exponentials go through e: y itself, or scratch when y is streamed.
template <class T, bool log_form> void softmax_row(const T* x, T* y, T* e, int64_t n, bool streamed) {
  constexpr int L = Vec<T>::lanes;
  if (n <= L) {  // one vector: stays in a register
    const int count = static_cast<int>(n);
    const Mask<T> inside = Mask<T>::first(count);
    const Vec<T> v = Vec<T>::load(x, count);
    const Vec<T> shifted = v - reduce_max(where(inside, v, -infinity<T>));
    const Vec<T> exps = where(inside, exp_in_units(shifted), 0);
    const Vec<T> sum = reduce_add(exps);
    (log_form ? shifted - log_of_units(sum) : exps * (1 / sum)).store(y, count);
    return;
  }
  const Vec<T> largest = largest_of(x, n);
  // Memory brings the next row during this one's arithmetic, if the first cache has room for both.
  const T* const next = x + (n * int64_t{sizeof(T)} <= (8 << 10) ? n : 0);
  const Vec<T> sum = reduce_add(fold_row<T>(
      T(0), n,
      [&](const Vec<T>& acc, int64_t i, int count) CR_LAMBDA_INLINE {
        __builtin_prefetch(next + i);
        const Vec<T> v = exp_in_units(Vec<T>::load(x + i, count) - largest);
        if (!log_form) v.store(e + i, count);
        return acc + v;
      },
      Plus<T>{}));
  const Vec<T> log_sum = log_form ? log_of_units(sum) : sum, factor = 1 / sum;
  write_row(y, n, streamed, [&](int64_t i, int count) CR_LAMBDA_INLINE {
    return log_form ? (Vec<T>::load(x + i, count) - largest) - log_sum : Vec<T>::load(e + i, count) * factor;
  });
}

template <class T, bool log_form>
void grad_row(const T* g, const T* y, T* dx, int64_t n, bool streamed) {
  const Vec<T> s = reduce_add(fold_row<T>(
      T(0), n,
      [&](const Vec<T>& acc, int64_t i, int count) CR_LAMBDA_INLINE {
        const Vec<T> v = Vec<T>::load(g + i, count);
        return log_form ? acc + v : fma(v, Vec<T>::load(y + i, count), acc);
      },
      Plus<T>{}));
  write_row(dx, n, streamed, [&](int64_t i, int count) CR_LAMBDA_INLINE {
    const Vec<T> v = Vec<T>::load(g + i, count), p = Vec<T>::load(y + i, count);
    return log_form ? fma(-exp_of_log(p), s, v) : p * (v - s);
  });
}

// ---- along columns ----

// f(Nth<k>()) for k = 0 .. V - 1: an array that is only indexed by constants stays in registers.
template <int k> struct Nth { static constexpr int value = k; };
template <int V, class F> CR_INLINE void unrolled(const F& f) {
  static_assert(V == 1 || V == 4);
  f(Nth<0>());
  if constexpr (V == 4) {
    f(Nth<1>());
    f(Nth<2>());
    f(Nth<3>());
  }
}

// Strips of V vectors of columns. Rows that lie apart are gathered in scratch first: with a power of two between them,
// say, they would push each other out of the caches. Nor does the machine foresee which lines come next.
template <class T, int V> struct Strip {
  static constexpr int L = Vec<T>::lanes, width = V * L;
  int64_t n, stride;
  int count;  // columns, as many as `width` but in the last strip
  bool streamed;

  bool dense() const { return stride == width; }
  CR_INLINE int lanes(int k) const { return count - k * L < 0 ? 0 : count - k * L < L ? count - k * L : L; }
  CR_INLINE Vec<T> load(const T* p, int64_t r, int k) const {
    p += r * stride + k * L;
    return count == width ? Vec<T>::load(p) : Vec<T>::load(p, lanes(k));
  }
  CR_INLINE Vec<T> load_ahead(const T* p, int64_t r, int k) const {
    __builtin_prefetch(p + (r + 8) * stride + k * L);
    return load(p, r, k);
  }
  CR_INLINE void write(T* p, int64_t r, int k, const Vec<T>& v) const {
    p += r * stride + k * L;
    if (streamed && k * L < count)  // all vectors are whole then
      v.stream(p);
    else if (count == width)
      v.store(p);
    else
      v.store(p, lanes(k));
  }
  // f(r, k) for each vector.
  template <class F> CR_INLINE void each(const F& f) const {
    for (int64_t r = 0; r < n; ++r) unrolled<V>([&](auto nth) CR_LAMBDA_INLINE { f(r, nth.value); });
  }
  // sum[k] = the sum over the rows of what step(acc, r, k) adds: blocks of 64 rows in a tree, as in reduce_columns.
  template <class Step> CR_INLINE void fold(Vec<T>* sum, const Step& step) const {
    struct Row { Vec<T> v[V]; };
    const auto plus = [](const Row& a, const Row& b) CR_LAMBDA_INLINE {
      Row c;
      unrolled<V>([&](auto k) CR_LAMBDA_INLINE { c.v[k.value] = a.v[k.value] + b.v[k.value]; });
      return c;
    };
    const auto block = [&](int64_t begin, int64_t end) CR_LAMBDA_INLINE {
      Row s;
      unrolled<V>([&](auto k) CR_LAMBDA_INLINE { s.v[k.value] = T(0); });
      for (int64_t r = begin; r < end; ++r)
        unrolled<V>([&](auto k) CR_LAMBDA_INLINE { s.v[k.value] = step(s.v[k.value], r, k.value); });
      return s;
    };
    Tree<Row> tree;
    for (int64_t i = 0; i < n; i += 64) tree.push(block(i, n - i < 64 ? n : i + 64), plus);
    const Row s = tree.finish(block(0, 0), plus);
    unrolled<V>([&](auto k) CR_LAMBDA_INLINE { sum[k.value] = s.v[k.value]; });
  }

  template <bool log_form> void softmax(const T* x, T* y, T* scratch) const {
    Vec<T> largest[V], sum[V];
    unrolled<V>([&](auto k) CR_LAMBDA_INLINE { largest[k.value] = -infinity<T>; });
    each([&](int64_t r, int k) CR_LAMBDA_INLINE {
      const Vec<T> v = load_ahead(x, r, k);
      largest[k] = greater(largest[k], v);
      if (!dense()) v.store(scratch + r * width + k * L);
    });
    const T* const from = dense() ? x : scratch;
    fold(sum, [&](const Vec<T>& acc, int64_t r, int k) CR_LAMBDA_INLINE {
      const int64_t i = r * width + k * L;
      const Vec<T> shifted = Vec<T>::load(from + i) - largest[k], e = exp_in_units(shifted);
      (log_form ? shifted : e).store(scratch + i);
      return acc + e;
    });
    unrolled<V>([&](auto k) CR_LAMBDA_INLINE {
      sum[k.value] = log_form ? log_of_units(sum[k.value]) : 1 / sum[k.value];
    });
    each([&](int64_t r, int k) CR_LAMBDA_INLINE {
      const Vec<T> v = Vec<T>::load(scratch + r * width + k * L);
      write(y, r, k, log_form ? v - sum[k] : v * sum[k]);
    });
  }
  template <bool log_form> void grad(const T* g, const T* y, T* dx, T* scratch) const {
    T* const y_scratch = scratch + n * width;
    Vec<T> sum[V];
    fold(sum, [&](const Vec<T>& acc, int64_t r, int k) CR_LAMBDA_INLINE {
      const Vec<T> v = load_ahead(g, r, k);
      if (!dense()) v.store(scratch + r * width + k * L);
      if (log_form) return acc + v;
      const Vec<T> p = load_ahead(y, r, k);
      if (!dense()) p.store(y_scratch + r * width + k * L);
      return fma(v, p, acc);
    });
    const T *const g_from = dense() ? g : scratch, *const y_from = dense() ? y : y_scratch;
    each([&](int64_t r, int k) CR_LAMBDA_INLINE {
      const int64_t i = r * width + k * L;
      const Vec<T> v = Vec<T>::load(g_from + i);
      const Vec<T> p = log_form ? load_ahead(y, r, k) : Vec<T>::load(y_from + i);
      write(dx, r, k, log_form ? fma(-exp_of_log(p), sum[k], v) : p * (v - sum[k]));
    });
  }
};

// run(strip, offset, scratch) for each strip of [outer, n, inner]; `copies` arrays of a strip go to scratch.
template <class T, int V, class Run>
void each_strip(int64_t outer, int64_t n, int64_t inner, int copies, bool streamed, const Run& run) {
  constexpr int64_t width = Strip<T, V>::width;
  const int64_t strips = (inner + width - 1) / width;
  // Few tasks: each has scratch of its own.
  const int64_t small = 1 + reduce_grain / 4 / (n * (inner < width ? inner : width)),
                even = outer * strips / (8 * num_threads());
  parallel_for(outer * strips, small > even ? small : even, [&](int64_t begin, int64_t end) {
    T* scratch = static_cast<T*>(cr_alloc(static_cast<size_t>(copies * n * width) * sizeof(T)));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t j = i % strips * width, left = inner - j;
      run(Strip<T, V>{n, inner, static_cast<int>(left < width ? left : width), streamed},
          i / strips * n * inner + j, scratch);
    }
    cr_free(scratch);
    if (streamed) native::stream_fence();
  });
}
// No sum depends on their width: four vectors, as long as scratch is in some cache. The level without a fused
// multiply-add, the fallback for old machines, does with one, for the wheel's size.
template <class T, class Run>
void strips(int64_t outer, int64_t n, int64_t inner, int copies, bool streamed, const Run& run) {
  if constexpr (has_fma)
    if (inner > Vec<T>::lanes && 4 * copies * n * vector_bytes <= (4 << 20))
      return each_strip<T, 4>(outer, n, inner, copies, streamed, run);
  each_strip<T, 1>(outer, n, inner, copies, streamed, run);
}

// ----

// Strips from twice the size on, as measured.
template <class T, class Args> bool streams_result(const T* y, const Args& a) {
  return a.inner > 1 ? streams(y, a.outer * a.n * a.inner / 2, a.inner) : streams(y, a.outer * a.n, a.n);
}
// Rows a task: more of them where each task has to wait for its streams to end.
int64_t rows_a_task(int64_t n, bool streamed) {
  return 1 + (streamed ? 4 * reduce_grain : reduce_grain / 4) / n;
}

template <class T, bool log_form> void softmax_typed(const SoftmaxArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const int64_t n = a.n;
  if (n == 0 || a.inner == 0) return;
  const bool streamed = streams_result(y, a);
  if (a.inner > 1)
    return strips<T>(a.outer, n, a.inner, 1, streamed, [&](const auto& strip, int64_t i, T* scratch) {
      strip.template softmax<log_form>(x + i, y + i, scratch);
    });
  parallel_for(a.outer, rows_a_task(n, streamed), [&](int64_t begin, int64_t end) {
    T* scratch =
        streamed && !log_form ? static_cast<T*>(cr_alloc(static_cast<size_t>(n) * sizeof(T))) : nullptr;
    for (int64_t o = begin; o < end; ++o)
      softmax_row<T, log_form>(x + o * n, y + o * n, scratch != nullptr ? scratch : y + o * n, n, streamed);
    if (!streamed) return;
    cr_free(scratch);
    native::stream_fence();
  });
}
template <class T, bool log_form> void grad_typed(const SoftmaxGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *y = static_cast<const T*>(a.y);
  T* dx = static_cast<T*>(a.dx);
  const int64_t n = a.n;
  if (n == 0 || a.inner == 0) return;
  // Over g, the lines are in the caches already.
  const bool streamed = dx != g && streams_result(dx, a);
  if (a.inner > 1)
    return strips<T>(a.outer, n, a.inner, log_form ? 1 : 2, streamed,
                     [&](const auto& strip, int64_t i, T* scratch) {
                       strip.template grad<log_form>(g + i, y + i, dx + i, scratch);
                     });
  parallel_for(a.outer, rows_a_task(n, streamed), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      grad_row<T, log_form>(g + o * n, y + o * n, dx + o * n, n, streamed);
    if (streamed) native::stream_fence();
  });
}

}  // namespace

void softmax(const SoftmaxArgs& a) {
  if (a.dtype == DType::Float32)
    a.log ? softmax_typed<float, true>(a) : softmax_typed<float, false>(a);
  else
    a.log ? softmax_typed<double, true>(a) : softmax_typed<double, false>(a);
}
void softmax_grad(const SoftmaxGradArgs& a) {
  if (a.dtype == DType::Float32)
    a.log ? grad_typed<float, true>(a) : grad_typed<float, false>(a);
  else
    a.log ? grad_typed<double, true>(a) : grad_typed<double, false>(a);
}

}  // namespace chainrule::CR_ISA
