// The arithmetic follows PyTorch's single-tensor steps, operation by operation, in one pass over memory.
#include "kernels/optim.h"

#include "kernels/reduce_loops.h"
#include "kernels/rows.h"
#include "simd/math.h"

namespace chainrule::CR_ISA {
namespace {

constexpr int64_t update_block = 16384;

constexpr int64_t blocks_of(int64_t elements, int64_t block) { return (elements + block - 1) / block; }

// f(tensor, begin, end, piece) over pieces of all tensors, numbered through, at most `block` elements each.
template <int64_t block, class F> void each_piece(int64_t count, const int64_t* sizes, const F& f) {
  int64_t pieces = 0, elements = 0;
  for (int64_t t = 0; t < count; ++t) {
    pieces += blocks_of(sizes[t], block);
    elements += sizes[t];
  }
  // Many small tensors make one task of about a block.
  const int64_t grain = elements > 0 ? 1 + pieces * block / (2 * elements + 1) : 1;
  parallel_for(pieces, elements <= 2 * block ? pieces : grain, [&](int64_t begin, int64_t end) {
    int64_t piece = 0;
    for (int64_t t = 0; t < count && piece < end; ++t) {
      const int64_t here = blocks_of(sizes[t], block);
      for (int64_t k = piece < begin ? begin - piece : 0; k < here && piece + k < end; ++k) {
        const int64_t first = k * block, left = sizes[t] - first;
        f(t, first, first + (left < block ? left : block), piece + k);
      }
      piece += here;
    }
  });
}

template <class T> void sgd_typed(const SgdArgs& a) {
  const Vec<T> momentum = static_cast<T>(a.momentum), fresh = static_cast<T>(1 - a.dampening);
  const Vec<T> decay = static_cast<T>(a.weight_decay), step = static_cast<T>(-a.lr);
  each_piece<update_block>(a.count, a.sizes, [&](int64_t t, int64_t begin, int64_t end, int64_t) {
    T* param = static_cast<T*>(a.params[t]);
    const T* grad = static_cast<const T*>(a.grads[t]);
    T* buffer = a.buffers != nullptr ? static_cast<T*>(a.buffers[t]) : nullptr;
    const bool first = buffer != nullptr && a.first[t];
    each_vector<T>(begin, end, [&](int64_t i, int n) CR_LAMBDA_INLINE {
      const Vec<T> p = Vec<T>::load_halves(param + i, n);
      Vec<T> g = Vec<T>::load_halves(grad + i, n);
      if (a.maximize) g = -g;
      if (a.weight_decay != 0) g = fma(p, decay, g);
      if (buffer != nullptr) {
        const Vec<T> b = first ? g : fma(g, fresh, Vec<T>::load_halves(buffer + i, n) * momentum);
        b.store(buffer + i, n);
        g = a.nesterov ? fma(b, momentum, g) : b;
      }
      fma(g, step, p).store(param + i, n);
    });
  });
}

template <class T> void adam_typed(const AdamArgs& a) {
  const Vec<T> beta2 = static_cast<T>(a.beta2), decay = static_cast<T>(a.weight_decay),
               eps = static_cast<T>(a.eps);
  const Vec<T> fresh1 = static_cast<T>(1 - a.beta1), fresh2 = static_cast<T>(1 - a.beta2);
  const Vec<T> shrink = static_cast<T>(1 - a.lr * a.weight_decay);
  struct Correction {
    int64_t steps;
    Vec<T> step, root;
  };
  auto correction_after = [&](int64_t steps) {
    const Vec<double> n = static_cast<double>(steps);
    const double first = (1 - pow(Vec<double>(a.beta1), n))[0],
                 second = (1 - pow(Vec<double>(a.beta2), n))[0];
    return Correction{steps, static_cast<T>(-(a.lr / first)), static_cast<T>(__builtin_sqrt(second))};
  };
  const Correction usual = correction_after(a.steps[0]);  // that of nearly every parameter
  each_piece<update_block>(a.count, a.sizes, [&](int64_t t, int64_t begin, int64_t end, int64_t) {
    T* param = static_cast<T*>(a.params[t]);
    const T* grad = static_cast<const T*>(a.grads[t]);
    T *average = static_cast<T*>(a.averages[t]), *square = static_cast<T*>(a.squares[t]);
    T* largest = a.largest != nullptr ? static_cast<T*>(a.largest[t]) : nullptr;
    const Correction c = a.steps[t] == usual.steps ? usual : correction_after(a.steps[t]);
    each_vector<T>(begin, end, [&](int64_t i, int n) CR_LAMBDA_INLINE {
      Vec<T> p = Vec<T>::load(param + i, n), g = Vec<T>::load(grad + i, n);
      if (a.maximize) g = -g;
      if (a.weight_decay != 0) {
        if (a.decoupled)
          p = p * shrink;
        else
          g = fma(p, decay, g);
      }
      const Vec<T> before = Vec<T>::load(average + i, n);
      // Linear interpolation from the nearer end.
      const Vec<T> m = a.beta1 > 0.5 ? fma(fresh1, g - before, before) : fma(fresh1 - 1, g - before, g);
      Vec<T> v = fma(fresh2 * g, g, Vec<T>::load(square + i, n) * beta2);
      m.store(average + i, n);
      v.store(square + i, n);
      if (largest != nullptr) {
        v = max(Vec<T>::load(largest + i, n), v);
        v.store(largest + i, n);
      }
      (p + c.step * m / (sqrt(v) / c.root + eps)).store(param + i, n);
    });
  });
}

template <class T> struct SquaresOp : SumOp<T> {
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return fma(x, x, acc); }
};
// A tensor's sum has the order that reduce_array gives it; here all tensors' blocks share one parallel loop.
template <class T> void norm_typed(const MultiNormArgs& a) {
  constexpr int L = Vec<T>::lanes;
  const SquaresOp<T> op;
  int64_t pieces = 0;
  for (int64_t t = 0; t < a.count; ++t) pieces += blocks_of(a.sizes[t], reduce_grain);
  T* sums = static_cast<T*>(cr_alloc(static_cast<size_t>(pieces * L + a.count) * sizeof(T)));
  T* norms = sums + pieces * L;
  each_piece<reduce_grain>(a.count, a.sizes, [&](int64_t t, int64_t begin, int64_t end, int64_t piece) {
    reduce_row(op, static_cast<const T*>(a.tensors[t]) + begin, end - begin).store(sums + piece * L);
  });
  const T* next = sums;
  for (int64_t t = 0; t < a.count; ++t) {
    Tree<Vec<T>> tree;
    for (int64_t k = 0; k < blocks_of(a.sizes[t], reduce_grain); ++k, next += L)
      tree.push(Vec<T>::load(next), Plus<T>{});
    norms[t] = sqrt(Vec<T>(op.lanes(tree.finish(op.identity(), Plus<T>{}))))[0];
  }
  *static_cast<T*>(a.norm) = sqrt(Vec<T>(op.lanes(reduce_row(op, norms, a.count))))[0];
  cr_free(sums);
}

template <class T> void update_typed(const MultiUpdateArgs& a) {
  const Vec<T> value = static_cast<T>(a.value);
  const auto update = [&](const auto& f) {
    each_piece<update_block>(a.count, a.sizes, [&](int64_t t, int64_t begin, int64_t end, int64_t) {
      T* x = static_cast<T*>(a.tensors[t]);
      each_vector<T>(begin, end, [&](int64_t i, int n) CR_LAMBDA_INLINE { f(x + i, n).store(x + i, n); });
    });
  };
  switch (a.kind) {
    case MultiUpdateArgs::Scale:
      return update([&](const T* x, int n) CR_LAMBDA_INLINE { return Vec<T>::load(x, n) * value; });
    case MultiUpdateArgs::Clamp:
      return update([&](const T* x, int n)
                        CR_LAMBDA_INLINE { return max(min(Vec<T>::load(x, n), value), -value); });
    case MultiUpdateArgs::Fill: return update([&](const T*, int) CR_LAMBDA_INLINE { return value; });
  }
}

}  // namespace

void sgd_step(const SgdArgs& a) { a.dtype == DType::Float32 ? sgd_typed<float>(a) : sgd_typed<double>(a); }
void adam_step(const AdamArgs& a) {
  a.dtype == DType::Float32 ? adam_typed<float>(a) : adam_typed<double>(a);
}
void multi_norm(const MultiNormArgs& a) {
  a.dtype == DType::Float32 ? norm_typed<float>(a) : norm_typed<double>(a);
}
void multi_update(const MultiUpdateArgs& a) {
  a.dtype == DType::Float32 ? update_typed<float>(a) : update_typed<double>(a);
}

}  // namespace chainrule::CR_ISA
