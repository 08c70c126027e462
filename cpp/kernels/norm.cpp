// layer_norm, rms_norm and group_norm: statistics along contiguous memory, rows in parallel.
#include "kernels/norm.h"

#include "kernels/norm_loops.h"
#include "kernels/sizes.h"

namespace chainrule::CR_ISA {
namespace {

// Short rows are taken several at a time: the statistics of one are a chain of steps that wait for each other.
inline constexpr int64_t kTogether = 16, kTogetherBytes = 12288;

template <class T> void row_norm_typed(const RowNormArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  T *y = static_cast<T*>(a.y), *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  const int64_t n = a.n;
  const bool streamed = streams(y, a.rows * n, n);
  const int64_t fitting = kTogetherBytes / (n * int64_t{sizeof(T)} + 1);
  const int64_t together = least(most<int64_t>(1, fitting), kTogether);
  parallel_for(a.rows, even_grain(a.rows, 1 + reduce_grain / 2 / (n + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row += together) {
      const int64_t stop = least(row + together, end);
      T means[kTogether], squares[kTogether] = {};
      for (int64_t k = row; k < stop; ++k) {
        if (!streamed)  // arrives while the statistics are made
          for (int64_t i = 0; i < n; i += Vec<T>::lanes) __builtin_prefetch(y + k * n + i, 1);
        means[k - row] = mean != nullptr ? row_mean(x + k * n, n) : T(0);
        squares[k - row] = row_squares(x + k * n, n, means[k - row]);
      }
      T scales[kTogether];
      for (int64_t k = 0; k < kTogether; k += Vec<T>::lanes)
        rstd_of(Vec<T>::load(squares + k), static_cast<T>(n), a.eps).store(scales + k);
      for (int64_t k = row; k < stop; ++k) {
        const T* from = x + k * n;
        if (mean != nullptr) mean[k] = means[k - row];
        rstd[k] = scales[k - row];
        const Vec<T> m = means[k - row], r = rstd[k];
        write_row(y + k * n, n, streamed, [&](int64_t i, int count) CR_LAMBDA_INLINE {
          Vec<T> v = (Vec<T>::load(from + i, count) - m) * r;
          if (weight != nullptr && bias != nullptr)
            v = fma(v, Vec<T>::load(weight + i, count), Vec<T>::load(bias + i, count));
          else if (weight != nullptr)
            v = v * Vec<T>::load(weight + i, count);
          else if (bias != nullptr)
            v = v + Vec<T>::load(bias + i, count);
          return v;
        });
      }
    }
    if (streamed) native::stream_fence();
  });
}

// The gradients of some rows, in two passes over two rows at a time, which the first-level cache keeps. The sums for the
// parameters are added to `weights` and `biases` row by row.
//   dx = rstd (gw - mean(gw) - xhat mean(gw xhat)) with gw = g * weight; rms_norm has no mean(gw).
template <class T, bool to_x, bool to_parameters>
void grad_rows(const RowNormGradArgs& a, int64_t first, int64_t last, T* weights, T* biases, bool streamed) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x);
  const T *weight = static_cast<const T*>(a.weight), *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  const T* sum = static_cast<const T*>(a.sum);
  T* dx = static_cast<T*>(a.dx);
  const int64_t n = a.n;
  const Vec<T> one = T(1);
  struct Row {
    const T *g, *x;
    T* dx;
    Vec<T> mean, rstd, along, shift;
  };
  const auto row_at = [&](int64_t k) CR_LAMBDA_INLINE {
    Row r{g + k * n, x + k * n, to_x ? dx + k * n : nullptr, at_or(mean, k, T(0)), rstd[k], T(0), T(0)};
    if constexpr (to_x) {
      const auto terms = [=, g = r.g, x = r.x, dx = r.dx, mean = r.mean, rstd = r.rstd](
                             int64_t i, int count, Vec<T>& p, Vec<T>& q) CR_LAMBDA_INLINE {
        q = Vec<T>::load_halves(g + i, count) * (weight != nullptr ? Vec<T>::load(weight + i, count) : one);
        p = q * ((Vec<T>::load_halves(x + i, count) - mean) * rstd);
        if (!streamed) __builtin_prefetch(dx + i, 1);  // comes while the sums are formed
      };
      const Sums<T> s = reduce_terms<T>(n, terms);
      r.along = s.first / static_cast<T>(n);
      if (mean != nullptr) r.shift = s.second / static_cast<T>(n);
    }
    return r;
  };
  const auto add = [&](const Row& r, int64_t i, int count, const Vec<T>& w, Vec<T>& dw, Vec<T>& db)
                       CR_LAMBDA_INLINE {
                         const Vec<T> v = Vec<T>::load_halves(r.g + i, count);
                         const Vec<T> xhat = (Vec<T>::load_halves(r.x + i, count) - r.mean) * r.rstd;
                         if constexpr (to_x) {
                           Vec<T> y = r.rstd * ((v * w - r.shift) - xhat * r.along);
                           if (sum != nullptr) y = Vec<T>::load_halves(sum + (r.dx - dx) + i, count) + y;
                           put(y, r.dx + i, count, streamed);
                         }
                         dw = fma(v, xhat, dw);
                         db += v;
                       };
  const auto each = [&](const auto& f) CR_LAMBDA_INLINE {
    each_vector<T>(n, [&](int64_t i, int count) CR_LAMBDA_INLINE {
      const Vec<T> w = weight != nullptr ? Vec<T>::load(weight + i, count) : one;
      Vec<T> dw = T(0), db = T(0);
      if constexpr (to_parameters)
        dw = Vec<T>::load(weights + i, count), db = Vec<T>::load(biases + i, count);
      f(i, count, w, dw, db);
      if constexpr (to_parameters) dw.store(weights + i, count), db.store(biases + i, count);
    });
  };
  // The sums of the next two rows are on their way while two are finished; of long rows, the first cache holds only two.
  const int64_t lead = n * int64_t{sizeof(T)} <= 2048 ? 2 : 0, further = (2 + lead) * n;
  Row r{nullptr, nullptr, nullptr, T(0), T(0), T(0), T(0)}, s = r;
  for (int64_t k = first - lead; k < last; k += 2) {
    const int64_t at = k + lead;
    const Row next = at < last ? row_at(at) : r, second = at + 1 < last ? row_at(at + 1) : s;
    if (lead == 0) r = next, s = second;
    if (k + 1 == last) {
      each([&](int64_t i, int count, const Vec<T>& w, Vec<T>& dw, Vec<T>& db)
               CR_LAMBDA_INLINE { add(r, i, count, w, dw, db); });
    } else if (k >= first) {
      each([&](int64_t i, int count, const Vec<T>& w, Vec<T>& dw, Vec<T>& db) CR_LAMBDA_INLINE {
        prefetch(r.g + further + i), prefetch(r.x + further + i);
        prefetch(s.g + further + i), prefetch(s.x + further + i);
        add(r, i, count, w, dw, db);
        add(s, i, count, w, dw, db);
      });
    }
    r = next, s = second;
  }
}

template <class T, bool to_x> void grad_pieces(const RowNormGradArgs& a, bool streamed) {
  // Pieces of 32 rows, then the pieces in the tree of reduce.h.
  const int64_t n = a.n, pieces = (a.rows + 31) / 32;
  const size_t bytes = static_cast<size_t>(pieces * n + 1) * sizeof(T);
  T *weights = static_cast<T*>(cr_alloc(bytes)), *biases = static_cast<T*>(cr_alloc(bytes));
  parallel_for(pieces, even_grain(pieces, 1 + reduce_grain / (32 * n)), [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * 32, last = first + 32 < a.rows ? first + 32 : a.rows;
      std::memset(weights + piece * n, 0, static_cast<size_t>(n) * sizeof(T));
      std::memset(biases + piece * n, 0, static_cast<size_t>(n) * sizeof(T));
      grad_rows<T, to_x, true>(a, first, last, weights + piece * n, biases + piece * n, streamed);
    }
    if (streamed) native::stream_fence();
  });
  const auto plain = [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; };
  if (a.dweight != nullptr)
    reduce_array(SumOp<T>{}, weights, static_cast<T*>(a.dweight), 1, pieces, n, plain);
  if (a.dbias != nullptr) reduce_array(SumOp<T>{}, biases, static_cast<T*>(a.dbias), 1, pieces, n, plain);
  cr_free(weights);
  cr_free(biases);
}

template <class T> void row_norm_grad_typed(const RowNormGradArgs& a) {
  const int64_t n = a.n;
  if (n == 0) return;
  const bool streamed = a.dx != nullptr && streams(static_cast<T*>(a.dx), a.rows * n, n);
  if (a.dweight != nullptr || a.dbias != nullptr)
    return a.dx != nullptr ? grad_pieces<T, true>(a, streamed) : grad_pieces<T, false>(a, false);
  parallel_for(a.rows, even_grain(a.rows, 1 + reduce_grain / 4 / (n + 1)), [&](int64_t begin, int64_t end) {
    grad_rows<T, true, false>(a, begin, end, nullptr, nullptr, streamed);
    if (streamed) native::stream_fence();
  });
}

template <class T> void group_norm_typed(const GroupNormArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  T *y = static_cast<T*>(a.y), *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  const int64_t per_group = a.channels / a.groups, row = per_group * a.space;
  const bool streamed = streams(y, a.n * a.groups * row, a.space);
  parallel_for(a.n * a.groups, 1 + reduce_grain / 2 / (row + 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const Stats<T> s = row_stats(x + k * row, row, a.eps);
      mean[k] = s.mean;
      rstd[k] = s.rstd;
      for (int64_t c = 0; c < per_group; ++c) {
        const int64_t channel = k % a.groups * per_group + c, i = k * row + c * a.space;
        affine_run(x + i, y + i, a.space, s.mean, s.rstd * at_or(weight, channel, T(1)),
                   at_or(bias, channel, T(0)), streamed);
      }
    }
    if (streamed) native::stream_fence();
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
  const bool streamed = dx != nullptr && streams(dx, a.n * a.groups * row, a.space);
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
        grad_run(g + i, x + i, dx + i, a.space, mean[k], rstd[k], rstd[k] * w, b, shift, streamed);
      }
    }
    if (streamed) native::stream_fence();
  });
  const auto as_is = [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; };
  if (a.dweight != nullptr)
    reduce_array(SumOp<T>{}, with_xhat, static_cast<T*>(a.dweight), 1, a.n, a.channels, as_is);
  if (a.dbias != nullptr)
    reduce_array(SumOp<T>{}, plain, static_cast<T*>(a.dbias), 1, a.n, a.channels, as_is);
  cr_free(with_xhat);
  cr_free(plain);
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
