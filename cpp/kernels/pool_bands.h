// Windows of pooling as vectors: a band of some output rows at a time, whose rows lie behind each other with the gaps that
// windows at the end of a row reach over, so that small images fill vectors, too. What the windows read is sorted by row
// and column modulo the stride: then neighbouring windows have neighbouring elements at every place of the window (tap),
// whose distance from the window's first is the same for all.
#pragma once
#include <cstring>

#include "kernels/deinterleave.h"
#include "kernels/pool.h"
#include "kernels/scratch.h"
#include "kernels/sizes.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {

// In loops of a few rounds, of which the compiler would make as many vectors as code.
CR_INLINE void few() { asm volatile(""); }

// Memory for n elements and a vector read beyond the last.
template <class T> struct PoolBuffer : Scratch<T> {
  explicit PoolBuffer(int64_t n) : Scratch<T>(n + ceil_div(vector_bytes, sizeof(T))) {}
  void clear(int64_t n) const { memset(this->p, 0, static_cast<size_t>(n) * sizeof(T) + vector_bytes); }
};

// Rows of a band: of about `lanes` elements and 32 KB, the bands of a plane of equal size.
inline int64_t band_rows(int64_t rows, int64_t pitch, int64_t phases, int64_t lanes = 256) {
  const int64_t most_rows = most<int64_t>(1, least(lanes / pitch, 8192 / (pitch * phases)));
  return ceil_div(rows, ceil_div(rows, most_rows));
}

// Elements of even and odd numbers, of two vectors behind each other.
template <class T> struct Pairs {
  Vec<T> first, second;
  // Those of 2 * count elements.
  CR_INLINE Pairs(const T* p, int count) {
    constexpr int L = Vec<T>::lanes, n = Vec<T>::per_register;
    native::Register<T> r[2 * registers];
    for (int i = 0; i < 2 * registers; ++i)
      r[i] = count == L ? native::load<T>(p + i * n) : native::load(p + i * n, clamp(2 * count - i * n, n));
    CR_REGISTERS(first.r[i] = every_second<0>(r[2 * i], r[2 * i + 1]);
                 second.r[i] = every_second<1>(r[2 * i], r[2 * i + 1]))
  }
  static CR_INLINE int clamp(int n, int high) { return n < 0 ? 0 : n < high ? n : high; }
};

// n elements of `from` to a row that has `left` elements to its plane's end, after which nothing is written: whole vectors
// where there is room, over what comes later.
template <class T, class F> CR_INLINE void store_row(T* row, int64_t n, int64_t left, F from) {
  constexpr int L = Vec<T>::lanes;
  for (int64_t x = 0; x < n; x += L) from(x).store(row + x, static_cast<int>(least<int64_t>(L, left - x)));
}

// Of the columns of an image from one on, every stride-th: where they stand in a row of their phase.
struct Phase { int64_t offset, begin, end; };

// Bands want more than a few windows, and rows of one or two phases; other windows are taken one by one.
inline bool fits_bands(const PoolArgs& a) {
  return a.stride_w <= 2 && band_rows(a.out_h, a.out_w, a.stride_h * a.stride_w) * a.out_w >= 8;
}

// What the windows of a band of rows read, with `border` outside of the image.
template <class T> struct PoolBand {
  const PoolArgs& a;
  int64_t pitch, rows, height;
  int64_t size;   // of a phase, whose last row has a whole vector
  int64_t lanes;  // the windows of a band, and the gaps between its rows
  PoolBuffer<T> data;
  PoolBuffer<int64_t> taps;  // where each element of a window stands, from the first of phase (0, 0)
  PoolBuffer<Phase> phases;

  [[gnu::noinline, gnu::noclone]] explicit PoolBand(const PoolArgs& args)
      : a(args),
        pitch(a.out_w + (a.kernel_w - 1) * a.dilation_w / a.stride_w),
        rows(band_rows(a.out_h, pitch, a.stride_h * a.stride_w)),
        height(rows + (a.kernel_h - 1) * a.dilation_h / a.stride_h),
        size(height * pitch + Vec<T>::lanes),
        lanes((rows - 1) * pitch + a.out_w),
        data(a.stride_h * a.stride_w * size),
        taps(a.kernel_h * a.kernel_w),
        phases(a.stride_w) {
    for (int64_t x = 0; x < a.stride_w; ++x) {
      const int64_t at = least(pitch, (a.pad_w + x) / a.stride_w);
      phases.p[x] = {phase(0, (a.pad_w + x) % a.stride_w), at,
                     least(pitch, at + ceil_div(a.in_w - x, a.stride_w))};
      few();
    }
    for (int64_t r = 0, i = 0; r < a.kernel_h; ++r) {
      const int64_t y = r * a.dilation_h;
      for (int64_t s = 0; s < a.kernel_w; ++s, ++i) {
        const int64_t x = s * a.dilation_w;
        taps.p[i] = phase(y % a.stride_h, x % a.stride_w) + y / a.stride_h * pitch + x / a.stride_w;
        few();
      }
    }
    // Lanes beyond a short last band read what was there before.
    data.clear(a.stride_h * a.stride_w * size);
  }

  [[gnu::noinline, gnu::noclone]] void fill(const T* plane, int64_t first, int64_t count, T border) const {
    const int64_t reach = (a.kernel_h - 1) * a.dilation_h;
    for (int64_t p = 0; p < least(a.stride_h, reach + 1); ++p) {
      const int64_t last = count + (reach - p) / a.stride_h;
      for (int64_t j = 0; j < last; ++j) {
        const int64_t y = (first + j) * a.stride_h + p - a.pad_h;
        T* to = data.p + phase(p, 0) + j * pitch;
        if (y >= 0 && y < a.in_h)
          fill_row(to, plane + y * a.in_w, (a.in_h - y) * a.in_w, border);
        else
          for (int64_t q = 0; q < a.stride_w; ++q) fill_border(to + phase(0, q), pitch, border);
      }
    }
  }

 private:
  int64_t phase(int64_t y, int64_t x) const { return (y * a.stride_w + x) * size; }

  [[gnu::noinline, gnu::noclone]] static void fill_border(T* to, int64_t n, T border) {
    for (int64_t i = 0; i < n; ++i) {
      to[i] = border;
      few();
    }
  }
  // A row of the image, with `room` elements to the plane's end: whole vectors go over what comes later.
  void fill_row(T* to, const T* row, int64_t room, T border) const {
    constexpr int L = Vec<T>::lanes;
    if (a.stride_w == 1) {
      const Phase f = phases.p[0];
      for (int64_t i = f.begin; i < f.end; i += L, row += L, room -= L)
        Vec<T>::load(row, static_cast<int>(least<int64_t>(L, room))).store(to + i);
    } else {
      T *even = to + phases.p[0].offset, *odd = to + phases.p[1].offset;
      int64_t k = phases.p[1].begin;
      for (int64_t i = phases.p[0].begin; i < phases.p[0].end; i += L, k += L, row += 2 * L, room -= 2 * L) {
        const int count = static_cast<int>(least<int64_t>(L, room / 2));
        const Pairs<T> pairs(row, count);
        pairs.first.store(even + i);
        pairs.second.store(odd + k);
        if (room < 2 * L && room % 2 == 1) even[i + count] = row[room - 1];
      }
    }
    for (int64_t x = 0; x < a.stride_w; ++x) {
      const Phase f = phases.p[x];
      fill_border(to + f.offset, f.begin, border);
      fill_border(to + f.offset + f.end, pitch - f.end, border);
    }
  }
};

// The other way: of a band of rows modulo the stride, for each phase, the windows that hold an element. Their values lie
// behind each other with zeros around; taps come in the order of the windows.
template <class T> struct PoolGradBand {
  const PoolArgs& a;
  int64_t taps_h, taps_w, columns, pitch, rows, height;
  PoolBuffer<T> windows, sums;  // sums: the phases behind each other
  PoolBuffer<int64_t> phases;   // where every stride-th column begins in them

  [[gnu::noinline, gnu::noclone]] explicit PoolGradBand(const PoolArgs& args)
      : a(args),
        taps_h(ceil_div(a.kernel_h, a.stride_h)),
        taps_w(ceil_div(a.kernel_w, a.stride_w)),
        columns(ceil_div(a.in_w + a.pad_w, a.stride_w)),
        pitch(columns + taps_w - 1),
        rows(band_rows(ceil_div(a.in_h + a.pad_h, a.stride_h), pitch, 1 + a.stride_h * a.stride_w)),
        height(rows + taps_h - 1),
        windows(height * pitch),
        sums(a.stride_h * a.stride_w * size()),
        phases(a.stride_w) {
    for (int64_t x = 0; x < a.stride_w; ++x) {
      phases.p[x] = (a.pad_w + x) % a.stride_w * size() + (a.pad_w + x) / a.stride_w;
      few();
    }
    windows.clear(height * pitch);
  }
  int64_t size() const { return round_up(rows * pitch, Vec<T>::lanes); }

  // value(row of windows, their number, where to put them)
  template <class F> void fill(int64_t first, F value) const {
    for (int64_t j = 0; j < height; ++j) {
      const int64_t oy = first + j - (taps_h - 1);
      T* row = windows.p + j * pitch + taps_w - 1;
      const int64_t n = least(columns, a.out_w);
      if (oy < 0 || oy >= a.out_h) {
        memset(row, 0, static_cast<size_t>(n) * sizeof(T));
      } else {
        value(oy, n, row);
      }
    }
  }

  // The sums of phase (y, x), each from zero.
  [[gnu::noinline, gnu::noclone]] void add(int64_t y, int64_t x) const {
    constexpr int L = Vec<T>::lanes;
    const int64_t h = a.kernel_h > y ? ceil_div(a.kernel_h - y, a.stride_h) : 0;
    const int64_t w = a.kernel_w > x ? ceil_div(a.kernel_w - x, a.stride_w) : 0;
    T* to = sums.p + (y * a.stride_w + x) * size();
    const T* from = windows.p + (taps_h - h) * pitch + taps_w - w;
    for (int64_t i = 0; i < rows * pitch; i += L) {
      Vec<T> sum = T(0);
      for (int64_t r = 0; r < h; ++r) {
        for (int64_t s = 0; s < w; ++s) sum += Vec<T>::load(from + i + r * pitch + s);
      }
      sum.store(to + i);
    }
  }

  // Row j of phase p, its columns' phases in turns, to a row of the image with `left` elements to the end of its plane.
  [[gnu::noinline, gnu::noclone]] void merge(int64_t j, int64_t p, T* out, int64_t left) const {
    constexpr int L = Vec<T>::lanes;
    const T* from_row = sums.p + p * a.stride_w * size() + j * pitch;
    const auto column = [&](int64_t c) CR_LAMBDA_INLINE { return from_row + phases.p[c]; };
    const T* even = column(0);
    if (a.stride_w == 1) {
      store_row(out, a.in_w, left, [&](int64_t x) CR_LAMBDA_INLINE { return Vec<T>::load(even + x); });
    } else {
      const T* odd = column(1);
      int64_t x = 0;
      for (; x < a.in_w && x + 2 * L <= left; x += 2 * L) {
        const Vec<T> e = Vec<T>::load(even + x / 2), o = Vec<T>::load(odd + x / 2);
        CR_REGISTERS(native::store<T>(out + x + 2 * i * Vec<T>::per_register, zip<0>(e.r[i], o.r[i]));
                     native::store<T>(out + x + (2 * i + 1) * Vec<T>::per_register, zip<1>(e.r[i], o.r[i])))
      }
      for (; x < a.in_w; ++x) {
        out[x] = x % 2 == 0 ? even[x / 2] : odd[x / 2];
        few();
      }
    }
  }
};

}  // namespace chainrule::CR_ISA
