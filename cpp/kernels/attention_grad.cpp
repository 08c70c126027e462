// The backward pass. With p the weights, g the gradient of y = p v, and delta = sum(g * y) of each row:
//     dv = p^T g,   ds = p * (g v^T - delta),   dq = scale * ds k,   dk = scale * ds^T q
#include "kernels/attention_strips.h"

namespace chainrule::CR_ISA {
namespace {

template <class T> T dot_lanes(const T* a, const T* b, int64_t n) {
  using V = Vec<T>;
  V sum = T(0);
  int64_t j = 0;
  for (; j + V::lanes <= n; j += V::lanes) sum = fma(V::load(a + j), V::load(b + j), sum);
  if (j < n) {
    const int rest = static_cast<int>(n - j);
    sum = fma(V::load(a + j, rest), V::load(b + j, rest), sum);
  }
  return reduce_add(sum);
}

// The first n scores of a row become p = exp(score - lse), and dp becomes ds; behind them, up to `end`, both become zeros.
template <class T> void weights_and_slopes(T* p, T* dp, int64_t n, int64_t end, T lse, T delta) {
  using V = Vec<T>;
  int64_t j = 0;
  for (; j + V::lanes <= n; j += V::lanes) {
    const V w = exp(V::load(p + j) - V(lse));
    w.store(p + j);
    (w * (V::load(dp + j) - V(delta))).store(dp + j);
  }
  if (j < n) {
    const Mask<T> live = Mask<T>::first(static_cast<int>(n - j));
    const V w = exp(V::load(p + j) - V(lse));
    where(live, w, V(T(0))).store(p + j);
    where(live, w * (V::load(dp + j) - V(delta)), V(T(0))).store(dp + j);
    j += V::lanes;
  }
  for (; j < end; j += V::lanes) {
    V(T(0)).store(p + j);
    V(T(0)).store(dp + j);
  }
}

template <class T> void zero_rows(T* p, int64_t rows, int64_t cols, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) memset(p + i * stride, 0, static_cast<size_t>(cols) * sizeof(T));
}

// Where the products ds k of one block of keys go: to dq itself, or to a place of their own, unscaled.
template <class T> struct QueryGrad {
  T* p;
  int64_t head, row;
  T alpha;
  bool add;
};

template <class T> struct Backward {
  const AttentionArgs& a;
  Scratch<T> memory;
  T* next;
  Panels<T> keys_t, values_t, keys, queries, grads;
  T *p, *dp;

  explicit Backward(const AttentionArgs& args)
      : a(args),
        memory(Panels<T>::room(a.width, most_keys()) + Panels<T>::room(a.value_width, most_keys()) +
               Panels<T>::room(most_keys(), a.width) + Panels<T>::room(kQueries, a.width) +
               Panels<T>::room(kQueries, a.value_width) + 2 * kQueries * kPitch),
        next(memory.p),
        keys_t(next, a.width, most_keys()),
        values_t(next, a.value_width, most_keys()),
        keys(next, most_keys(), a.width),
        queries(next, kQueries, a.width),
        grads(next, kQueries, a.value_width),
        p(next),
        dp(next + kQueries * kPitch) {}
  int64_t most_keys() const { return least(kKeys, a.cols); }

  // One block of keys with all queries that see it, of all heads that share it.
  void block(int64_t batch, int64_t kv, int64_t key, const QueryGrad<T>& dq) {
    const int64_t n = least(kKeys, a.cols - key), group = a.heads / a.kv_heads;
    const Mat<T> k = matrix<T>(a.k, batch, kv, key), v = matrix<T>(a.v, batch, kv, key);
    keys.fill(k, n, a.width);  // in the order of memory; then k is near
    keys_t.fill({k.p, k.col, k.row}, a.width, n);
    values_t.fill({v.p, v.col, v.row}, a.value_width, n);
    T *dk = rows_of<T>(a.dk, batch, kv, key), *dv = rows_of<T>(a.dv, batch, kv, key);
    if (a.causal) {  // keys that no query sees
      const int64_t seen = least(n, ceil_div(most<int64_t>(0, a.rows - key), kStrip) * kStrip);
      zero_rows(dk + seen * a.dk.row, n - seen, a.width, a.dk.row);
      zero_rows(dv + seen * a.dv.row, n - seen, a.value_width, a.dv.row);
    }
    for (int64_t h = 0; h < group; ++h) {
      for (int64_t row = a.causal ? key / kQueries * kQueries : 0; row < a.rows; row += kQueries) {
        const int64_t m = least(kQueries, a.rows - row);
        for (int64_t i = 0; i < m; i += kStrip) {
          const int64_t next = row + i + kStrip;
          fetch(matrix<T>(a.q, batch, kv * group + h), next, a.rows, a.width);
          fetch(matrix<T>(a.grad, batch, kv * group + h), next, a.rows, a.value_width);
          fetch(matrix<T>(a.y, batch, kv * group + h), next, a.rows, a.value_width);
          if (key + n >= a.cols) fetch_next<T>(a, batch, kv, row + i);
          strip(batch, kv * group + h, row, i, least(kStrip, m - i), {a.causal, row + i, key, n},
                {dq.p + h * dq.head, 0, dq.row, dq.alpha, dq.add});
        }
        queries.fill(matrix<T>(a.q, batch, kv * group + h, row), m, a.width);
        grads.fill(matrix<T>(a.grad, batch, kv * group + h, row), m, a.value_width);
        // One product after the other, so that its rows stay in the first cache.
        const auto columns = [&](const T* weights, const Panels<T>& rows, int64_t width, T* out,
                                 int64_t stride, T alpha) {
          for (int64_t c = 0; c < n; c += kStrip) {
            const int64_t from = a.causal ? most<int64_t>(0, key + c - row) : 0;
            if (from >= m) break;
            const bool first = h == 0 && row == (a.causal ? (key + c) / kQueries * kQueries : 0);
            multiply<T, false>(least(kStrip, n - c), width, m - from, weights + from * kPitch + c, kPitch,
                               rows, from, {out + c * stride, stride, alpha, !first, false});
          }
        };
        columns(p, grads, a.value_width, dv, a.dv.row, T(1));
        columns(dp, queries, a.width, dk, a.dk.row, static_cast<T>(a.scale));
      }
    }
  }

  // p and ds of rows [row + i, row + i + m), and what they give to dq.
  void strip(int64_t batch, int64_t head, int64_t row, int64_t i, int64_t m, const Seen& seen,
             const QueryGrad<T>& dq) {
    const Mat<T> q = matrix<T>(a.q, batch, head, row + i), g = matrix<T>(a.grad, batch, head, row + i),
                 y = matrix<T>(a.y, batch, head, row + i);
    const T* lse = static_cast<const T*>(a.lse) + (batch * a.heads + head) * a.rows + row + i;
    const int64_t cols = seen.cols();
    T *s = p + i * kPitch, *ds = dp + i * kPitch;
    multiply<T, true>(m, cols, a.width, q.p, q.row, keys_t, 0,
                      {s, kPitch, static_cast<T>(a.scale), false, true});
    multiply<T, true>(m, cols, a.value_width, g.p, g.row, values_t, 0, {ds, kPitch, T(1), false, true});
    for (int64_t r = 0; r < m; ++r) {
      T *x = s + r * kPitch, *dx = ds + r * kPitch;
      if (a.mask) apply_mask(a, batch, head, row + i + r, seen.key, seen.of(r), x);
      // A row that sees nobody has scores of -inf; less infinity, their weights are zero.
      weights_and_slopes(x, dx, seen.of(r), cols, lse[r] == lowest<T> ? -lowest<T> : lse[r],
                         dot_lanes(g.at(r, 0), y.at(r, 0), a.value_width));
    }
    multiply<T, true>(m, a.width, cols, ds, kPitch, keys, 0,
                      {dq.p + (row + i) * dq.row, dq.row, dq.alpha, dq.add, false});
  }
};

// c = alpha * x (+ c): what a tile does with its sums.
template <class T> void add_scaled(T* c, const T* x, int64_t n, T alpha, bool first) {
  using V = Vec<T>;
  for (int64_t j = 0; j < n; j += V::lanes) {
    const int lanes = static_cast<int>(least<int64_t>(V::lanes, n - j));
    const V v = V::load(x + j, lanes);
    (first ? v * V(alpha) : fma(V(alpha), v, V::load(c + j, lanes))).store(c + j, lanes);
  }
}

// With fewer heads than threads want: the blocks of keys of one head in parallel, their parts of dq added in order.
template <class T> void backward_split(const AttentionArgs& a, int64_t batch, int64_t kv) {
  const int64_t group = a.heads / a.kv_heads, size = group * a.rows * a.width,
                blocks = ceil_div(a.cols, kKeys);
  const int64_t wave = least(blocks, most<int64_t>(2, 4 * kPartBytes / (size * int64_t{sizeof(T)})));
  Scratch<T> parts(wave * size);
  for (int64_t w = 0; w < blocks; w += wave) {
    const int64_t count = least(wave, blocks - w);
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      Backward<T> b(a);
      for (int64_t i = begin; i < end; ++i)
        b.block(batch, kv, (w + i) * kKeys, {parts.p + i * size, a.rows * a.width, a.width, T(1), false});
    });
    parallel_for(
        group * a.rows, most<int64_t>(1, 32768 / (count * a.width)), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const int64_t row = r % a.rows;
            T* c = rows_of<T>(a.dq, batch, kv * group + r / a.rows, row);
            for (int64_t i = 0; i < count && !(a.causal && (w + i) * kKeys > row); ++i)
              add_scaled(c, parts.p + i * size + r * a.width, a.width, static_cast<T>(a.scale), w + i == 0);
          }
        });
  }
}

template <class T> void backward(const AttentionArgs& a) {
  const int64_t tasks = a.batch * a.kv_heads;
  if (tasks < 2 * num_threads() && a.cols > kKeys) {
    for (int64_t t = 0; t < tasks; ++t) backward_split<T>(a, t / a.kv_heads, t % a.kv_heads);
    return;
  }
  const int64_t work = a.rows * a.cols * (a.width + a.value_width) + 1;
  parallel_for(tasks, most<int64_t>(1, kParallelWork / 8 / work), [&](int64_t begin, int64_t end) {
    Backward<T> b(a);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t batch = t / a.kv_heads, kv = t % a.kv_heads;
      for (int64_t key = 0; key < a.cols; key += kKeys)
        b.block(batch, kv, key,
                {rows_of<T>(a.dq, batch, kv * (a.heads / a.kv_heads)), a.dq.head, a.dq.row,
                 static_cast<T>(a.scale), key != 0});
    }
  });
}

}  // namespace

void attention_grad(const AttentionArgs& a) {
  if (a.batch <= 0 || a.heads <= 0 || a.rows <= 0 || a.cols <= 0 || a.width <= 0 || a.value_width <= 0)
    return;
  a.dtype == DType::Float32 ? backward<float>(a) : backward<double>(a);
}

}  // namespace chainrule::CR_ISA
