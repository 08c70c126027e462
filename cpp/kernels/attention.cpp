// The forward pass.
#include "kernels/attention_strips.h"
#include "simd/log.h"

namespace chainrule::CR_ISA {
namespace {

// The largest of n scores; NaN is passed over here and comes back with the exponentials.
template <class T> T largest(const T* s, int64_t n) {
  using V = Vec<T>;
  V top = lowest<T>;
  int64_t j = 0;
  for (; j + V::lanes <= n; j += V::lanes) top = greater(V::load(s + j), top);
  if (j < n) top = greater(where(Mask<T>::first(static_cast<int>(n - j)), V::load(s + j), V(lowest<T>)), top);
  return V::reduce(top, [](auto x, auto y) CR_LAMBDA_INLINE { return native::greater(x, y); });
}

// Turns n scores into exp(score - shift), those behind up to `end` into zeros, and returns the sum.
template <class T> T exponentiate(T* s, int64_t n, int64_t end, T shift) {
  using V = Vec<T>;
  V sum = T(0);
  int64_t j = 0;
  for (; j + V::lanes <= n; j += V::lanes) {
    const V e = exp(V::load(s + j) - V(shift));
    e.store(s + j);
    sum += e;
  }
  if (j < n) {
    const V e = where(Mask<T>::first(static_cast<int>(n - j)), exp(V::load(s + j) - V(shift)), V(T(0)));
    e.store(s + j);
    sum += e;
    j += V::lanes;
  }
  for (; j < end; j += V::lanes) V(T(0)).store(s + j);
  return reduce_add(sum);
}

template <class T> void scale_row(T* y, int64_t n, T by) {
  using V = Vec<T>;
  int64_t j = 0;
  for (; j + V::lanes <= n; j += V::lanes) (V::load(y + j) * V(by)).store(y + j);
  if (j < n) {
    const int rest = static_cast<int>(n - j);
    (V::load(y + j, rest) * V(by)).store(y + j, rest);
  }
}

// f(i) for the values of a strip's rows, a vector at a time.
template <class T, class F> CR_INLINE void each_row(F&& f) {
  for (int64_t i = 0; i < kStripRoom; i += Vec<T>::lanes) f(i);
}

template <class T> struct Forward {
  using V = Vec<T>;
  const AttentionArgs& a;
  Scratch<T> memory;
  T* next;
  Panels<T> keys, values;
  T* scores;

  explicit Forward(const AttentionArgs& args)
      : a(args),
        memory(Panels<T>::room(a.width, most_keys()) + Panels<T>::room(most_keys(), a.value_width) +
               kStrip * kPitch),
        next(memory.p),
        keys(next, a.width, most_keys()),
        values(next, most_keys(), a.value_width),
        scores(next) {}
  int64_t most_keys() const { return least(kKeys, a.cols); }

  // The state of the rows of a strip between blocks of keys: the maximum so far (kept where the result's lse goes), the sum
  // of exponentials relative to it, and the product with v in the output.
  struct Strip {
    int64_t batch, head, row, m;
    T *lse, *total, *out;
  };

  void attend(const Strip& s, const Seen& seen, bool last) {
    const int64_t cols = seen.cols(), ldc = a.out.row;
    const bool first = seen.key == 0;
    const Mat<T> q = matrix<T>(a.q, s.batch, s.head, s.row);
    multiply<T, true>(s.m, cols, a.width, q.p, q.row, keys, 0,
                      {scores, kPitch, static_cast<T>(a.scale), false, true});
    alignas(64) T top[kStripRoom] = {}, old[kStripRoom] = {}, shift[kStripRoom], rescale[kStripRoom],
                  sum[kStripRoom] = {}, total[kStripRoom] = {};
    for (int64_t i = 0; i < s.m; ++i) {
      T* x = scores + i * kPitch;
      if (a.mask) apply_mask(a, s.batch, s.head, s.row + i, seen.key, seen.of(i), x);
      top[i] = largest(x, seen.of(i));
      old[i] = first ? lowest<T> : s.lse[i];
      total[i] = first ? T(0) : s.total[i];
    }
    each_row<T>([&](int64_t i) {
      const V before = V::load(old + i), now = greater(V::load(top + i), before);
      now.store(top + i);
      // Nobody has taken part yet: any finite shift gives weights of zero.
      const V by = where(now == V(lowest<T>), V(T(0)), now);
      by.store(shift + i);
      exp(before - by).store(rescale + i);
    });
    for (int64_t i = 0; i < s.m; ++i) sum[i] = exponentiate(scores + i * kPitch, seen.of(i), cols, shift[i]);
    each_row<T>(
        [&](int64_t i) { fma(V::load(total + i), V::load(rescale + i), V::load(sum + i)).store(total + i); });
    if (!first)
      for (int64_t i = 0; i < s.m; ++i) scale_row(s.out + i * ldc, a.value_width, rescale[i]);
    multiply<T, true>(s.m, a.value_width, cols, scores, kPitch, values, 0, {s.out, ldc, T(1), !first, false});
    if (last) {
      each_row<T>([&](int64_t i) {
        const V t = V::load(total + i);
        const Mask<T> nobody = t == V(T(0));
        where(nobody, V(lowest<T>), V::load(shift + i) + log(t)).store(top + i);
        (V(T(1)) / where(nobody, V(T(1)), t)).store(rescale + i);
      });
      for (int64_t i = 0; i < s.m; ++i) scale_row(s.out + i * ldc, a.value_width, rescale[i]);
    }
    for (int64_t i = 0; i < s.m; ++i) {
      s.lse[i] = top[i];
      s.total[i] = total[i];
    }
  }

  // Rows [begin, end) of one head; begin is a multiple of kStrip.
  void rows(int64_t batch, int64_t head, int64_t begin, int64_t end) {
    const int64_t kv = head / (a.heads / a.kv_heads), cols = a.causal ? least(a.cols, end) : a.cols;
    const Mat<T> k = matrix<T>(a.k, batch, kv), v = matrix<T>(a.v, batch, kv);
    T* const lse = static_cast<T*>(a.lse) + (batch * a.heads + head) * a.rows;
    Scratch<T> total(end - begin);
    for (int64_t key = 0; key < cols; key += kKeys) {
      const int64_t n = least(kKeys, cols - key);
      keys.fill({k.at(key, 0), k.col, k.row}, a.width, n);
      values.fill({v.at(key, 0), v.row, v.col}, n, a.value_width);
      for (int64_t row = a.causal ? most(begin, key) : begin; row < end; row += kStrip) {
        fetch(matrix<T>(a.q, batch, head), row + kStrip, end, a.width);
        if (key + n >= cols) fetch_next<T>(a, batch, kv, row - begin);
        const bool last = key + n >= cols || (a.causal && key + n >= row + kStrip);
        attend({batch, head, row, least(kStrip, end - row), lse + row, total.p + (row - begin),
                rows_of<T>(a.out, batch, head, row)},
               {a.causal, row, key, n}, last);
      }
    }
  }
};

template <class T> void forward(const AttentionArgs& a) {
  // Heads are tasks; with few heads, ranges of rows of a head.
  const int64_t heads = a.batch * a.heads, blocks = ceil_div(a.rows, kQueries);
  const int64_t ranges = least(blocks, heads < 2 * num_threads() ? ceil_div(4 * num_threads(), heads) : 1);
  const int64_t work = a.rows * a.cols * (a.width + a.value_width) / ranges + 1;
  parallel_for(heads * ranges, most<int64_t>(1, kParallelWork / 4 / work), [&](int64_t begin, int64_t end) {
    Forward<T> f(a);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t head = t / ranges, r = t % ranges;
      f.rows(head / a.heads, head % a.heads, r * blocks / ranges * kQueries,
             least(a.rows, (r + 1) * blocks / ranges * kQueries));
    }
  });
}

}  // namespace

void attention(const AttentionArgs& a) {
  if (a.batch <= 0 || a.heads <= 0 || a.rows <= 0 || a.cols <= 0 || a.width <= 0 || a.value_width <= 0)
    return;
  a.dtype == DType::Float32 ? forward<float>(a) : forward<double>(a);
}

}  // namespace chainrule::CR_ISA
