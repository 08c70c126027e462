#include "kernels/copy.h"

#include "core/parallel_for.h"
#include "kernels/deinterleave.h"
#include "kernels/gemm_tile.h"
#include "kernels/rows.h"
#include "kernels/sizes.h"

namespace chainrule::CR_ISA {
namespace {

constexpr int64_t kBlockBytes = 128 << 10;  // a thread's share at a time
constexpr int64_t kStreamBytes = 40 << 20;  // read and written: more than caches keep
constexpr int64_t kStreamTransposed =
    4 << 20;  // written: a power of two between the rows evicts lines half written

// A position among the dimensions [0, ndim) of a copy, and where it lies in both.
struct Walk {
  const StridedCopyArgs& a;
  int ndim;
  int64_t index[kCopyDims], dst = 0, src = 0;

  [[gnu::noinline]] Walk(const StridedCopyArgs& args, int dims, int64_t at) : a(args), ndim(dims) {
    for (int d = ndim - 1; d >= 0; --d) {
      index[d] = at % a.sizes[d];
      at /= a.sizes[d];
      dst += index[d] * a.dst_strides[d];
      src += index[d] * a.src_strides[d];
    }
  }
  [[gnu::noinline]] void next() {
    for (int d = ndim - 1; d >= 0; --d) {
      dst += a.dst_strides[d];
      src += a.src_strides[d];
      if (++index[d] < a.sizes[d] || d == 0) return;
      dst -= index[d] * a.dst_strides[d];
      src -= index[d] * a.src_strides[d];
      index[d] = 0;
    }
  }
};

// n elements of both in a row.
template <class T> CR_INLINE void copy_row(T* dst, const T* src, int64_t n) {
  if constexpr (sizeof(T) ==
                1) {  // by registers: the library's copies are slow where only one side is aligned
    struct Part { char bytes[64]; };
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
      Part part;
      __builtin_memcpy(&part, src + i, 64);
      __builtin_memcpy(dst + i, &part, 64);
    }
    std::memcpy(dst + i, src + i, static_cast<size_t>(n - i));
  } else {
    each_vector<T>(n, [&](int64_t i, int count)
                          CR_LAMBDA_INLINE { Vec<T>::load(src + i, count).store(dst + i, count); });
  }
}

template <class T> void copy_flat(T* dst, const T* src, int64_t n) {
  constexpr int64_t kBlock = kBlockBytes / sizeof(T);
  const bool streams =
      2 * n * int64_t{sizeof(T)} > kStreamBytes && reinterpret_cast<uintptr_t>(dst) % 64 == 0;
  parallel_for(n, kBlock, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    if constexpr (sizeof(T) > 1) {
      if (streams) {
        for (; i + Vec<T>::lanes <= end; i += Vec<T>::lanes) Vec<T>::load(src + i).stream(dst + i);
        native::stream_fence();
      }
    }
    copy_row(dst + i, src + i, end - i);
  });
}

// One by one: the machine's gathers and scatters, which the compiler would take, are slower.
template <class T> [[gnu::noinline]] void copy_steps(T* dst, int64_t ds, const T* src, int64_t ss,
                                                     int64_t n) {
  for (int64_t i = 0; i < n; ++i, dst += ds, src += ss) {
    *dst = *src;
    asm volatile("");
  }
}

// dst[i] = src[step * i]
template <int step, class T> void copy_every(T* dst, const T* src, int64_t n) {
  int64_t i = 0;
  if constexpr (sizeof(T) > 1) {
    using X = Reg<T>;
    using L = LanesOf<X::W>;
    for (; i + X::W < n; i += X::W) {  // one less: the last register ends where src may
      const T* p = src + step * i;
      auto v = every_nth<step, 1>(X::load(p), X::load(p + X::W), L());
      if constexpr (step > 2) v = every_nth<step, 2>(v, X::load(p + 2 * X::W), L());
      if constexpr (step > 3) v = every_nth<step, 3>(v, X::load(p + 3 * X::W), L());
      X::store(dst + i, v);
    }
  }
  copy_steps(dst + i, 1, src + step * i, step, n - i);
}

// dst[i] = src[-i]
template <class T> void copy_backwards(T* dst, const T* src, int64_t n) {
  int64_t i = 0;
  if constexpr (sizeof(T) > 1) {
    using X = Reg<T>;
    for (; i + X::W <= n; i += X::W) X::store(dst + i, reversed(X::load(src - i - (X::W - 1))));
  } else {
    for (; i + 8 <= n; i += 8) {
      uint64_t bytes;
      __builtin_memcpy(&bytes, src - i - 7, 8);
      bytes = __builtin_bswap64(bytes);
      __builtin_memcpy(dst + i, &bytes, 8);
    }
  }
  copy_steps(dst + i, 1, src - i, -1, n - i);
}

constexpr int64_t kShortRow = 16, kShortRows = 256;

// `rows` rows of n bytes, part <= n <= 2 part: as two parts, which overlap.
template <int part> void copy_ends(char* dst, int64_t ds, const char* src, int64_t ss, int64_t n,
                                   int64_t rows) {
  struct Part { char bytes[part]; };
  for (int64_t i = 0; i < rows; ++i, dst += ds, src += ss) {
    Part first, last;
    __builtin_memcpy(&first, src, part);
    __builtin_memcpy(&last, src + n - part, part);
    __builtin_memcpy(dst, &first, part);
    __builtin_memcpy(dst + n - part, &last, part);
  }
}

// Short rows: where they are contiguous a row at a time, else kShortRows at a time, column by column.
template <class T> void copy_short_rows(const StridedCopyArgs& a) {
  const int inner = a.ndim - 1;
  const int64_t n = a.sizes[inner], m = a.sizes[inner - 1], blocks = ceil_div(m, kShortRows);
  int64_t count = blocks;
  for (int d = 0; d < inner - 1; ++d) count *= a.sizes[d];
  const int64_t work = least(m, kShortRows) * n * int64_t{sizeof(T)};
  parallel_for(count, most<int64_t>(1, kBlockBytes / work), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Walk at(a, inner - 1, t / blocks);
      const int64_t row = t % blocks * kShortRows;
      T* dst = static_cast<T*>(a.dst) + at.dst + row * a.dst_strides[inner - 1];
      const T* src = static_cast<const T*>(a.src) + at.src + row * a.src_strides[inner - 1];
      constexpr int64_t size = sizeof(T);
      const int64_t bytes = n * size, rows = least(kShortRows, m - row);
      if (a.dst_strides[inner] == 1 && a.src_strides[inner] == 1 && bytes >= 4) {
        const auto copy = bytes >= 64   ? copy_ends<64>
                          : bytes >= 32 ? copy_ends<32>
                          : bytes >= 16 ? copy_ends<16>
                          : bytes >= 8  ? copy_ends<8>
                                        : copy_ends<4>;
        copy(reinterpret_cast<char*>(dst), a.dst_strides[inner - 1] * size,
             reinterpret_cast<const char*>(src), a.src_strides[inner - 1] * size, bytes, rows);
        continue;
      }
      for (int64_t j = 0; j < n; ++j, dst += a.dst_strides[inner], src += a.src_strides[inner])
        copy_steps(dst, a.dst_strides[inner - 1], src, a.src_strides[inner - 1], rows);
    }
  });
}

template <class T> void copy_rows(const StridedCopyArgs& a) {
  const int inner = a.ndim - 1;
  const int64_t n = a.sizes[inner], ds = a.dst_strides[inner], ss = a.src_strides[inner];
  if (inner > 0 && n < kShortRow && n < a.sizes[inner - 1]) return copy_short_rows<T>(a);
  int64_t rows = 1;
  for (int d = 0; d < inner; ++d) rows *= a.sizes[d];
  T* const to = static_cast<T*>(a.dst);
  const T* const from = static_cast<const T*>(a.src);
  if (rows == 1 && ds == 1 && ss == 1) return copy_flat(to, from, n);
  constexpr int64_t kBlock = kBlockBytes / sizeof(T);
  const int64_t parts = ceil_div(n, kBlock);  // of a row
  parallel_for(rows * parts, most<int64_t>(1, kBlock / n), [&](int64_t begin, int64_t end) {
    Walk at(a, inner, begin / parts);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t % parts * kBlock, count = least(kBlock, n - i);
      T* dst = to + at.dst + i * ds;
      const T* src = from + at.src + i * ss;
      if (ds == 1 && ss == 1) {
        copy_row(dst, src, count);
      } else if (ds == 1 && ss == 0) {
        const T one = *src;
        for (int64_t j = 0; j < count; ++j) dst[j] = one;
      } else if (ds == 1 && ss == -1) {
        copy_backwards(dst, src, count);
      } else if (ds == 1 && ss == 2) {
        copy_every<2>(dst, src, count);
      } else if (ds == 1 && ss == 3) {
        copy_every<3>(dst, src, count);
      } else if (ds == 1 && ss == 4) {
        copy_every<4>(dst, src, count);
      } else {
        copy_steps(dst, ds, src, ss, count);
      }
      if (i + count == n) at.next();
    }
  });
}

// A square of 64 bytes a side: dst[i * dst_row + j] = src[i + j * src_col].
template <class T, bool streams> CR_INLINE void turn_square(T* dst, int64_t dst_row, const T* src,
                                                            int64_t src_col) {
  using X = Reg<T>;
  constexpr int W = X::W, L = 64 / sizeof(T);
  for (int i = 0; i < L; i += W) {
    alignas(64) T lines[W * L];
    for (int j = 0; j < L; j += W) {
      typename X::V r[W];
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) r[k] = X::load(src + i + (j + k) * src_col);
      X::transpose(r);
      // Half a line must not be streamed: it would cost a write to memory of its own.
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) X::store(streams ? lines + k * L + j : dst + (i + k) * dst_row + j, r[k]);
    }
    if constexpr (streams) {
      for (int k = 0; k < W; ++k) Vec<T>::load(lines + k * L).stream(dst + (i + k) * dst_row);
    }
  }
}

// The last two dimensions are rows of dst that are columns of src.
template <class T> void transpose(const StridedCopyArgs& a) {
  constexpr int64_t L = 64 / sizeof(T);
  const int outer = a.ndim - 2;
  const int64_t rows = a.sizes[outer], cols = a.sizes[outer + 1];
  const int64_t dst_row = a.dst_strides[outer], src_col = a.src_strides[outer + 1];
  int64_t count = 1;
  for (int d = 0; d < outer; ++d) count *= a.sizes[d];
  T* const to = static_cast<T*>(a.dst);
  const T* const from = static_cast<const T*>(a.src);
  bool aligned = reinterpret_cast<uintptr_t>(to) % 64 == 0;
  for (int d = 0; d <= outer; ++d) aligned = aligned && a.dst_strides[d] % L == 0;
  const bool streams = aligned && count * rows * cols * int64_t{sizeof(T)} >= kStreamTransposed;
  // Streamed, a strip is L columns of dst, so that src is read in rows; else L rows, so that dst is written in rows.
  const int64_t across = streams ? cols : rows, along = streams ? rows : cols;
  const int64_t strips = (across + L - 1) / L;
  parallel_for(count * strips, most<int64_t>(1, kBlockBytes / (L * along * int64_t{sizeof(T)})),
               [&](int64_t begin, int64_t end) {
                 for (int64_t s = begin; s < end; ++s) {
                   const Walk at(a, outer, s / strips);
                   const int64_t x0 = s % strips * L, x1 = least(x0 + L, across);
                   for (int64_t y0 = 0; y0 < along; y0 += L) {
                     const int64_t y1 = least(y0 + L, along);
                     const int64_t i0 = streams ? y0 : x0, i1 = streams ? y1 : x1;  // rows of dst
                     const int64_t j0 = streams ? x0 : y0, j1 = streams ? x1 : y1;
                     T* dst = to + at.dst + i0 * dst_row + j0;
                     const T* src = from + at.src + i0 + j0 * src_col;
                     if (i1 - i0 == L && j1 - j0 == L) {
                       if (streams)
                         turn_square<T, true>(dst, dst_row, src, src_col);
                       else
                         turn_square<T, false>(dst, dst_row, src, src_col);
                     } else {
                       for (int64_t i = 0; i < i1 - i0; ++i)
                         for (int64_t j = 0; j < j1 - j0; ++j) dst[i * dst_row + j] = src[i + j * src_col];
                     }
                   }
                 }
                 if (streams) native::stream_fence();
               });
}

// Bytes are turned in squares by plain loops.
void transpose_bytes(const StridedCopyArgs& a) {
  constexpr int64_t L = 64;
  const int outer = a.ndim - 2;
  const int64_t rows = a.sizes[outer], cols = a.sizes[outer + 1];
  const int64_t dst_row = a.dst_strides[outer], src_col = a.src_strides[outer + 1];
  int64_t count = 1;
  for (int d = 0; d < outer; ++d) count *= a.sizes[d];
  const int64_t strips = (rows + L - 1) / L;
  parallel_for(count * strips, most<int64_t>(1, kBlockBytes / (L * cols)), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const Walk at(a, outer, s / strips);
      char* dst = static_cast<char*>(a.dst) + at.dst;
      const char* src = static_cast<const char*>(a.src) + at.src;
      const int64_t i0 = s % strips * L, i1 = least(i0 + L, rows);
      for (int64_t j0 = 0; j0 < cols; j0 += L)
        for (int64_t i = i0; i < i1; ++i)
          for (int64_t j = j0; j < least(j0 + L, cols); ++j) dst[i * dst_row + j] = src[i + j * src_col];
    }
  });
}

bool is_one(int64_t stride) { return stride == 1 || stride == -1; }

// Moves the dimension in which src is contiguous next to the last, when there is one: then both are a matrix there.
bool make_matrix(StridedCopyArgs& a) {
  const int inner = a.ndim - 1;
  if (a.dst_strides[inner] != 1 || a.src_strides[inner] == 0 || is_one(a.src_strides[inner])) return false;
  int d = inner - 1;
  while (d >= 0 && (!is_one(a.src_strides[d]) || a.sizes[d] == 1)) --d;
  if (d < 0) return false;
  if (a.src_strides[d] < 0) {  // from its other end, in both
    const int64_t last = (a.sizes[d] - 1) * a.element_bytes;
    a.src = static_cast<const char*>(a.src) + last * a.src_strides[d];
    a.dst = static_cast<char*>(a.dst) + last * a.dst_strides[d];
    a.dst_strides[d] = -a.dst_strides[d];
  }
  const int64_t size = a.sizes[d], dst_stride = a.dst_strides[d];
  for (; d + 1 < inner; ++d) {
    a.sizes[d] = a.sizes[d + 1];
    a.dst_strides[d] = a.dst_strides[d + 1];
    a.src_strides[d] = a.src_strides[d + 1];
  }
  a.sizes[d] = size;
  a.dst_strides[d] = dst_stride;
  a.src_strides[d] = 1;
  return true;
}

}  // namespace

void strided_copy(const StridedCopyArgs& args) {
  StridedCopyArgs a = args;
  const bool matrix = make_matrix(a);
  switch (a.element_bytes) {
    case 1: return matrix ? transpose_bytes(a) : copy_rows<char>(a);
    case 4: return matrix ? transpose<float>(a) : copy_rows<float>(a);
    default: return matrix ? transpose<double>(a) : copy_rows<double>(a);
  }
}

}  // namespace chainrule::CR_ISA
