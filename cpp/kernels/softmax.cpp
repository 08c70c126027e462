// Each row (or strip of columns) is read from memory once: the passes over it find it in the first-level cache.
// y = e^(x - max) / sum. Sums in the order of reduce.h.
#include "kernels/softmax.h"

#include "kernels/reduce_loops.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

// f(i, count) for each vector of a row of n, count < lanes at its end.
template <class T, class F> CR_INLINE void each_vector(int64_t n, const F& f) {
  constexpr int L = Vec<T>::lanes;
  int64_t i = 0;
  for (; i + L <= n; i += L) f(i, L);
  if (i < n) f(i, static_cast<int>(n - i));
}

template <class T> void softmax_row(const T* x, T* y, int64_t n, bool log_form) {
  constexpr int L = Vec<T>::lanes;
  if (n <= L) {  // one vector: stays in a register
    const int count = static_cast<int>(n);
    const Mask<T> inside = Mask<T>::first(count);
    const Vec<T> v = Vec<T>::load(x, count);
    const Vec<T> shifted = v - reduce_max(where(inside, v, -infinity<T>));
    const Vec<T> e = where(inside, exp(shifted), 0);
    const Vec<T> sum = reduce_add(e);
    (log_form ? shifted - log(sum) : e / sum).store(y, count);
    return;
  }
  const Vec<T> largest = reduce_max(reduce_row(MaxOp<T>{}, x, n));
  each_vector<T>(n, [&](int64_t i, int count)
                        CR_LAMBDA_INLINE { exp(Vec<T>::load(x + i, count) - largest).store(y + i, count); });
  const Vec<T> sum = reduce_add(reduce_row(SumOp<T>{}, y, n));
  const Vec<T> log_sum = log(sum);
  each_vector<T>(n, [&](int64_t i, int count) CR_LAMBDA_INLINE {
    const Vec<T> r =
        log_form ? (Vec<T>::load(x + i, count) - largest) - log_sum : Vec<T>::load(y + i, count) / sum;
    r.store(y + i, count);
  });
}

template <class T> void softmax_strip(const T* x, T* y, int64_t n, int64_t stride, int count, bool log_form) {
  constexpr int L = Vec<T>::lanes;
  Vec<T> largest[4], sum[4];
  reduce_columns(MaxOp<T>{}, x, n, stride, count, largest);
  const auto each = [&](const auto& f) CR_LAMBDA_INLINE {
    for (int64_t r = 0; r < n; ++r)
      for (int k = 0; k * L < count; ++k) f(r * stride + k * L, count - k * L < L ? count - k * L : L, k);
  };
  each(
      [&](int64_t i, int lanes, int k) { exp(Vec<T>::load(x + i, lanes) - largest[k]).store(y + i, lanes); });
  reduce_columns(SumOp<T>{}, y, n, stride, count, sum);
  if (log_form) {
    for (int k = 0; k * L < count; ++k) sum[k] = log(sum[k]);
    each([&](int64_t i, int lanes, int k) {
      ((Vec<T>::load(x + i, lanes) - largest[k]) - sum[k]).store(y + i, lanes);
    });
  } else {
    each([&](int64_t i, int lanes, int k) { (Vec<T>::load(y + i, lanes) / sum[k]).store(y + i, lanes); });
  }
}

template <class T> void grad_row(const T* g, const T* y, T* dx, int64_t n, bool log_form) {
  const Sums<T> sums = reduce_terms<T>(n, [&](int64_t i, int count, Vec<T>& a, Vec<T>& b) CR_LAMBDA_INLINE {
    const Vec<T> v = Vec<T>::load(g + i, count);
    a = v * Vec<T>::load(y + i, count);
    b = v;
  });
  const Vec<T> s = log_form ? sums.second : sums.first;
  each_vector<T>(n, [&](int64_t i, int count) CR_LAMBDA_INLINE {
    const Vec<T> v = Vec<T>::load(g + i, count), p = Vec<T>::load(y + i, count);
    (log_form ? fma(-exp(p), s, v) : p * (v - s)).store(dx + i, count);
  });
}

template <class T>
void grad_strip(const T* g, const T* y, T* dx, int64_t n, int64_t stride, int count, bool log_form) {
  constexpr int L = Vec<T>::lanes;
  const auto each = [&](const auto& f) CR_LAMBDA_INLINE {
    for (int64_t r = 0; r < n; ++r)
      for (int k = 0; k * L < count; ++k) f(r * stride + k * L, count - k * L < L ? count - k * L : L, k);
  };
  Vec<T> sum[4];
  if (log_form) {
    reduce_columns(SumOp<T>{}, g, n, stride, count, sum);
    each([&](int64_t i, int lanes, int k) {
      fma(-exp(Vec<T>::load(y + i, lanes)), sum[k], Vec<T>::load(g + i, lanes)).store(dx + i, lanes);
    });
    return;
  }
  each([&](int64_t i, int lanes, int) {
    (Vec<T>::load(g + i, lanes) * Vec<T>::load(y + i, lanes)).store(dx + i, lanes);
  });
  reduce_columns(SumOp<T>{}, dx, n, stride, count, sum);
  each([&](int64_t i, int lanes, int k) {
    (Vec<T>::load(y + i, lanes) * (Vec<T>::load(g + i, lanes) - sum[k])).store(dx + i, lanes);
  });
}

// row(offset) for each row, strip(offset, count) for each strip of up to four vectors of columns.
template <class T, class Row, class Strip>
void split(int64_t outer, int64_t n, int64_t inner, const Row& row, const Strip& strip) {
  if (n == 0 || inner == 0) return;
  if (inner == 1) {
    parallel_for(outer, 1 + reduce_grain / 4 / n, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) row(o * n);
    });
    return;
  }
  constexpr int64_t width = 4 * Vec<T>::lanes;
  const int64_t strips = (inner + width - 1) / width;
  parallel_for(outer * strips, 1 + reduce_grain / 4 / (n * (inner < width ? inner : width)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t j = i % strips * width, left = inner - j;
                   strip(i / strips * n * inner + j, static_cast<int>(left < width ? left : width));
                 }
               });
}

template <class T> void softmax_typed(const SoftmaxArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  split<T>(
      a.outer, a.n, a.inner, [&](int64_t i) { softmax_row(x + i, y + i, a.n, a.log); },
      [&](int64_t i, int count) { softmax_strip(x + i, y + i, a.n, a.inner, count, a.log); });
}
template <class T> void grad_typed(const SoftmaxGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *y = static_cast<const T*>(a.y);
  T* dx = static_cast<T*>(a.dx);
  split<T>(
      a.outer, a.n, a.inner, [&](int64_t i) { grad_row(g + i, y + i, dx + i, a.n, a.log); },
      [&](int64_t i, int count) { grad_strip(g + i, y + i, dx + i, a.n, a.inner, count, a.log); });
}

}  // namespace

void softmax(const SoftmaxArgs& a) {
  a.dtype == DType::Float32 ? softmax_typed<float>(a) : softmax_typed<double>(a);
}
void softmax_grad(const SoftmaxGradArgs& a) {
  a.dtype == DType::Float32 ? grad_typed<float>(a) : grad_typed<double>(a);
}

}  // namespace chainrule::CR_ISA
