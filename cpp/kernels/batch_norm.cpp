// batch_norm over [n, channels, space], channels in parallel. A channel's sums run over its n contiguous runs in a tree;
// with space == 1 over rows of channels, a vector of channels at a time, in the order of reduce.h. Where there are
// channels enough, one's results follow its sums at once, while the cache still holds it.
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

inline constexpr int64_t enough_channels = 16;

// Channel c's batch has this mean and sum of squared distances from it.
template <class T> void take_statistics(const BatchNormArgs& a, int64_t c, T mean, T squares) {
  const T count = static_cast<T>(a.n * a.space);
  const T momentum = static_cast<T>(a.momentum), keep = static_cast<T>(1 - a.momentum);
  static_cast<T*>(a.mean)[c] = mean;
  static_cast<T*>(a.rstd)[c] = rstd_of(Vec<T>(squares), count, a.eps)[0];
  if (a.running_mean != nullptr) {
    T& running = static_cast<T*>(a.running_mean)[c];
    running = keep * running + momentum * mean;
  }
  if (a.running_var != nullptr) {
    T& running = static_cast<T*>(a.running_var)[c];
    running = keep * running + momentum * (squares / (count - 1));
  }
}

// The statistics of each channel c, then(c).
template <class T, class F> void channel_stats(const BatchNormArgs& a, const F& then) {
  const T* x = static_cast<const T*>(a.x);
  const int64_t stride = a.channels * a.space;
  parallel_for(a.channels, 1 + reduce_grain / 2 / (a.n * a.space + 1), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const T mean =
          channel_sum(SumOp<T>{}, x + c * a.space, a.n, stride, a.space) / static_cast<T>(a.n * a.space);
      RowDistance<T> op;
      op.mean = mean;
      take_statistics<T>(a, c, mean, channel_sum(op, x + c * a.space, a.n, stride, a.space));
      then(c);
    }
  });
}
// The same with space == 1.
template <class T> void column_stats(const BatchNormArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T *mean = static_cast<T*>(a.mean), *squares = static_cast<T*>(a.rstd);
  const Vec<T> divisor = static_cast<T>(a.n);
  reduce_array(SumOp<T>{}, x, mean, 1, a.n, a.channels,
               [&](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v / divisor; });
  ColumnDistance<T> op;
  op.state = mean;
  op.inner = a.channels;
  reduce_array(op, x, squares, 1, a.n, a.channels,
               [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; });
  for (int64_t c = 0; c < a.channels; ++c) take_statistics<T>(a, c, mean[c], squares[c]);
}

template <class T> void batch_norm_typed(const BatchNormArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T* bias = static_cast<const T*>(a.bias);
  T *y = static_cast<T*>(a.y), *mean = static_cast<T*>(a.mean), *rstd = static_cast<T*>(a.rstd);
  const bool streamed = streams(y, a.n * a.channels * a.space, a.space);
  const auto apply = [&](int64_t run, int64_t c) {
    affine_run(x + run * a.space, y + run * a.space, a.space, mean[c], rstd[c] * at_or(weight, c, T(1)),
               at_or(bias, c, T(0)), streamed);
  };
  if (!a.training) {
    const T *running_mean = static_cast<const T*>(a.running_mean),
            *running_var = static_cast<const T*>(a.running_var);
    for (int64_t c = 0; c < a.channels; ++c) {
      mean[c] = running_mean[c];
      rstd[c] = rstd_of(Vec<T>(running_var[c]), T(1), a.eps)[0];
    }
  } else if (a.space == 1) {
    column_stats<T>(a);
  } else if (a.channels >= enough_channels) {
    return channel_stats<T>(a, [&](int64_t c) {
      for (int64_t i = 0; i < a.n; ++i) apply(i * a.channels + c, c);
      if (streamed) native::stream_fence();
    });
  } else {
    channel_stats<T>(a, [](int64_t) {});
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
    for (int64_t run = begin; run < end; ++run) apply(run, run % a.channels);
    if (streamed) native::stream_fence();
  });
}

// sum(g xhat) and sum(g): of a vector of channels with space == 1, and of one channel.
template <class T> struct Pair { Vec<T> p, q; };
template <class T> struct AddPairs {
  CR_INLINE Pair<T> operator()(const Pair<T>& u, const Pair<T>& v) const { return {u.p + v.p, u.q + v.q}; }
};
template <class T> Pair<T> column_sums(const BatchNormGradArgs& a, int64_t c, int lanes) {
  const T *g = static_cast<const T*>(a.grad) + c, *x = static_cast<const T*>(a.x) + c;
  const Vec<T> m = Vec<T>::load(static_cast<const T*>(a.mean) + c, lanes);
  const Vec<T> r = Vec<T>::load(static_cast<const T*>(a.rstd) + c, lanes);
  const Pair<T> zero{T(0), T(0)};
  Tree<Pair<T>> tree;
  for (int64_t first = 0; first < a.n; first += 64) {
    Pair<T> sum = zero;
    for (int64_t i = first; i < a.n && i < first + 64; ++i) {
      const Vec<T> v = Vec<T>::load(g + i * a.channels, lanes);
      const Vec<T> xhat = (Vec<T>::load(x + i * a.channels, lanes) - m) * r;
      sum = AddPairs<T>{}(sum, {v * xhat, v});
    }
    tree.push(sum, AddPairs<T>{});
  }
  return tree.finish(zero, AddPairs<T>{});
}
template <class T> Pair<T> channel_sums(const BatchNormGradArgs& a, int64_t c) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x);
  const T mean = static_cast<const T*>(a.mean)[c], rstd = static_cast<const T*>(a.rstd)[c];
  Tree<Pair<T>> tree;  // of one lane: the runs' sums
  for (int64_t i = 0; i < a.n; ++i) {
    const int64_t k = (i * a.channels + c) * a.space;
    const Sums<T> s = grad_sums(g + k, x + k, a.space, mean, rstd);
    tree.push(Pair<T>{s.first, s.second}, AddPairs<T>{});
  }
  return tree.finish({T(0), T(0)}, AddPairs<T>{});
}

// dx = weight rstd (g - mean(g) - xhat mean(g xhat)); with fixed statistics weight rstd g.
template <class T> void batch_norm_grad_typed(const BatchNormGradArgs& a) {
  const T *g = static_cast<const T*>(a.grad), *x = static_cast<const T*>(a.x);
  const T *weight = static_cast<const T*>(a.weight), *mean = static_cast<const T*>(a.mean);
  const T* rstd = static_cast<const T*>(a.rstd);
  T* dx = static_cast<T*>(a.dx);
  const int64_t channels = a.channels;
  const size_t bytes = static_cast<size_t>(channels + 1) * sizeof(T);
  // What multiplies xhat in dx, and what is added.
  T *of_xhat = static_cast<T*>(cr_alloc(bytes)), *added = static_cast<T*>(cr_alloc(bytes));
  T *dweight = static_cast<T*>(a.dweight), *dbias = static_cast<T*>(a.dbias);
  const T count = static_cast<T>(a.n * a.space);
  const auto take = [&](const Pair<T>& sums, int64_t c, int lanes) {
    if (dweight != nullptr) sums.p.store(dweight + c, lanes);
    if (dbias != nullptr) sums.q.store(dbias + c, lanes);
    sums.p.store(of_xhat + c, lanes);
    sums.q.store(added + c, lanes);
    for (int64_t k = c; k < c + lanes; ++k) {
      const T scale = a.training ? -(rstd[k] * at_or(weight, k, T(1))) / count : T(0);
      of_xhat[k] *= scale;
      added[k] *= scale;
    }
  };
  const bool streamed = dx != nullptr && streams(dx, a.n * channels * a.space, a.space);
  const auto apply = [&](int64_t run, int64_t c) {
    const int64_t i = run * a.space;
    grad_run(g + i, x + i, dx + i, a.space, mean[c], rstd[c], rstd[c] * at_or(weight, c, T(1)), of_xhat[c],
             added[c], streamed);
  };
  const bool at_once = dx != nullptr && a.space > 1 && channels >= enough_channels;
  if (a.space == 1) {
    constexpr int L = Vec<T>::lanes;
    parallel_for((channels + L - 1) / L, 1 + reduce_grain / 4 / (a.n * L + 1),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t c = begin * L; c < channels && c < end * L; c += L) {
                     const int lanes = static_cast<int>(channels - c < L ? channels - c : L);
                     take(column_sums<T>(a, c, lanes), c, lanes);
                   }
                 });
  } else {
    parallel_for(channels, 1 + reduce_grain / 4 / (a.n * a.space + 1), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        take(channel_sums<T>(a, c), c, 1);
        for (int64_t i = 0; at_once && i < a.n; ++i) apply(i * channels + c, c);
      }
      if (streamed) native::stream_fence();
    });
  }
  if (dx != nullptr && a.space == 1) {
    const Vec<T> one = T(1);
    parallel_for(a.n, 1 + reduce_grain / 4 / (channels + 1), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * channels; i < end * channels; i += channels)
        each_vector<T>(channels, [&](int64_t c, int lanes) CR_LAMBDA_INLINE {
          const Vec<T> r = Vec<T>::load(rstd + c, lanes);
          const Vec<T> scale = r * (weight != nullptr ? Vec<T>::load(weight + c, lanes) : one);
          const Vec<T> xhat = (Vec<T>::load(x + i + c, lanes) - Vec<T>::load(mean + c, lanes)) * r;
          const Vec<T> rest = fma(xhat, Vec<T>::load(of_xhat + c, lanes), Vec<T>::load(added + c, lanes));
          fma(Vec<T>::load(g + i + c, lanes), scale, rest).store(dx + i + c, lanes);
        });
    });
  } else if (dx != nullptr && !at_once) {
    parallel_for(a.n * channels, 1 + reduce_grain / 4 / (a.space + 1), [&](int64_t begin, int64_t end) {
      for (int64_t run = begin; run < end; ++run) apply(run, run % channels);
      if (streamed) native::stream_fence();
    });
  }
  cr_free(of_xhat);
  cr_free(added);
}

}  // namespace

void batch_norm(const BatchNormArgs& a) {
  a.dtype == DType::Float32 ? batch_norm_typed<float>(a) : batch_norm_typed<double>(a);
}
void batch_norm_grad(const BatchNormGradArgs& a) {
  a.dtype == DType::Float32 ? batch_norm_grad_typed<float>(a) : batch_norm_grad_typed<double>(a);
}

}  // namespace chainrule::CR_ISA
