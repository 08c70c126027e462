// Cross-entropy reads its logits twice, for the largest and for the sum; its gradient once more.
#include "kernels/loss.h"

#include "kernels/reduce_loops.h"
#include "kernels/rows.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

template <class T> struct RowSumExp : SumOp<T> {
  Vec<T> largest = T(0);
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return acc + exp(x - largest); }
};
template <class T> struct ColumnSumExp : SumOp<T> {
  Vec<T> largest[4] = {T(0), T(0), T(0), T(0)};
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int k = 0) const {
    return acc + exp(x - largest[k]);
  }
};
template <class T> CR_INLINE Vec<T> finite_or_zero(const Vec<T>& v) {
  return where(abs(v) == infinity<T>, 0, v);
}

// lse of each row [classes] or strip of columns.
template <class T> void log_sum_exp(const T* x, T* lse, int64_t n, int64_t classes, int64_t space) {
  constexpr int L = Vec<T>::lanes;
  constexpr int64_t width = 4 * L;
  if (space == 1) {
    parallel_for(n, 1 + reduce_grain / 4 / classes, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        RowSumExp<T> op;
        op.largest = finite_or_zero(largest_of(x + i * classes, classes));
        const Vec<T> sum = reduce_add(reduce_row(op, x + i * classes, classes));
        (log(sum) + op.largest).store(lse + i, 1);
      }
    });
    return;
  }
  const int64_t strips = (space + width - 1) / width;
  parallel_for(n * strips, 1 + reduce_grain / 4 / (classes * width), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int64_t i = s / strips, j = s % strips * width;
      const int count = static_cast<int>(space - j < width ? space - j : width);
      const T* from = x + i * classes * space + j;
      ColumnSumExp<T> op;
      Vec<T> sum[4];
      reduce_columns(MaxOp<T>{}, from, classes, space, count, op.largest);
      for (auto& v : op.largest) v = finite_or_zero(v);
      reduce_columns(op, from, classes, space, count, sum);
      for (int k = 0; k * L < count; ++k)
        (log(sum[k]) + op.largest[k])
            .store(lse + i * space + j + k * L, count - k * L < L ? count - k * L : L);
    }
  });
}

template <class T> void cross_entropy_typed(const CrossEntropyArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  T *loss = static_cast<T*>(a.loss), *row_weight = static_cast<T*>(a.row_weight),
    *lse = static_cast<T*>(a.lse);
  const int64_t classes = a.classes, space = a.space, rows = a.n * space;
  *a.bad = -1;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = a.target[r];
    if (t != a.ignore_index && (t < 0 || t >= classes)) {
      *a.bad = r;
      return;
    }
  }
  if (a.log_probabilities) {
    for (int64_t r = 0; r < rows; ++r) lse[r] = 0;
  } else if (classes > 0) {
    log_sum_exp(x, lse, a.n, classes, space);
  }
  const T smooth = classes > 0 ? static_cast<T>(a.smoothing / static_cast<double>(classes)) : T(0);
  const T keep = static_cast<T>(1 - a.smoothing);
  parallel_for(rows, a.smoothing == 0 ? reduce_grain : 1 + reduce_grain / 4 / (classes + 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   const int64_t t = a.target[r];
                   if (t == a.ignore_index) {
                     loss[r] = row_weight[r] = 0;
                     continue;
                   }
                   const T* from = x + r / space * classes * space + r % space;
                   const T w = weight != nullptr ? weight[t] : T(1);
                   row_weight[r] = w;
                   T value = w * (lse[r] - from[t * space]);
                   if (a.smoothing != 0) {
                     T all = 0;
                     if (space == 1) {
                       const auto step = [&](const Vec<T>& sum, int64_t i, int count) CR_LAMBDA_INLINE {
                         const Vec<T> d = lse[r] - Vec<T>::load(from + i, count);
                         return sum + (weight != nullptr ? Vec<T>::load(weight + i, count) * d : d);
                       };
                       all = reduce_add(fold_row<T>(T(0), classes, step, Plus<T>{}));
                     } else {
                       for (int64_t c = 0; c < classes; ++c)
                         all += (weight != nullptr ? weight[c] : T(1)) * (lse[r] - from[c * space]);
                     }
                     value = keep * value + smooth * all;
                   }
                   loss[r] = value;
                 }
               });
  const auto plain = [](const Vec<T>& v, int64_t, int64_t) CR_LAMBDA_INLINE { return v; };
  T *total = static_cast<T*>(a.total), *total_weight = static_cast<T*>(a.total_weight);
  if (total == nullptr) return;
  reduce_array(SumOp<T>{}, loss, total, 1, rows, 1, plain);
  reduce_array(SumOp<T>{}, row_weight, total_weight, 1, rows, 1, plain);
  if (a.mean) *total = *total / *total_weight;
}

// d loss / d x_c = (1 - s) w_t (p_c - [c == t]) + s / classes * (p_c sum(w) - w_c), times the row's gradient;
// without the softmax p_c is 0.
template <class T> void cross_entropy_grad_typed(const CrossEntropyGradArgs& a) {
  const T *x = static_cast<const T*>(a.x), *weight = static_cast<const T*>(a.weight);
  const T *lse = static_cast<const T*>(a.lse), *grad = static_cast<const T*>(a.grad);
  const T* total_weight = static_cast<const T*>(a.total_weight);
  T* dx = static_cast<T*>(a.dx);
  constexpr int L = Vec<T>::lanes;
  const int64_t classes = a.classes, space = a.space;
  if (classes == 0 || space == 0) return;
  const T smooth = static_cast<T>(a.smoothing / static_cast<double>(classes)),
          keep = static_cast<T>(1 - a.smoothing);
  T weight_sum = static_cast<T>(classes);
  if (weight != nullptr) {
    weight_sum = 0;
    for (int64_t c = 0; c < classes; ++c) weight_sum += weight[c];
  }
  const auto row_grad = [&](int64_t r) CR_LAMBDA_INLINE {
    if (a.target[r] == a.ignore_index) return T(0);
    const T g = a.scalar_grad ? *grad : grad[r];
    return total_weight != nullptr ? g / *total_weight : g;
  };
  // of p_c: what multiplies the softmax in row r.
  const auto scale_of = [&](int64_t r) CR_LAMBDA_INLINE {
    const int64_t t = a.target[r];
    if (a.log_probabilities || t == a.ignore_index) return T(0);
    return row_grad(r) * (keep * (weight != nullptr ? weight[t] : T(1)) + smooth * weight_sum);
  };
  const auto of_target = [&](int64_t r) CR_LAMBDA_INLINE {
    return row_grad(r) * keep * (weight != nullptr ? weight[a.target[r]] : T(1));
  };
  const bool streamed = streams(dx, a.n * classes * space, classes);
  const int64_t grain = 1 + reduce_grain / 4 / (classes * space);
  parallel_for(a.n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (space == 1) {
        const T* from = x + i * classes;
        T* to = dx + i * classes;
        const int64_t t = a.target[i];
        if (t == a.ignore_index) {  // zero also where the logits are not finite
          write_row(to, classes, streamed, [](int64_t, int) CR_LAMBDA_INLINE { return Vec<T>(T(0)); });
          continue;
        }
        const Vec<T> scale = scale_of(i), l = lse[i], away = row_grad(i) * smooth;
        const auto value = [&](int64_t c, int count) CR_LAMBDA_INLINE {
          Vec<T> v = T(0);
          if (!a.log_probabilities) v = scale * exp(Vec<T>::load(from + c, count) - l);
          if (a.smoothing != 0)
            v = v - away * (weight != nullptr ? Vec<T>::load(weight + c, count) : Vec<T>(T(1)));
          return v;
        };
        // The vector that holds the target's class, and the others around it.
        const int64_t at = t / L * L, after = classes - at < L ? classes : at + L;
        const Vec<T> v = value(at, static_cast<int>(after - at));
        const Vec<T> with_target = where(Vec<T>::iota() == static_cast<T>(t - at), v - of_target(i), v);
        write_row(to, at, streamed, value);
        put(with_target, to + at, static_cast<int>(after - at), streamed);
        write_row(to + after, classes - after, streamed,
                  [&](int64_t c, int count) CR_LAMBDA_INLINE { return value(after + c, count); });
        continue;
      }
      for (int64_t j = 0; j < space; j += L) {
        const int count = static_cast<int>(space - j < L ? space - j : L);
        T scales[L] = {}, aways[L] = {}, used[L] = {};
        for (int k = 0; k < count; ++k) {
          const int64_t r = i * space + j + k;
          scales[k] = scale_of(r);
          aways[k] = row_grad(r) * smooth;
          used[k] = a.target[r] != a.ignore_index ? T(1) : T(0);
        }
        const Vec<T> scale = Vec<T>::load(scales), away = Vec<T>::load(aways);
        const Vec<T> l = Vec<T>::load(lse + i * space + j, count);
        const Mask<T> use = Vec<T>::load(used) != 0;
        for (int64_t c = 0; c < classes; ++c) {
          const int64_t at = (i * classes + c) * space + j;
          Vec<T> v = T(0);
          if (!a.log_probabilities) v = scale * exp(Vec<T>::load(x + at, count) - l);
          if (a.smoothing != 0) v = v - away * Vec<T>(weight != nullptr ? weight[c] : T(1));
          where(use, v, 0).store(dx + at, count);
        }
      }
      for (int64_t j = 0; j < space; ++j) {
        const int64_t r = i * space + j, t = a.target[r];
        if (t != a.ignore_index) dx[(i * classes + t) * space + j] -= of_target(r);
      }
    }
    if (streamed) native::stream_fence();
  });
}

template <class T> void embedding_grad_typed(const EmbeddingGradArgs& a) {
  const T* g = static_cast<const T*>(a.grad);
  T* d = static_cast<T*>(a.dtable);
  constexpr int L = Vec<T>::lanes;
  constexpr int64_t strip = 4 * L;
  int64_t* occurrences = nullptr;
  if (a.by_frequency) {
    occurrences = static_cast<int64_t*>(cr_alloc(static_cast<size_t>(a.rows + 1) * sizeof(int64_t)));
    for (int64_t r = 0; r < a.rows; ++r) occurrences[r] = 0;
    for (int64_t i = 0; i < a.count; ++i) ++occurrences[a.indices[i]];
  }
  const int64_t elements = a.rows * a.width;
  const bool streamed = streams(d, elements, elements);
  parallel_for(elements, reduce_grain, [&](int64_t begin, int64_t end) {
    write_row(d + begin, end - begin, streamed, [](int64_t, int) CR_LAMBDA_INLINE { return Vec<T>(T(0)); });
    if (streamed) native::stream_fence();
  });
  // Each task owns a strip of columns and walks all indices in order.
  const int64_t strips = (a.width + strip - 1) / strip;
  parallel_for(strips, 1 + reduce_grain / 4 / (a.count * strip + 1), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * strip, last = end * strip < a.width ? end * strip : a.width;
    for (int64_t i = 0; i < a.count; ++i) {
      const int64_t r = a.indices[i];
      if (r == a.padding) continue;
      const Vec<T> share = occurrences != nullptr ? T(1) / static_cast<T>(occurrences[r]) : T(1);
      for (int64_t j = first; j < last; j += L) {
        const int count = static_cast<int>(last - j < L ? last - j : L);
        fma(Vec<T>::load(g + i * a.width + j, count), share, Vec<T>::load(d + r * a.width + j, count))
            .store(d + r * a.width + j, count);
      }
    }
  });
  if (occurrences != nullptr) cr_free(occurrences);
}

}  // namespace

void cross_entropy(const CrossEntropyArgs& a) {
  a.dtype == DType::Float32 ? cross_entropy_typed<float>(a) : cross_entropy_typed<double>(a);
}
void cross_entropy_grad(const CrossEntropyGradArgs& a) {
  a.dtype == DType::Float32 ? cross_entropy_grad_typed<float>(a) : cross_entropy_grad_typed<double>(a);
}
void embedding(const EmbeddingArgs& a) {
  *a.bad = -1;
  for (int64_t i = 0; i < a.count; ++i)
    if (a.indices[i] < 0 || a.indices[i] >= a.rows) {
      *a.bad = i;
      return;
    }
  const size_t bytes = static_cast<size_t>(a.row_bytes);
  parallel_for(a.count, 1 + 4 * reduce_grain / (a.row_bytes + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(static_cast<char*>(a.out) + static_cast<size_t>(i) * bytes,
                  static_cast<const char*>(a.table) + static_cast<size_t>(a.indices[i]) * bytes, bytes);
  });
}
void embedding_grad(const EmbeddingGradArgs& a) {
  a.dtype == DType::Float32 ? embedding_grad_typed<float>(a) : embedding_grad_typed<double>(a);
}

}  // namespace chainrule::CR_ISA
