// layer_norm, rms_norm and group_norm: statistics along contiguous memory, rows in parallel.
#include "kernels/norm.h"

#include "kernels/norm_loops.h"

namespace chainrule::CR_ISA {
namespace {

template <class T> void row_norm_typed(const RowNormArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  T *y = static_cast<T*>(a.y), *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  const int64_t n = a.n;
  parallel_for(a.rows, 1 + reduce_grain / 2 / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* from = x + row * n;
      T* to = y + row * n;
      const Stats<T> s = row_stats(from, n, a.eps, mean != nullptr);
      if (mean != nullptr) mean[row] = s.mean;
      rstd[row] = s.rstd;
      const Vec<T> m = s.mean, r = s.rstd;
      each_vector<T>(n, [&](int64_t i, int count) CR_LAMBDA_INLINE {
        Vec<T> v = (Vec<T>::load(from + i, count) - m) * r;
        if (weight != nullptr && bias != nullptr)
          v = fma(v, Vec<T>::load(weight + i, count), Vec<T>::load(bias + i, count));
        else if (weight != nullptr)
          v = v * Vec<T>::load(weight + i, count);
        else if (bias != nullptr)
          v = v + Vec<T>::load(bias + i, count);
        v.store(to + i, count);
      });
    }
  });
}

// dx = rstd (gw - mean(gw) - xhat mean(gw xhat)) with gw = g * weight; rms_norm has no mean(gw).
template <class T> void row_norm_dx(const RowNormGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x);
  const T *weight = static_cast<const T*>(a.weight), *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  T* dx = static_cast<T*>(a.dx);
  const int64_t n = a.n;
  const Vec<T> one = T(1);
  parallel_for(a.rows, 1 + reduce_grain / 4 / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T *gr = g + row * n, *xr = x + row * n;
      const Vec<T> m = at_or(mean, row, T(0)), r = rstd[row];
      const auto gw = [&](int64_t i, int count) CR_LAMBDA_INLINE {
        return Vec<T>::load(gr + i, count) * (weight != nullptr ? Vec<T>::load(weight + i, count) : one);
      };
      const auto xhat = [&](int64_t i, int count)
                            CR_LAMBDA_INLINE { return (Vec<T>::load(xr + i, count) - m) * r; };
      const Sums<T> s = reduce_terms<T>(n, [&](int64_t i, int count, Vec<T>& p, Vec<T>& q) CR_LAMBDA_INLINE {
        q = gw(i, count);
        p = q * xhat(i, count);
      });
      const Vec<T> c1 = s.first / static_cast<T>(n),
                   c2 = mean != nullptr ? s.second / static_cast<T>(n) : T(0);
      each_vector<T>(n, [&](int64_t i, int count) CR_LAMBDA_INLINE {
        (r * ((gw(i, count) - c2) - xhat(i, count) * c1)).store(dx + row * n + i, count);
      });
    }
  });
}

// Column sums of g xhat and g over some rows, one after the other, for two vectors of columns at a time: the sums stay
// in registers.
template <class T>
void add_rows(const T* g, const T* x, const T* mean, const T* rstd, int64_t rows, int64_t n, T* weights,
              T* biases) {
  constexpr int L = Vec<T>::lanes;
  for (int64_t i = 0; i < n; i += 2 * L) {
    const int c0 = static_cast<int>(n - i < L ? n - i : L);
    const int c1 = static_cast<int>(n - i < 2 * L ? (n - i > L ? n - i - L : 0) : L);
    Vec<T> w0 = T(0), w1 = T(0), b0 = T(0), b1 = T(0);
    for (int64_t row = 0; row < rows; ++row) {
      const Vec<T> m = at_or(mean, row, T(0)), r = rstd[row];
      const int64_t at = row * n + i;
      const Vec<T> g0 = Vec<T>::load(g + at, c0), g1 = Vec<T>::load(g + at + L, c1);
      w0 = fma(g0, (Vec<T>::load(x + at, c0) - m) * r, w0);
      w1 = fma(g1, (Vec<T>::load(x + at + L, c1) - m) * r, w1);
      b0 += g0;
      b1 += g1;
    }
    w0.store(weights + i, c0);
    w1.store(weights + i + L, c1);
    b0.store(biases + i, c0);
    b1.store(biases + i + L, c1);
  }
}

// Pieces of 32 rows, then the pieces in the tree of reduce.h.
template <class T> void row_norm_dparams(const RowNormGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x),
          *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  const int64_t n = a.n, pieces = (a.rows + 31) / 32;
  if (n == 0) return;
  const size_t bytes = static_cast<size_t>(pieces * n + 1) * sizeof(T);
  T *weights = static_cast<T*>(cr_alloc(bytes)), *biases = static_cast<T*>(cr_alloc(bytes));
  parallel_for(pieces, 1 + reduce_grain / (32 * n), [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t row = piece * 32, rows = a.rows - row < 32 ? a.rows - row : 32;
      add_rows(g + row * n, x + row * n, mean != nullptr ? mean + row : nullptr, rstd + row, rows, n,
               weights + piece * n, biases + piece * n);
    }
  });
  const auto plain = [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; };
  if (a.dweight != nullptr)
    reduce_array(SumOp<T>{}, weights, static_cast<T*>(a.dweight), 1, pieces, n, plain);
  if (a.dbias != nullptr) reduce_array(SumOp<T>{}, biases, static_cast<T*>(a.dbias), 1, pieces, n, plain);
  cr_free(weights);
  cr_free(biases);
}

template <class T> void group_norm_typed(const GroupNormArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  T *y = static_cast<T*>(a.y), *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  const int64_t per_group = a.channels / a.groups, row = per_group * a.space;
  parallel_for(a.n * a.groups, 1 + reduce_grain / 2 / (row + 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const Stats<T> s = row_stats(x + k * row, row, a.eps, true);
      mean[k] = s.mean;
      rstd[k] = s.rstd;
      for (int64_t c = 0; c < per_group; ++c) {
        const int64_t channel = k % a.groups * per_group + c, i = k * row + c * a.space;
        affine_run(x + i, y + i, a.space, s.mean, s.rstd * at_or(weight, channel, T(1)),
                   at_or(bias, channel, T(0)));
      }
    }
  });
}

template <class T> void group_norm_grad_typed(const GroupNormGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x);
  const T *weight = static_cast<const T*>(a.weight), *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  T* dx = static_cast<T*>(a.dx);
  const int64_t per_group = a.channels / a.groups, row = per_group * a.space;
  const size_t bytes = static_cast<size_t>(a.n * a.channels + 1) * sizeof(T);
  T *with_xhat = static_cast<T*>(cr_alloc(bytes)), *plain = static_cast<T*>(cr_alloc(bytes));
  parallel_for(a.n * a.groups, 1 + reduce_grain / 4 / (row + 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      T c1 = 0, c2 = 0;
      for (int64_t c = 0; c < per_group; ++c) {
        const int64_t i = k * row + c * a.space;
        const Sums<T> s = grad_sums(g + i, x + i, a.space, mean[k], rstd[k]);
        const T w = at_or(weight, k % a.groups * per_group + c, T(1));
        with_xhat[k * per_group + c] = s.first;
        plain[k * per_group + c] = s.second;
        c1 += w * s.first;
        c2 += w * s.second;
      }
      if (dx == nullptr) continue;
      const T count = static_cast<T>(row), b = -rstd[k] * (c1 / count), shift = -rstd[k] * (c2 / count);
      for (int64_t c = 0; c < per_group; ++c) {
        const int64_t i = k * row + c * a.space;
        const T w = at_or(weight, k % a.groups * per_group + c, T(1));
        grad_run(g + i, x + i, dx + i, a.space, mean[k], rstd[k], rstd[k] * w, b, shift);
      }
    }
  });
  const auto as_is = [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; };
  if (a.dweight != nullptr)
    reduce_array(SumOp<T>{}, with_xhat, static_cast<T*>(a.dweight), 1, a.n, a.channels, as_is);
  if (a.dbias != nullptr)
    reduce_array(SumOp<T>{}, plain, static_cast<T*>(a.dbias), 1, a.n, a.channels, as_is);
  cr_free(with_xhat);
  cr_free(plain);
}

template <class T> void row_norm_grad_typed(const RowNormGradArgs& a) {
  if (a.dx != nullptr) row_norm_dx<T>(a);
  if (a.dweight != nullptr || a.dbias != nullptr) row_norm_dparams<T>(a);
}

}  // namespace

void row_norm(const RowNormArgs& a) {
  a.dtype == DType::Float32 ? row_norm_typed<float>(a) : row_norm_typed<double>(a);
}
void row_norm_grad(const RowNormGradArgs& a) {
  a.dtype == DType::Float32 ? row_norm_grad_typed<float>(a) : row_norm_grad_typed<double>(a);
}
void group_norm(const GroupNormArgs& a) {
  a.dtype == DType::Float32 ? group_norm_typed<float>(a) : group_norm_typed<double>(a);
}
void group_norm_grad(const GroupNormGradArgs& a) {
  a.dtype == DType::Float32 ? group_norm_grad_typed<float>(a) : group_norm_grad_typed<double>(a);
}

}  // namespace chainrule::CR_ISA
