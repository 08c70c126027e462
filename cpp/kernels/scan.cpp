// The kernels that walk along a dimension and keep what they pass: argmax, argmin, cumsum, cumprod.
#include "core/parallel_for.h"
#include "kernels/reduce.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {
namespace {

constexpr int64_t task_elements = 32768;

// Whether v comes before best: strictly larger (smaller), or the first NaN.
template <bool largest, class T> CR_INLINE bool beats(T v, T best) {
  if (best != best) return false;
  return v != v || (largest ? v > best : v < best);
}
template <bool largest, class T> CR_INLINE Mask<T> beats(const Vec<T>& v, const Vec<T>& best) {
  return ((largest ? v > best : v < best) | isnan(v)) & ~isnan(best);
}

template <class T> struct IndexOf { using type = int64_t; };
template <> struct IndexOf<float> { using type = int32_t; };

template <bool largest, class T> void arg_row(const T* x, int64_t n, T* value, int64_t* index) {
  T best = x[0];
  int64_t at = 0;
  if constexpr (T(0.5) != T(0)) {
    using I = typename IndexOf<T>::type;
    constexpr int L = Vec<T>::lanes;
    constexpr int64_t piece = int64_t(1) << 30;  // so that an index within it fits
    for (int64_t start = 0; start < n; start += piece) {
      const int64_t count = n - start < piece ? n - start : piece, whole = count / L * L;
      const T* p = x + start;
      if (whole > 0) {
        Vec<T> v = Vec<T>::load(p);
        Vec<I> where_it_is = Vec<I>::iota(), i = where_it_is;
        for (int64_t k = L; k < whole; k += L) {
          const Vec<T> next = Vec<T>::load(p + k);
          i += I(L);
          const Mask<T> m = beats<largest>(next, v);
          v = where(m, next, v);
          where_it_is = where(m.template as<I>(), i, where_it_is);
        }
        T values[L];
        I indices[L];
        v.store(values);
        where_it_is.store(indices);
        for (int lane = 0; lane < L; ++lane) {
          const int64_t k = start + indices[lane];
          const bool same = values[lane] == best || (values[lane] != values[lane] && best != best);
          if (beats<largest>(values[lane], best) || (same && k < at)) best = values[lane], at = k;
        }
      }
      for (int64_t k = whole; k < count; ++k)
        if (beats<largest>(p[k], best)) best = p[k], at = start + k;
    }
  } else {
    for (int64_t k = 1; k < n; ++k)
      if (beats<largest>(x[k], best)) best = x[k], at = k;
  }
  *value = best;
  *index = at;
}

template <bool largest, class T> void arg_typed(const ArgReduceArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  T* values = static_cast<T*>(a.values);
  const int64_t n = a.n, inner = a.inner;
  if (inner == 1 && a.outer == 1 && n > task_elements) {
    // One long row: by pieces, then over their results.
    constexpr int most = 64;
    const int64_t piece = (n + most - 1) / most > task_elements ? (n + most - 1) / most : task_elements;
    T best[most];
    int64_t at[most];
    parallel_for(n, piece, [&](int64_t begin, int64_t end) {
      arg_row<largest>(x + begin, end - begin, best + begin / piece, at + begin / piece);
    });
    T value = best[0];
    int64_t index = at[0];
    for (int64_t c = 1; c * piece < n; ++c)
      if (beats<largest>(best[c], value)) value = best[c], index = c * piece + at[c];
    if (values != nullptr) *values = value;
    *a.indices = index;
    return;
  }
  if (inner == 1) {
    parallel_for(a.outer, 1 + task_elements / n, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        T value;
        arg_row<largest>(x + o * n, n, &value, a.indices + o);
        if (values != nullptr) values[o] = value;
      }
    });
    return;
  }
  constexpr int64_t strip = 64;
  const int64_t strips = (inner + strip - 1) / strip;
  parallel_for(a.outer * strips, 1 + task_elements / (n * (inner < strip ? inner : strip)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t s = begin; s < end; ++s) {
                   const int64_t o = s / strips, j = s % strips * strip,
                                 count = inner - j < strip ? inner - j : strip;
                   const T* p = x + o * n * inner + j;
                   T best[strip];
                   int64_t at[strip];
                   for (int64_t k = 0; k < count; ++k) best[k] = p[k], at[k] = 0;
                   for (int64_t r = 1; r < n; ++r) {
                     p += inner;
                     for (int64_t k = 0; k < count; ++k) {
                       const bool better = beats<largest>(p[k], best[k]);
                       best[k] = better ? p[k] : best[k];
                       at[k] = better ? r : at[k];
                     }
                   }
                   for (int64_t k = 0; k < count; ++k) {
                     a.indices[o * inner + j + k] = at[k];
                     if (values != nullptr) values[o * inner + j + k] = best[k];
                   }
                 }
               });
}

// R neighbouring rows of n at a time: each is a chain of steps that wait for each other. `at` steps by 1 or -1.
template <int R, class T, class Out, class Step>
void scan_rows(const T* from, Out* to, int64_t n, int64_t step, Out start, const Step& f) {
  Out acc[R];
  for (int r = 0; r < R; ++r) acc[r] = start;
  for (int64_t i = 0, at = 0; i < n; ++i, at += step)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) to[at + r * n] = acc[r] = f(acc[r], static_cast<Out>(from[at + r * n]));
}

template <class T, class Out, bool product> void scan_typed(const ScanArgs& a) {
  const T* x = static_cast<const T*>(a.x);
  Out* out = static_cast<Out*>(a.out);
  const int64_t n = a.n, inner = a.inner;
  if (n == 0 || inner == 0) return;
  const auto f = [](Out p, Out q) { return static_cast<Out>(product ? p * q : p + q); };
  parallel_for(a.outer, 1 + task_elements / (n * inner), [&](int64_t begin, int64_t end) {
    int64_t o = begin;
    if (inner == 1) {
      constexpr int R = 4;
      const int64_t first = a.reverse ? n - 1 : 0, step = a.reverse ? -1 : 1;
      const Out start = product ? Out(1) : Out(0);
      for (; o + R <= end; o += R) scan_rows<R>(x + o * n + first, out + o * n + first, n, step, start, f);
      for (; o < end; ++o) scan_rows<1>(x + o * n + first, out + o * n + first, n, step, start, f);
      return;
    }
    for (; o < end; ++o) {
      const int64_t first = a.reverse ? n - 1 : 0, step = a.reverse ? -inner : inner;
      const T* from = x + (o * n + first) * inner;
      Out* to = out + (o * n + first) * inner;
      for (int64_t j = 0; j < inner; ++j) to[j] = static_cast<Out>(from[j]);
      for (int64_t i = 1; i < n; ++i) {
        const Out* before = to;
        from += step, to += step;
        for (int64_t j = 0; j < inner; ++j) to[j] = f(before[j], static_cast<Out>(from[j]));
      }
    }
  });
}
template <class T, class Out> void scan_of(const ScanArgs& a) {
  a.product ? scan_typed<T, Out, true>(a) : scan_typed<T, Out, false>(a);
}
template <class T> void arg_of(const ArgReduceArgs& a) {
  a.largest ? arg_typed<true, T>(a) : arg_typed<false, T>(a);
}

}  // namespace

void arg_reduce(const ArgReduceArgs& a) {
  switch (a.dtype) {
    case DType::Float32: return arg_of<float>(a);
    case DType::Float64: return arg_of<double>(a);
    case DType::Int64: return arg_of<int64_t>(a);
    case DType::Int32: return arg_of<int32_t>(a);
    default: return arg_of<uint8_t>(a);
  }
}

void scan(const ScanArgs& a) {
  // Integers are added as unsigned numbers, which wrap.
  switch (a.dtype) {
    case DType::Float32: return scan_of<float, float>(a);
    case DType::Float64: return scan_of<double, double>(a);
    case DType::Int64: return scan_of<int64_t, uint64_t>(a);
    case DType::Int32: return scan_of<int32_t, uint64_t>(a);
    default: return scan_of<uint8_t, uint64_t>(a);
  }
}

}  // namespace chainrule::CR_ISA
