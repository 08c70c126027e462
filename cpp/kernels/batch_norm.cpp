// batch_norm over [n, channels, space], channels in parallel. A channel's sums run over its n contiguous runs in a tree;
// with space == 1 over rows of channels, a vector of channels at a time, in the order of reduce.h.
#include "kernels/norm.h"
#include "kernels/norm_loops.h"

namespace chainrule::CR_ISA {
namespace {

// Over the runs of one channel.
template <class T, class Op> T channel_sum(const Op& op, const T* x, int64_t n, int64_t stride,
                                           int64_t space) {
  Tree<Vec<T>> tree;
  for (int64_t i = 0; i < n; ++i) tree.push(reduce_row(op, x + i * stride, space), Plus<T>{});
  return reduce_add(tree.finish(T(0), Plus<T>{}));
}

template <class T> struct ColumnDistance : SumOp<T>, WithState<T> {
  using WithState<T>::at;
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int k = 0) const {
    const Vec<T> d = x - this->s[k];
    return fma(d, d, acc);
  }
};

template <class T> void batch_stats(const BatchNormArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  const int64_t stride = a.channels * a.space;
  const T count = static_cast<T>(a.n * a.space);
  // rstd holds the sums of squared distances until the running statistics have taken them.
  if (a.space == 1) {
    const Vec<T> divisor = count;
    reduce_array(SumOp<T>{}, x, mean, 1, a.n, a.channels,
                 [&](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v / divisor; });
    ColumnDistance<T> op;
    op.state = mean;
    op.inner = a.channels;
    reduce_array(op, x, rstd, 1, a.n, a.channels,
                 [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; });
  } else {
    parallel_for(a.channels, 1 + reduce_grain / 2 / (a.n * a.space + 1), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        mean[c] = channel_sum(SumOp<T>{}, x + c * a.space, a.n, stride, a.space) / count;
        RowDistance<T> op;
        op.mean = mean[c];
        rstd[c] = channel_sum(op, x + c * a.space, a.n, stride, a.space);
      }
    });
  }
  T *running_mean = static_cast<T*>(a.running_mean), *running_var = static_cast<T*>(a.running_var);
  const T momentum = static_cast<T>(a.momentum), keep = static_cast<T>(1 - a.momentum);
  for (int64_t c = 0; c < a.channels; ++c) {
    if (running_mean != nullptr) running_mean[c] = keep * running_mean[c] + momentum * mean[c];
    if (running_var != nullptr) running_var[c] = keep * running_var[c] + momentum * (rstd[c] / (count - 1));
    rstd[c] = rstd_of(rstd[c], count, a.eps);
  }
}

template <class T> void batch_norm_typed(const BatchNormArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  T *y = static_cast<T*>(a.y), *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  if (a.training) {
    batch_stats<T>(a);
  } else {
    const T *running_mean = static_cast<const T*>(a.running_mean),
            *running_var = static_cast<const T*>(a.running_var);
    for (int64_t c = 0; c < a.channels; ++c) {
      mean[c] = running_mean[c];
      rstd[c] = rstd_of(running_var[c], T(1), a.eps);
    }
  }
  if (a.space == 1) {
    const Vec<T> one = T(1), zero = T(0);
    parallel_for(a.n, 1 + reduce_grain / 2 / (a.channels + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        each_vector<T>(a.channels, [&](int64_t c, int count) CR_LAMBDA_INLINE {
          const Vec<T> r = Vec<T>::load(rstd + c, count);
          const Vec<T> scale = r * (weight != nullptr ? Vec<T>::load(weight + c, count) : one);
          const Vec<T> shift = bias != nullptr ? Vec<T>::load(bias + c, count) : zero;
          fma(Vec<T>::load(x + i * a.channels + c, count) - Vec<T>::load(mean + c, count), scale, shift)
              .store(y + i * a.channels + c, count);
        });
    });
    return;
  }
  parallel_for(a.n * a.channels, 1 + reduce_grain / 2 / (a.space + 1), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t c = k % a.channels;
      affine_run(x + k * a.space, y + k * a.space, a.space, mean[c], rstd[c] * at_or(weight, c, T(1)),
                 at_or(bias, c, T(0)));
    }
  });
}

// sum(g xhat) and sum(g) of each channel.
template <class T> void channel_sums(const BatchNormGradArgs& a, T* with_xhat, T* plain) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x),
          *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  const int64_t channels = a.channels;
  constexpr int L = Vec<T>::lanes;
  struct Pair { Vec<T> p, q; };
  const auto combine = [](const Pair& u, const Pair& v)
                           CR_LAMBDA_INLINE { return Pair{u.p + v.p, u.q + v.q}; };
  const Pair zero{T(0), T(0)};
  if (a.space == 1) {
    parallel_for((channels + L - 1) / L, 1 + reduce_grain / 4 / (a.n * L + 1),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t s = begin; s < end; ++s) {
                     const int64_t c = s * L;
                     const int count = static_cast<int>(channels - c < L ? channels - c : L);
                     const Vec<T> m = Vec<T>::load(mean + c, count), r = Vec<T>::load(rstd + c, count);
                     Tree<Pair> tree;
                     for (int64_t first = 0; first < a.n; first += 64) {
                       Pair sum = zero;
                       for (int64_t i = first; i < a.n && i < first + 64; ++i) {
                         const Vec<T> v = Vec<T>::load(g + i * channels + c, count);
                         const Vec<T> xhat = (Vec<T>::load(x + i * channels + c, count) - m) * r;
                         sum = combine(sum, Pair{v * xhat, v});
                       }
                       tree.push(sum, combine);
                     }
                     const Pair sum = tree.finish(zero, combine);
                     sum.p.store(with_xhat + c, count);
                     sum.q.store(plain + c, count);
                   }
                 });
    return;
  }
  parallel_for(channels, 1 + reduce_grain / 4 / (a.n * a.space + 1), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      Tree<Pair> tree;  // of one lane: the runs' sums
      for (int64_t i = 0; i < a.n; ++i) {
        const int64_t k = (i * channels + c) * a.space;
        const Sums<T> s = grad_sums(g + k, x + k, a.space, mean[c], rstd[c]);
        tree.push(Pair{s.first, s.second}, combine);
      }
      const Pair sum = tree.finish(zero, combine);
      sum.p.store(with_xhat + c, 1);
      sum.q.store(plain + c, 1);
    }
  });
}

template <class T> void batch_norm_grad_typed(const BatchNormGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x);
  const T *weight = static_cast<const T*>(a.weight), *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  T* dx = static_cast<T*>(a.dx);
  const size_t bytes = static_cast<size_t>(a.channels + 1) * sizeof(T);
  T *with_xhat = static_cast<T*>(cr_alloc(bytes)), *plain = static_cast<T*>(cr_alloc(bytes));
  channel_sums<T>(a, with_xhat, plain);
  if (a.dweight != nullptr) std::memcpy(a.dweight, with_xhat, static_cast<size_t>(a.channels) * sizeof(T));
  if (a.dbias != nullptr) std::memcpy(a.dbias, plain, static_cast<size_t>(a.channels) * sizeof(T));
  // dx = weight rstd (g - mean(g) - xhat mean(g xhat)); with fixed statistics weight rstd g.
  const T count = static_cast<T>(a.n * a.space);
  for (int64_t c = 0; c < a.channels; ++c) {
    const T scale = a.training ? -(rstd[c] * at_or(weight, c, T(1))) / count : T(0);
    with_xhat[c] *= scale;
    plain[c] *= scale;
  }
  if (dx != nullptr && a.space == 1) {
    const Vec<T> one = T(1);
    parallel_for(a.n, 1 + reduce_grain / 4 / (a.channels + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        each_vector<T>(a.channels, [&](int64_t c, int lanes) CR_LAMBDA_INLINE {
          const Vec<T> r = Vec<T>::load(rstd + c, lanes);
          const Vec<T> scale = r * (weight != nullptr ? Vec<T>::load(weight + c, lanes) : one);
          const Vec<T> xhat =
              (Vec<T>::load(x + i * a.channels + c, lanes) - Vec<T>::load(mean + c, lanes)) * r;
          const Vec<T> rest = fma(xhat, Vec<T>::load(with_xhat + c, lanes), Vec<T>::load(plain + c, lanes));
          fma(Vec<T>::load(g + i * a.channels + c, lanes), scale, rest).store(dx + i * a.channels + c, lanes);
        });
    });
  } else if (dx != nullptr) {
    parallel_for(a.n * a.channels, 1 + reduce_grain / 4 / (a.space + 1), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t c = k % a.channels, i = k * a.space;
        grad_run(g + i, x + i, dx + i, a.space, mean[c], rstd[c], rstd[c] * at_or(weight, c, T(1)),
                 with_xhat[c], plain[c]);
      }
    });
  }
  cr_free(with_xhat);
  cr_free(plain);
}

}  // namespace

void batch_norm(const BatchNormArgs& a) {
  a.dtype == DType::Float32 ? batch_norm_typed<float>(a) : batch_norm_typed<double>(a);
}
void batch_norm_grad(const BatchNormGradArgs& a) {
  a.dtype == DType::Float32 ? batch_norm_grad_typed<float>(a) : batch_norm_grad_typed<double>(a);
}

}  // namespace chainrule::CR_ISA
