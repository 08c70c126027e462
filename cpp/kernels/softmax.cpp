// Each row (or strip of columns) is read from memory once: the passes over it find it in the first-level cache.
// y = e^(x - max) * (1 / sum). Sums in the order of reduce.h.
#include "kernels/softmax.h"

#include "kernels/reduce_loops.h"
#include "kernels/rows.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

// The exponentials go through e: y itself, or scratch when y is streamed.
template <class T, bool log_form> void softmax_row(const T* x, T* y, T* e, int64_t n, bool streamed) {
  constexpr int L = Vec<T>::lanes;
  if (n <= L) {  // one vector: stays in a register
    const int count = static_cast<int>(n);
    const Mask<T> inside = Mask<T>::first(count);
    const Vec<T> v = Vec<T>::load(x, count);
    const Vec<T> shifted = v - reduce_max(where(inside, v, -infinity<T>));
    const Vec<T> exps = where(inside, exp(shifted), 0);
    const Vec<T> sum = reduce_add(exps);
    (log_form ? shifted - log(sum) : exps * (1 / sum)).store(y, count);
    return;
  }
  const Vec<T> largest = largest_of(x, n);
  const Vec<T> sum = reduce_add(fold_row<T>(
      T(0), n,
      [&](const Vec<T>& acc, int64_t i, int count) CR_LAMBDA_INLINE {
        const Vec<T> v = exp(Vec<T>::load(x + i, count) - largest);
        if (!log_form) v.store(e + i, count);
        return acc + v;
      },
      Plus<T>{}));
  const Vec<T> log_sum = log(sum), factor = 1 / sum;
  write_row(y, n, streamed, [&](int64_t i, int count) CR_LAMBDA_INLINE {
    return log_form ? (Vec<T>::load(x + i, count) - largest) - log_sum : Vec<T>::load(e + i, count) * factor;
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
    for (int k = 0; k * L < count; ++k) sum[k] = 1 / sum[k];
    each([&](int64_t i, int lanes, int k) { (Vec<T>::load(y + i, lanes) * sum[k]).store(y + i, lanes); });
  }
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
    return log_form ? fma(-exp(p), s, v) : p * (v - s);
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

// strip(offset, count) for each strip of up to four vectors of columns.
template <class T, class Strip> void each_strip(int64_t outer, int64_t n, int64_t inner, const Strip& strip) {
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

template <class T, bool log_form> void softmax_typed(const SoftmaxArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const int64_t n = a.n;
  if (n == 0 || a.inner == 0) return;
  if (a.inner > 1)
    return each_strip<T>(a.outer, n, a.inner, [&](int64_t i, int count) {
      softmax_strip(x + i, y + i, n, a.inner, count, log_form);
    });
  const bool streamed = streams(y, a.outer * n, n);
  parallel_for(a.outer, 1 + reduce_grain / 4 / n, [&](int64_t begin, int64_t end) {
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
  if (a.inner > 1)
    return each_strip<T>(a.outer, n, a.inner, [&](int64_t i, int count) {
      grad_strip(g + i, y + i, dx + i, n, a.inner, count, log_form);
    });
  const bool streamed = streams(dx, a.outer * n, n);
  parallel_for(a.outer, 1 + reduce_grain / 4 / n, [&](int64_t begin, int64_t end) {
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
