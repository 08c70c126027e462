#include "kernels/gemm.h"

#include "kernels/gemm_blocked.h"
#include "kernels/gemm_integer.h"

namespace chainrule::CR_ISA {
namespace {

// Up to so many multiplications take longer to plan than to do.
constexpr int64_t kFewProducts = 32;

// Element by element: of any strides, and for k == 0, too.
template <class T> void multiply_few(const Product<T>& p, ptrdiff_t c_col) {
  const T alpha = p.k == 0 ? T(0) : p.alpha;
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      T& c = p.c[i * p.ldc + j * c_col];
      const T *a = p.a.at(i, 0), *b = p.b.at(0, j);
      T y = 0;
      for (int64_t k = 0; k < p.k; ++k, a += p.a.col, b += p.b.row) y = fma_scalar(*a, *b, y);
      y = p.beta == T(0) ? alpha * y : fma_scalar(alpha, y, p.beta * c);
      if (p.row_bias) y += p.row_bias[i];
      if (p.col_bias) y += p.col_bias[j];
      c = p.relu && y <= T(0) ? T(0) : y;
    }
  }
}

template <class T> void multiply(const Product<T>& p, bool threads);

// c with gaps between its columns: through a dense copy.
template <class T> void multiply_scattered(Product<T> p, ptrdiff_t c_col, bool threads) {
  Scratch<T> dense(p.m * p.n);
  T* const c = p.c;
  const ptrdiff_t c_row = p.ldc;
  for (int64_t i = 0; p.beta != T(0) && i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) dense.p[i * p.n + j] = c[i * c_row + j * c_col];
  }
  p.c = dense.p;
  p.ldc = static_cast<ptrdiff_t>(p.n);
  multiply(p, threads);
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) c[i * c_row + j * c_col] = dense.p[i * p.n + j];
  }
}

template <class T> void multiply(const Product<T>& p, bool threads) {
  if (p.m == 1 && p.n == 1) return multiply_dot(p);
  // Splitting pays where the tiles of c alone would not occupy the threads.
  if (threads && p.k >= 4 * kBlockK && p.m * p.n <= 128 * 128 && p.m * p.n * p.k >= kProductWork && p.m > 1)
    return multiply_split(p);
  if (p.m == 1 && (p.b.col == 1 || p.b.row == 1)) return multiply_vector(p);
  multiply_tiles(p, threads && p.m * p.n * p.k >= kProductWork);
}

// Any strides of c: its transpose is the product of the transposes.
template <class T> void multiply_any(const Product<T>& p, ptrdiff_t c_col, bool threads) {
  if (p.m * p.n * p.k <= kFewProducts) return multiply_few(p, c_col);
  if (p.m == 1 && p.n == 1) c_col = 1;
  if ((p.n == 1 && p.m > 1) || (c_col != 1 && p.ldc == 1 && p.m > 1)) {
    Product<T> q = p;
    q.m = p.n;
    q.n = p.m;
    q.a = {p.b.p, p.b.col, p.b.row};
    q.b = {p.a.p, p.a.col, p.a.row};
    q.ldc = c_col;
    q.row_bias = p.col_bias;
    q.col_bias = p.row_bias;
    if (p.ldc == 1)
      multiply(q, threads);
    else
      multiply_scattered(q, p.ldc, threads);
  } else if (c_col == 1) {
    multiply(p, threads);
  } else {
    multiply_scattered(p, c_col, threads);
  }
}

template <class T> void gemm_floating(const GemmArgs& g) {
  const auto place = [&](Product<T>& p, int64_t i) {
    p.a.p = matrix_of(static_cast<const T*>(g.a), g.a_offsets, g.a_batch, i);
    p.b.p = matrix_of(static_cast<const T*>(g.b), g.b_offsets, g.b_batch, i);
    p.c = matrix_of(static_cast<T*>(g.c), g.c_offsets, g.c_batch, i);
  };
  const Product<T> form{g.m,
                        g.n,
                        g.k,
                        {nullptr, static_cast<ptrdiff_t>(g.a_row), static_cast<ptrdiff_t>(g.a_col)},
                        {nullptr, static_cast<ptrdiff_t>(g.b_row), static_cast<ptrdiff_t>(g.b_col)},
                        nullptr,
                        static_cast<ptrdiff_t>(g.c_row),
                        static_cast<T>(g.alpha),
                        static_cast<T>(g.beta),
                        static_cast<const T*>(g.row_bias),
                        static_cast<const T*>(g.col_bias),
                        g.relu};
  const ptrdiff_t c_col = static_cast<ptrdiff_t>(g.c_col);
  const auto run = [&](int64_t begin, int64_t end, bool threads) {
    Product<T> p = form;
    place(p, begin);
    if (!threads && p.m > 1 && p.n > 1 && p.m * p.n * p.k > kFewProducts && c_col == 1)
      return multiply_alike(p, [&](Product<T>& next) {
        if (++begin >= end) return false;
        place(next, begin);
        return true;
      });
    for (multiply_any(p, c_col, threads); ++begin < end; multiply_any(p, c_col, threads)) place(p, begin);
  };
  const int64_t work = g.m * g.n * most<int64_t>(g.k, 1);
  if (g.batch == 1 || (work >= kTaskWork && g.batch < 4 * num_threads())) return run(0, g.batch, true);
  parallel_for(g.batch, most<int64_t>(1, kTaskWork / 8 / work),
               [&](int64_t begin, int64_t end) { run(begin, end, false); });
}

}  // namespace

void gemm(const GemmArgs& g) {
  if (g.batch <= 0 || g.m <= 0 || g.n <= 0) return;
  switch (g.dtype) {
    case DType::Float32: return gemm_floating<float>(g);
    case DType::Float64: return gemm_floating<double>(g);
    case DType::Int64: return gemm_integer<int64_t>(g);
    case DType::Int32: return gemm_integer<int32_t>(g);
    default: return gemm_integer<uint8_t>(g);
  }
}

}  // namespace chainrule::CR_ISA
