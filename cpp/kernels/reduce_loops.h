// The loops of a floating reduction, shared by the kernels that reduce: an operation `Op` on Vec<T> gives
//   identity(), step(acc, x), combine(a, b), lanes(v): the tree over one vector's lanes,
// and state that differs by output through at(o, j, count).
#pragma once
#include "core/alloc.h"
#include "core/parallel_for.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {

inline constexpr int64_t reduce_grain = 32768;  // elements a task

// Pairwise combination of a sequence, whatever its length, in the order of a binary counter.
template <class V> struct Tree {
  V stack[48];
  uint64_t count = 0;

  template <class F> CR_INLINE void push(V v, const F& combine) {
    int level = 0;
    for (; (count >> level) & 1; ++level) v = combine(stack[level], v);
    stack[level] = v;
    ++count;
  }
  template <class F> CR_INLINE V finish(const V& identity, const F& combine) const {
    V v = identity;
    bool first = true;
    for (int level = 0; count >> level; ++level) {
      if (!((count >> level) & 1)) continue;
      v = first ? stack[level] : combine(stack[level], v);
      first = false;
    }
    return v;
  }
};

// The elements [begin, end) of a row, up to 128 vectors, in four interleaved chains: step(acc, i, count) takes the lanes
// from i on into acc.
template <class T, class Step, class Combine>
CR_INLINE Vec<T> fold_block(const Vec<T>& identity, int64_t begin, int64_t end, const Step& step,
                            const Combine& combine) {
  constexpr int L = Vec<T>::lanes;
  Vec<T> a0 = identity, a1 = a0, a2 = a0, a3 = a0;
  int64_t i = begin;
  for (; i + 4 * L <= end; i += 4 * L) {
    a0 = step(a0, i, L);
    a1 = step(a1, i + L, L);
    a2 = step(a2, i + 2 * L, L);
    a3 = step(a3, i + 3 * L, L);
  }
  // Up to four more, the last in part. Chain by chain: one that is picked by number would live in memory.
  const auto take = [&](const Vec<T>& acc) CR_LAMBDA_INLINE {
    const int count = static_cast<int>(end - i < L ? end - i : L);
    const Vec<T> next = where(Mask<T>::first(count), step(acc, i, count), acc);
    i += L;
    return next;
  };
  if (i < end) a0 = take(a0);
  if (end - begin <= L) return a0;  // the other chains are identities
  if (i < end) a1 = take(a1);
  if (i < end) a2 = take(a2);
  if (i < end) a3 = take(a3);
  return combine(combine(a0, a1), combine(a2, a3));
}
// A row of n in blocks of 128 vectors and their tree.
template <class T, class Step, class Combine>
CR_INLINE Vec<T> fold_row(const Vec<T>& identity, int64_t n, const Step& step, const Combine& combine) {
  constexpr int64_t block = 128 * Vec<T>::lanes;
  Tree<Vec<T>> tree;
  for (int64_t i = 0; i == 0 || i < n; i += block) {
    const Vec<T> v = fold_block<T>(identity, i, n - i < block ? n : i + block, step, combine);
    if (n <= block) return v;
    tree.push(v, combine);
  }
  return tree.finish(identity, combine);
}
template <class T> struct Plus {
  CR_INLINE Vec<T> operator()(const Vec<T>& a, const Vec<T>& b) const { return a + b; }
};

template <class T, class Op> inline Vec<T> reduce_row(const Op& op, const T* x, int64_t n) {
  return fold_row<T>(
      op.identity(), n,
      [&](const Vec<T>& acc, int64_t i, int count) CR_LAMBDA_INLINE {
        return op.step(acc, count == Vec<T>::lanes ? Vec<T>::load(x + i) : Vec<T>::load(x + i, count));
      },
      [&](const Vec<T>& a, const Vec<T>& b) CR_LAMBDA_INLINE { return op.combine(a, b); });
}

// The largest of a row, for where a NaN reaches every result through the sum anyway.
template <class T> CR_INLINE Vec<T> largest_of(const T* x, int64_t n) {
  const auto larger = [](const Vec<T>& a, const Vec<T>& b) CR_LAMBDA_INLINE { return greater(a, b); };
  return reduce_max(fold_row<T>(
      Vec<T>(-static_cast<T>(__builtin_inf())), n,
      [&](const Vec<T>& acc, int64_t i, int count)
          CR_LAMBDA_INLINE { return larger(acc, Vec<T>::load(x + i, count)); },
      larger));
}

// count columns (at most 4 vectors of them) over n rows that lie `stride` apart: blocks of 64 rows in a tree.
template <class T, class Op>
inline void reduce_columns(const Op& op, const T* x, int64_t n, int64_t stride, int count, Vec<T>* result) {
  constexpr int L = Vec<T>::lanes;
  const int vectors = (count + L - 1) / L, tail = count - (vectors - 1) * L;
  struct Strip { Vec<T> v[4]; };
  const auto combine = [&](const Strip& a, const Strip& b) CR_LAMBDA_INLINE {
    return Strip{{op.combine(a.v[0], b.v[0]), op.combine(a.v[1], b.v[1]), op.combine(a.v[2], b.v[2]),
                  op.combine(a.v[3], b.v[3])}};
  };
  const auto block = [&](const T* p, int64_t rows) CR_LAMBDA_INLINE {
    const Vec<T> identity = op.identity();
    Vec<T> a0 = identity, a1 = identity, a2 = identity, a3 = identity;
    if (vectors == 4 && tail == L) {
      for (int64_t i = 0; i < rows; ++i, p += stride) {
        a0 = op.step(a0, Vec<T>::load_halves(p), 0);
        a1 = op.step(a1, Vec<T>::load_halves(p + L), 1);
        a2 = op.step(a2, Vec<T>::load_halves(p + 2 * L), 2);
        a3 = op.step(a3, Vec<T>::load_halves(p + 3 * L), 3);
      }
    } else {
      for (int64_t i = 0; i < rows; ++i, p += stride) {
        a0 = op.step(a0, vectors == 1 ? Vec<T>::load(p, tail) : Vec<T>::load(p), 0);
        if (vectors > 1) a1 = op.step(a1, vectors == 2 ? Vec<T>::load(p + L, tail) : Vec<T>::load(p + L), 1);
        if (vectors > 2)
          a2 = op.step(a2, vectors == 3 ? Vec<T>::load(p + 2 * L, tail) : Vec<T>::load(p + 2 * L), 2);
        if (vectors > 3) a3 = op.step(a3, Vec<T>::load(p + 3 * L, tail), 3);
      }
    }
    return Strip{{a0, a1, a2, a3}};
  };
  Tree<Strip> tree;
  Strip s;
  for (int64_t i = 0; i == 0 || i < n; i += 64) {
    s = block(x + i * stride, n - i < 64 ? n - i : 64);
    if (n > 64) tree.push(s, combine);
  }
  if (n > 64) s = tree.finish(s, combine);
  for (int k = 0; k < vectors; ++k) result[k] = s.v[k];
}

// Where x [outer, n, inner] lies: elements from one outer index to the next, and from one row of `inner` to the next.
struct Strides { int64_t outer, row; };

// Reduces x [outer, n, inner] to out [outer, inner]. finish(v, o, j) turns the reduced value into the result, for the
// vector of outputs that starts at column j (one output when inner == 1).
template <class T, class Op, class Finish>
void reduce_array(Op op, const T* x, T* out, int64_t outer, int64_t n, int64_t inner, const Finish& finish,
                  Strides strides) {
  constexpr int L = Vec<T>::lanes;
  if (outer == 0 || inner == 0) return;
  if (inner == 1) {
    const int64_t chunks = (n + reduce_grain - 1) / reduce_grain;
    const auto one = [&](Op row_op, int64_t o, const Vec<T>& v)
                         CR_LAMBDA_INLINE { out[o] = finish(Vec<T>(row_op.lanes(v)), o, 0).r[0][0]; };
    if (chunks <= 1) {
      parallel_for(outer, n > 0 ? 1 + (reduce_grain - 1) / n : reduce_grain, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          Op row_op = op;
          row_op.at(o, 0, 1);
          one(row_op, o, reduce_row(row_op, x + o * strides.outer, n));
        }
      });
      return;
    }
    T* partial = static_cast<T*>(cr_alloc(static_cast<size_t>(outer * chunks) * vector_bytes));
    parallel_for(outer * chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t o = i / chunks, start = i % chunks * reduce_grain;
        Op row_op = op;
        row_op.at(o, 0, 1);
        reduce_row(row_op, x + o * strides.outer + start, n - start < reduce_grain ? n - start : reduce_grain)
            .store(partial + i * L);
      }
    });
    const auto combine = [&](const Vec<T>& a, const Vec<T>& b) CR_LAMBDA_INLINE { return op.combine(a, b); };
    for (int64_t o = 0; o < outer; ++o) {
      Tree<Vec<T>> tree;
      for (int64_t c = 0; c < chunks; ++c) tree.push(Vec<T>::load(partial + (o * chunks + c) * L), combine);
      one(op, o, tree.finish(op.identity(), combine));
    }
    cr_free(partial);
    return;
  }

  const int64_t strip = 4 * L, strips = (inner + strip - 1) / strip;
  // Rows a task: 64 times a power of two, so that the tree over tasks continues the tree within one.
  int64_t rows = 64;
  while (rows * (inner < strip ? inner : strip) < reduce_grain) rows *= 2;
  const int64_t chunks = n > rows ? (n + rows - 1) / rows : 1;
  T* partial = chunks > 1 ? static_cast<T*>(cr_alloc(static_cast<size_t>(outer * chunks * inner) * sizeof(T)))
                          : nullptr;
  const int64_t work = (n < rows ? n : rows) * (inner < strip ? inner : strip);
  parallel_for(outer * chunks * strips, 1 + reduce_grain / (work + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t s = i % strips, c = i / strips % chunks, o = i / strips / chunks, j = s * strip;
      const int count = static_cast<int>(inner - j < strip ? inner - j : strip);
      Op column_op = op;
      column_op.at(o, j, count);
      Vec<T> v[4];
      const int64_t first = c * rows;
      reduce_columns(column_op, x + o * strides.outer + first * strides.row + j,
                     chunks == 1 ? n : (n - first < rows ? n - first : rows), strides.row, count, v);
      for (int k = 0; k * L < count; ++k) {
        const int lanes = count - k * L < L ? count - k * L : L;
        if (partial != nullptr)
          v[k].store(partial + (o * chunks + c) * inner + j + k * L, lanes);
        else
          finish(v[k], o, j + k * L).store(out + o * inner + j + k * L, lanes);
      }
    }
  });
  if (partial == nullptr) return;
  const auto combine = [&](const Vec<T>& a, const Vec<T>& b) CR_LAMBDA_INLINE { return op.combine(a, b); };
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t j = 0; j < inner; j += L) {
      const int lanes = static_cast<int>(inner - j < L ? inner - j : L);
      Tree<Vec<T>> tree;
      for (int64_t c = 0; c < chunks; ++c)
        tree.push(Vec<T>::load(partial + (o * chunks + c) * inner + j, lanes), combine);
      finish(tree.finish(op.identity(), combine), o, j).store(out + o * inner + j, lanes);
    }
  cr_free(partial);
}

template <class T, class Op, class Finish>
void reduce_array(Op op, const T* x, T* out, int64_t outer, int64_t n, int64_t inner, const Finish& finish) {
  reduce_array(op, x, out, outer, n, inner, finish, Strides{n * inner, inner});
}

// An operation without state.
struct Stateless {
  CR_INLINE void at(int64_t, int64_t, int) {}
};
template <class T> struct SumOp : Stateless {
  CR_INLINE Vec<T> identity() const { return T(0); }
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return acc + x; }
  CR_INLINE Vec<T> combine(const Vec<T>& a, const Vec<T>& b) const { return a + b; }
  CR_INLINE T lanes(const Vec<T>& v) const { return reduce_add(v); }
};
template <class T> struct MaxOp : Stateless {
  CR_INLINE Vec<T> identity() const { return -static_cast<T>(__builtin_inf()); }
  CR_INLINE Vec<T> step(const Vec<T>& acc, const Vec<T>& x, int = 0) const { return max(acc, x); }
  CR_INLINE Vec<T> combine(const Vec<T>& a, const Vec<T>& b) const { return max(a, b); }
  CR_INLINE T lanes(const Vec<T>& v) const { return reduce_max(v); }
};
// One value of state an output: the same in all lanes along a row, a vector of them along columns.
template <class T> struct WithState {
  const T* state;
  int64_t inner;
  Vec<T> s[4] = {T(0), T(0), T(0), T(0)};
  CR_INLINE void at(int64_t o, int64_t j, int count) {
    constexpr int L = Vec<T>::lanes;
    if (inner == 1) {
      s[0] = state[o];
      return;
    }
    for (int k = 0; k < 4; ++k) {
      const int left = count - k * L;
      s[k] = left > 0 ? Vec<T>::load(state + o * inner + j + k * L, left < L ? left : L) : Vec<T>(T(0));
    }
  }
};

// Two sums at once over terms that f(i, count, a, b) computes for the lanes from i on: blocks of 64 vectors in two
// chains, blocks in a tree, as reduce_row. Terms of lanes past count must be zero.
template <class T> struct Sums { T first, second; };
template <class T, class F> inline Sums<T> reduce_terms(int64_t n, const F& f) {
  constexpr int L = Vec<T>::lanes;
  constexpr int64_t block = 64 * L;
  struct Pair { Vec<T> a, b; };
  const auto combine = [](const Pair& p, const Pair& q)
                           CR_LAMBDA_INLINE { return Pair{p.a + q.a, p.b + q.b}; };
  const Pair zero{T(0), T(0)};
  Tree<Pair> tree;
  for (int64_t start = 0; start < n; start += block) {
    const int64_t end = start + block < n ? start + block : n;
    Pair even = zero, odd = zero;
    int64_t i = start;
    for (; i + 2 * L <= end; i += 2 * L) {
      Vec<T> a, b;
      f(i, L, a, b);
      even = combine(even, Pair{a, b});
      f(i + L, L, a, b);
      odd = combine(odd, Pair{a, b});
    }
    // Up to two more. A sum that is picked by its address would live in memory.
    const auto take = [&](const Pair& sum) CR_LAMBDA_INLINE {
      Vec<T> a, b;
      f(i, static_cast<int>(end - i < L ? end - i : L), a, b);
      i += L;
      return combine(sum, Pair{a, b});
    };
    if (i < end) even = take(even);
    if (i < end) odd = take(odd);
    even = combine(even, odd);
    if (n <= block) return {reduce_add(even.a), reduce_add(even.b)};
    tree.push(even, combine);
  }
  const Pair sum = tree.finish(zero, combine);
  return {reduce_add(sum.a), reduce_add(sum.b)};
}

}  // namespace chainrule::CR_ISA
