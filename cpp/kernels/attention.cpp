#include "kernels/attention.h"

#include <cstring>

#include "kernels/gemm_blocked.h"
#include "simd/exp.h"
#include "simd/log.h"

namespace chainrule::CR_ISA {
namespace {

inline constexpr int64_t kRows = 64;  // of q a block: part of the definition of dk and dv

// A matrix packed once as the right operand of many products.
template <class T> struct Packed {
  int64_t k, n;
  Scratch<T> panels;

  Packed(int64_t rows, int64_t cols)
      : k(rows), n(cols), panels(ceil_div(rows, kBlockK) * kBlockK * ceil_div(cols, kPanel<T>) * kPanel<T>) {}

  Slab<T> slab(const Product<T>& p, int64_t depth) const {
    return {p, tile_height(p.m), 0, p.m, 0, n, 0, depth, nullptr, panels.p, nullptr};
  }
  void fill(const Mat<T>& b) const {
    const Product<T> p{1, n, k, b, b, nullptr, 0, 1, 0, nullptr, nullptr};
    const Slab<T> s = slab(p, k);
    for (int64_t j = 0; j < s.cols(); ++j) s.pack_cols(j);
  }
  // c = alpha * a (m x depth) times the first `depth` rows of this, for the first `cols` columns, rounded up to a panel.
  void multiply(int64_t m, const Mat<T>& a, int64_t depth, int64_t cols, T* c, int64_t ldc, T alpha) const {
    const Product<T> p{m, n, depth, a, a, c, static_cast<ptrdiff_t>(ldc), alpha, 0, nullptr, nullptr};
    const Slab<T> s = slab(p, depth);
    s.compute(0, s.rows(), 0, ceil_div(cols, kPanel<T>));
  }
};

template <class T> Mat<T> matrix(const Heads& h, int64_t batch, int64_t head, int64_t row = 0) {
  return {static_cast<const T*>(h.p) + batch * h.batch + head * h.head + row * h.row,
          static_cast<ptrdiff_t>(h.row), 1};
}

// The scores of one row, with the mask, over columns [0, cols); those that take no part become -inf.
template <class T>
void apply_mask(const AttentionArgs& a, int64_t batch, int64_t head, int64_t row, int64_t cols, T* s) {
  const T lowest = static_cast<T>(-__builtin_inf());
  if (a.mask) {
    const int64_t at = batch * a.mask_batch + head * a.mask_head + row * a.mask_row, step = a.mask_col;
    if (a.mask_dtype == DType::Bool) {
      const bool* m = static_cast<const bool*>(a.mask) + at;
      for (int64_t j = 0; j < cols; ++j) s[j] = m[j * step] ? s[j] : lowest;
    } else {
      const T* m = static_cast<const T*>(a.mask) + at;
      for (int64_t j = 0; j < cols; ++j) s[j] += m[j * step];
    }
  }
  if (a.causal) {
    for (int64_t j = row + 1; j < cols; ++j) s[j] = lowest;
  }
}

// Turns scores into exp(score - max) and returns their sum and maximum.
template <class T> struct RowSum { T sum, max; };
template <class T> RowSum<T> exponentiate(T* s, int64_t cols) {
  using V = Vec<T>;
  const T lowest = static_cast<T>(-__builtin_inf());
  const int64_t whole = cols / V::lanes * V::lanes;
  const int rest = static_cast<int>(cols - whole);
  V top = lowest;
  for (int64_t j = 0; j < whole; j += V::lanes) top = max(top, V::load(s + j));
  if (rest) top = max(top, where(Mask<T>::first(rest), V::load(s + whole, rest), V(lowest)));
  const T m = reduce_max(top);
  if (m == lowest) {  // nobody takes part: weights of zero
    memset(s, 0, static_cast<size_t>(cols) * sizeof(T));
    return {T(0), lowest};
  }
  V sum = T(0);
  const V shift = m;
  for (int64_t j = 0; j < whole; j += V::lanes) {
    const V e = exp(V::load(s + j) - shift);
    e.store(s + j);
    sum += e;
  }
  if (rest) {
    const V e = where(Mask<T>::first(rest), exp(V::load(s + whole, rest) - shift), V(T(0)));
    e.store(s + whole, rest);
    sum += e;
  }
  return {reduce_add(sum), m};
}

// Columns that rows [row, row + m) may see.
int64_t visible(const AttentionArgs& a, int64_t row, int64_t m) {
  return a.causal ? least(a.cols, row + m) : a.cols;
}
// A row of scores: padded, and no multiple of a page, so that reading down a column does not fight for one cache set.
template <class T> int64_t score_pitch(const AttentionArgs& a) {
  return ceil_div(a.cols, kPanel<T>) * kPanel<T> + Reg<T>::W;
}

template <class T> void forward_head(const AttentionArgs& a, int64_t batch, int64_t head, int64_t begin,
                                     int64_t end) {
  const int64_t kv = head / (a.heads / a.kv_heads), pitch = score_pitch<T>(a);
  Packed<T> keys(a.width, a.cols), values(a.cols, a.value_width);
  const Mat<T> k = matrix<T>(a.k, batch, kv);
  keys.fill({k.p, k.col, k.row});
  values.fill(matrix<T>(a.v, batch, kv));
  Scratch<T> scores(kRows * pitch);
  T* out = static_cast<T*>(a.out) + (batch * a.heads + head) * a.rows * a.value_width;
  T* lse = static_cast<T*>(a.lse) + (batch * a.heads + head) * a.rows;
  for (int64_t row = begin; row < end; row += kRows) {
    const int64_t m = least(kRows, end - row), cols = visible(a, row, m);
    keys.multiply(m, matrix<T>(a.q, batch, head, row), a.width, cols, scores.p, pitch,
                  static_cast<T>(a.scale));
    T total[kRows];
    for (int64_t i = 0; i < m; ++i) {
      T* s = scores.p + i * pitch;
      apply_mask(a, batch, head, row + i, cols, s);
      const RowSum<T> r = exponentiate(s, cols);
      total[i] = r.sum;
      lse[row + i] = r.sum == T(0) ? r.max : r.max + log(Vec<T>(r.sum))[0];
    }
    values.multiply(m, {scores.p, static_cast<ptrdiff_t>(pitch), 1}, cols, a.value_width,
                    out + row * a.value_width, a.value_width, T(1));
    for (int64_t i = 0; i < m; ++i) {
      T* y = out + (row + i) * a.value_width;
      const T sum = total[i] == T(0) ? T(1) : total[i];
      for (int64_t j = 0; j < a.value_width; ++j) y[j] /= sum;
    }
  }
}

template <class T> void forward(const AttentionArgs& a) {
  // Heads are tasks; with few heads, ranges of rows of a head.
  const int64_t heads = a.batch * a.heads, blocks = ceil_div(a.rows, kRows);
  const int64_t ranges = least(blocks, heads < 2 * num_threads() ? ceil_div(4 * num_threads(), heads) : 1);
  const int64_t work = a.rows * a.cols * (a.width + a.value_width) / ranges + 1;
  parallel_for(heads * ranges, most<int64_t>(1, kParallelWork / 4 / work), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t head = t / ranges, r = t % ranges;
      forward_head<T>(a, head / a.heads, head % a.heads, r * blocks / ranges * kRows,
                      least(a.rows, (r + 1) * blocks / ranges * kRows));
    }
  });
}

// p = exp(score - lse), then ds = p * (dp - sum of grad * y) in the place of dp.
template <class T> void weights_and_slopes(T* p, T* dp, int64_t cols, T lse, T delta) {
  using V = Vec<T>;
  const bool nobody = lse == static_cast<T>(-__builtin_inf());
  for (int64_t j = 0; j < cols; j += V::lanes) {
    const int lanes = static_cast<int>(least<int64_t>(V::lanes, cols - j));
    const V w = nobody ? V(T(0)) : exp(V::load(p + j, lanes) - V(lse));
    const V d = w * (V::load(dp + j, lanes) - V(delta));
    w.store(p + j, lanes);
    d.store(dp + j, lanes);
  }
}

template <class T> T dot_lanes(const T* a, const T* b, int64_t n) {
  using V = Vec<T>;
  V sum = T(0);
  for (int64_t j = 0; j < n; j += V::lanes) {
    const int lanes = static_cast<int>(least<int64_t>(V::lanes, n - j));
    sum = fma(V::load(a + j, lanes), V::load(b + j, lanes), sum);
  }
  return reduce_add(sum);
}

// c (n x width) += alpha * a^T b, over the m rows of a block.
template <class T>
void accumulate(const T* a, int64_t pitch, int64_t m, int64_t n, const Mat<T>& b, int64_t width, T* c,
                T alpha, bool threads) {
  multiply_tiles(Product<T>{n,
                            width,
                            m,
                            {a, 1, static_cast<ptrdiff_t>(pitch)},
                            b,
                            c,
                            static_cast<ptrdiff_t>(width),
                            alpha,
                            T(1),
                            nullptr,
                            nullptr},
                 threads && n * width * m >= kParallelWork);
}

// One head of k and v, with all heads of q that read it.
template <class T> void backward_head(const AttentionArgs& a, int64_t batch, int64_t kv, bool threads) {
  const int64_t group = a.heads / a.kv_heads, pitch = score_pitch<T>(a);
  Packed<T> keys_t(a.width, a.cols), keys(a.cols, a.width), values_t(a.value_width, a.cols);
  const Mat<T> k = matrix<T>(a.k, batch, kv), v = matrix<T>(a.v, batch, kv);
  keys_t.fill({k.p, k.col, k.row});
  keys.fill(k);
  values_t.fill({v.p, v.col, v.row});
  Scratch<T> p(kRows * pitch), dp(kRows * pitch);
  T* dk = static_cast<T*>(a.dk) + (batch * a.kv_heads + kv) * a.cols * a.width;
  T* dv = static_cast<T*>(a.dv) + (batch * a.kv_heads + kv) * a.cols * a.value_width;
  memset(dk, 0, static_cast<size_t>(a.cols * a.width) * sizeof(T));
  memset(dv, 0, static_cast<size_t>(a.cols * a.value_width) * sizeof(T));
  const T scale = static_cast<T>(a.scale);
  for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
    T* dq = static_cast<T*>(a.dq) + (batch * a.heads + head) * a.rows * a.width;
    const T* lse = static_cast<const T*>(a.lse) + (batch * a.heads + head) * a.rows;
    for (int64_t row = 0; row < a.rows; row += kRows) {
      const int64_t m = least(kRows, a.rows - row), cols = visible(a, row, m);
      const Mat<T> q = matrix<T>(a.q, batch, head, row), g = matrix<T>(a.grad, batch, head, row),
                   y = matrix<T>(a.y, batch, head, row);
      keys_t.multiply(m, q, a.width, cols, p.p, pitch, scale);
      values_t.multiply(m, g, a.value_width, cols, dp.p, pitch, T(1));
      for (int64_t i = 0; i < m; ++i) {
        apply_mask(a, batch, head, row + i, cols, p.p + i * pitch);
        weights_and_slopes(p.p + i * pitch, dp.p + i * pitch, cols, lse[row + i],
                           dot_lanes(g.at(i, 0), y.at(i, 0), a.value_width));
      }
      keys.multiply(m, {dp.p, static_cast<ptrdiff_t>(pitch), 1}, cols, a.width, dq + row * a.width, a.width,
                    scale);
      accumulate(p.p, pitch, m, cols, g, a.value_width, dv, T(1), threads);
      accumulate(dp.p, pitch, m, cols, q, a.width, dk, scale, threads);
    }
  }
}

template <class T> void backward(const AttentionArgs& a) {
  const int64_t tasks = a.batch * a.kv_heads;
  if (tasks < num_threads()) {
    for (int64_t t = 0; t < tasks; ++t) backward_head<T>(a, t / a.kv_heads, t % a.kv_heads, true);
    return;
  }
  const int64_t work = a.rows * a.cols * (a.width + a.value_width) + 1;
  parallel_for(tasks, most<int64_t>(1, kParallelWork / 8 / work), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) backward_head<T>(a, t / a.kv_heads, t % a.kv_heads, false);
  });
}

// No keys: nothing takes part.
void zero(void* p, int64_t n, DType t) {
  if (n > 0) memset(p, 0, static_cast<size_t>(n) * size_of(t));
}

}  // namespace

void attention(const AttentionArgs& a) {
  if (a.batch <= 0 || a.heads <= 0 || a.rows <= 0) return;
  if (a.cols <= 0 || a.width <= 0 || a.value_width <= 0)
    return zero(a.out, a.batch * a.heads * a.rows * a.value_width, a.dtype);
  a.dtype == DType::Float32 ? forward<float>(a) : forward<double>(a);
}

void attention_grad(const AttentionArgs& a) {
  if (a.batch <= 0 || a.heads <= 0) return;
  if (a.rows <= 0 || a.cols <= 0 || a.width <= 0 || a.value_width <= 0) {
    zero(a.dq, a.batch * a.heads * a.rows * a.width, a.dtype);
    zero(a.dk, a.batch * a.kv_heads * a.cols * a.width, a.dtype);
    return zero(a.dv, a.batch * a.kv_heads * a.cols * a.value_width, a.dtype);
  }
  a.dtype == DType::Float32 ? backward<float>(a) : backward<double>(a);
}

}  // namespace chainrule::CR_ISA
