#include "kernels/pool.h"

#include <cstring>

#include "core/parallel_for.h"
#include "kernels/deinterleave.h"
#include "kernels/pool_bands.h"
#include "kernels/sizes.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {
namespace {

// f(first plane, end) for parts of the planes, each of which is `work` elements read or added.
template <class F> void for_parts(const PoolArgs& a, int64_t work, F f) {
  parallel_for(a.planes, most<int64_t>(1, 65536 / most<int64_t>(1, work)), f);
}
template <class F> void for_planes(const PoolArgs& a, F f) {
  for_parts(a, a.in_h * a.in_w + a.out_h * a.out_w * 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// The index that goes with a value, in lanes of the same size.
template <class T> struct IndexOf { using type = int32_t; };
template <> struct IndexOf<double> { using type = int64_t; };

// The first place from `at` on, in steps, that is not negative.
CR_INLINE int64_t inside(int64_t at, int64_t step) { return at < 0 ? at + ceil_div(-at, step) * step : at; }
// Of a window that holds nothing above -inf: the number of its first element inside of the image. A dilated window can
// miss the image altogether, and has none.
[[gnu::noinline]] int64_t first_inside(const PoolArgs& a, int64_t oy, int64_t ox) {
  const int64_t y = inside(oy * a.stride_h - a.pad_h, a.dilation_h);
  const int64_t x = inside(ox * a.stride_w - a.pad_w, a.dilation_w);
  return y < a.in_h && x < a.in_w ? y * a.in_w + x : -1;
}

template <class T> void max_planes(const PoolArgs& a, int64_t begin, int64_t end) {
  using I = typename IndexOf<T>::type;
  constexpr int L = Vec<T>::lanes;
  const T lowest = static_cast<T>(-__builtin_inf());
  const PoolBand<T> band(a);
  const int64_t size = round_up(band.lanes, L);
  const PoolBuffer<T> best_of(size);
  const PoolBuffer<I> at_of(size), corner_of(size), steps(a.kernel_h * a.kernel_w);
  // Numbers of elements, from that of the band's first window's corner: of all corners, and of a window's elements.
  corner_of.clear(size);
  for (int64_t j = 0; j < band.rows; ++j) {
    for (int64_t x = 0; x < a.out_w; ++x) {
      corner_of.p[j * band.pitch + x] = static_cast<I>(j * a.stride_h * a.in_w + x * a.stride_w);
      few();
    }
  }
  for (int64_t r = 0, i = 0; r < a.kernel_h; ++r) {
    for (int64_t s = 0; s < a.kernel_w; ++s, ++i) {
      steps.p[i] = static_cast<I>(r * a.dilation_h * a.in_w + s * a.dilation_w);
      few();
    }
  }
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* in = static_cast<const T*>(a.in) + plane * a.in_h * a.in_w;
    int64_t left = a.out_h * a.out_w;
    T* out = static_cast<T*>(a.out) + plane * left;
    int64_t* indices = a.indices + plane * left;
    for (int64_t first = 0; first < a.out_h; first += band.rows) {
      const int64_t count = least(band.rows, a.out_h - first);
      band.fill(in, first, count, lowest);
      const I origin = static_cast<I>((first * a.stride_h - a.pad_h) * a.in_w - a.pad_w);
      for (int64_t i = 0; i < (count - 1) * band.pitch + a.out_w; i += L) {
        const Vec<I> corner = Vec<I>::load(corner_of.p + i) + origin;
        Vec<T> best = lowest;
        Vec<I> at = I{-1};
        for (int64_t k = 0; k < a.kernel_h * a.kernel_w; ++k) {
          const Vec<T> v = Vec<T>::load(band.data.p + band.taps.p[k] + i);
          const Mask<T> take = (v > best) | isnan(v);
          best = where(take, v, best);
          at = where(take.template as<I>(), corner + steps.p[k], at);
        }
        best.store(best_of.p + i);
        at.store(at_of.p + i);
      }
      for (int64_t j = 0; j < count; ++j) {
        const T* best = best_of.p + j * band.pitch;
        const I* at = at_of.p + j * band.pitch;
        store_row(out, a.out_w, left, [&](int64_t x) CR_LAMBDA_INLINE { return Vec<T>::load(best + x); });
        I signs = 0;
        for (int64_t x = 0; x < a.out_w; x += L) {
          const int64_t n = least<int64_t>(L, left - x);
          if (n == L) {
            for (int64_t i = x; i < x + L; ++i) indices[i] = at[i], signs |= at[i];
          } else {
            for (int64_t i = x; i < x + n; ++i) {
              indices[i] = at[i], signs |= at[i];
              few();
            }
          }
        }
        if (signs < 0) {
          for (int64_t x = 0; x < a.out_w; ++x)
            if (at[x] < 0) indices[x] = first_inside(a, first + j, x);
        }
        out += a.out_w;
        indices += a.out_w;
        left -= a.out_w;
      }
    }
  }
}

// Window by window.
template <class T> void max_plane(const PoolArgs& a, int64_t plane) {
  const T* in = static_cast<const T*>(a.in) + plane * a.in_h * a.in_w;
  T* out = static_cast<T*>(a.out) + plane * a.out_h * a.out_w;
  int64_t* indices = a.indices + plane * a.out_h * a.out_w;
  for (int64_t oy = 0; oy < a.out_h; ++oy) {
    const int64_t y0 = oy * a.stride_h - a.pad_h, bottom = least(a.in_h, y0 + a.kernel_h * a.dilation_h);
    for (int64_t ox = 0; ox < a.out_w; ++ox) {
      const int64_t x0 = ox * a.stride_w - a.pad_w, right = least(a.in_w, x0 + a.kernel_w * a.dilation_w);
      int64_t at = first_inside(a, oy, ox);
      T best = static_cast<T>(-__builtin_inf());
      for (int64_t y = inside(y0, a.dilation_h); y < bottom; y += a.dilation_h) {
        for (int64_t x = inside(x0, a.dilation_w); x < right; x += a.dilation_w) {
          const T v = in[y * a.in_w + x];
          if (v > best || v != v) {
            best = v;
            at = y * a.in_w + x;
          }
        }
      }
      *out++ = best;
      *indices++ = at;
    }
  }
}

// Windows of 2 x 2 side by side: their four elements, sorted out of two rows in registers.
bool is_2x2(const PoolArgs& a) {
  return a.kernel_h == 2 && a.kernel_w == 2 && a.stride_h == 2 && a.stride_w == 2 && a.pad_h == 0 &&
         a.pad_w == 0 && a.dilation_h == 1 && a.dilation_w == 1 && 2 * a.out_h <= a.in_h &&
         2 * a.out_w <= a.in_w;
}

template <class T> void max_plane_2x2(const PoolArgs& a, int64_t plane) {
  using I = typename IndexOf<T>::type;
  constexpr int L = Vec<T>::lanes;
  const T* in = static_cast<const T*>(a.in) + plane * a.in_h * a.in_w;
  T* out = static_cast<T*>(a.out) + plane * a.out_h * a.out_w;
  int64_t* indices = a.indices + plane * a.out_h * a.out_w;
  const I width = static_cast<I>(a.in_w);
  int64_t left =
      a.out_h * a.out_w;  // outputs of the plane: a whole vector may be stored over those that come later
  for (int64_t oy = 0; oy < a.out_h; ++oy, in += 2 * a.in_w) {
    for (int64_t x = 0; x < a.out_w; x += L) {
      const int count = static_cast<int>(least<int64_t>(L, a.out_w - x));
      const Pairs<T> top(in + 2 * x, count), bottom(in + a.in_w + 2 * x, count);
      // Above -inf or NaN, in the order of the window; without any the index is that of the first.
      const Vec<I> place = Vec<I>::iota() * I{2} + static_cast<I>(oy * 2 * a.in_w + 2 * x);
      Vec<T> best = top.first;
      Vec<I> at = place;
      const auto take = [&](const Vec<T>& v, I offset) CR_LAMBDA_INLINE {
        const Mask<T> better = (v > best) | isnan(v);
        best = where(better, v, best);
        at = where(better.template as<I>(), place + offset, at);
      };
      take(top.second, 1);
      take(bottom.first, width);
      take(bottom.second, width + 1);
      const int stored = static_cast<int>(least<int64_t>(L, left));
      best.store(out, stored);
      I found[L];
      at.store(found);
      if (stored == L) {
        for (int i = 0; i < L; ++i) indices[i] = found[i];
      } else {
        for (int i = 0; i < stored; ++i) indices[i] = found[i];
      }
      out += count;
      indices += count;
      left -= count;
    }
  }
}

template <class T> void max_pool(const PoolArgs& a) {
  const int64_t work = a.in_h * a.in_w + a.out_h * a.out_w * a.kernel_h * a.kernel_w;
  const bool fast = is_2x2(a), bands = fits_bands(a);
  for_parts(a, work, [&](int64_t begin, int64_t end) {
    if (fast) {
      for (int64_t i = begin; i < end; ++i) max_plane_2x2<T>(a, i);
      return;
    }
    if (bands) return max_planes<T>(a, begin, end);
    for (int64_t i = begin; i < end; ++i) max_plane<T>(a, i);
  });
}

template <class T> void max_grad(const PoolArgs& a) {
  for_planes(a, [&](int64_t plane) {
    const int64_t size = a.out_h * a.out_w;
    const T* g = static_cast<const T*>(a.in) + plane * size;
    const int64_t* at = a.indices + plane * size;
    T* out = static_cast<T*>(a.out) + plane * a.in_h * a.in_w;
    memset(out, 0, static_cast<size_t>(a.in_h * a.in_w) * sizeof(T));
    for (int64_t i = 0; i < size; ++i)
      if (at[i] >= 0) out[at[i]] += g[i];
  });
}

template <class T> void max_gather(const PoolArgs& a) {
  for_planes(a, [&](int64_t plane) {
    const int64_t size = a.out_h * a.out_w;
    const T* in = static_cast<const T*>(a.in) + plane * a.in_h * a.in_w;
    const int64_t* at = a.indices + plane * size;
    T* out = static_cast<T*>(a.out) + plane * size;
    for (int64_t i = 0; i < size; ++i) out[i] = at[i] >= 0 ? in[at[i]] : 0;
  });
}

// The rows or columns of a window of avg_pool2d that lie inside the image, and how many count.
struct Window {
  int64_t begin, end, count;
  Window(int64_t o, int64_t size, int64_t kernel, int64_t stride, int64_t pad, bool include_pad) {
    begin = o * stride - pad;
    end = least(begin + kernel, size + pad);
    count = end - begin;
    begin = most<int64_t>(begin, 0);
    end = least(end, size);
    if (!include_pad) count = end - begin;
  }
  static Window adaptive(int64_t o, int64_t size, int64_t outputs) {
    Window w;
    w.begin = o * size / outputs;
    w.end = ceil_div((o + 1) * size, outputs);
    w.count = w.end - w.begin;
    return w;
  }

 private:
  Window() = default;
};

template <class T, bool kGrad> [[gnu::noinline]] void average(const PoolArgs& a, bool adaptive) {
  for_planes(a, [&](int64_t plane) {
    constexpr bool grad = kGrad;
    const int64_t inside = a.in_h * a.in_w, outside = a.out_h * a.out_w;
    const T* in = static_cast<const T*>(a.in) + plane * (grad ? outside : inside);
    T* out = static_cast<T*>(a.out) + plane * (grad ? inside : outside);
    if (grad) memset(out, 0, static_cast<size_t>(inside) * sizeof(T));
    for (int64_t oy = 0; oy < a.out_h; ++oy) {
      const Window wy = adaptive ? Window::adaptive(oy, a.in_h, a.out_h)
                                 : Window(oy, a.in_h, a.kernel_h, a.stride_h, a.pad_h, a.count_include_pad);
      for (int64_t ox = 0; ox < a.out_w; ++ox) {
        const Window wx = adaptive ? Window::adaptive(ox, a.in_w, a.out_w)
                                   : Window(ox, a.in_w, a.kernel_w, a.stride_w, a.pad_w, a.count_include_pad);
        const T divisor = static_cast<T>(a.divisor != 0 ? a.divisor : wy.count * wx.count);
        if (grad) {
          const T g = in[oy * a.out_w + ox] / divisor;
          for (int64_t y = wy.begin; y < wy.end; ++y) {
            for (int64_t x = wx.begin; x < wx.end; ++x) out[y * a.in_w + x] += g;
          }
        } else {
          T sum = 0;
          for (int64_t y = wy.begin; y < wy.end; ++y) {
            for (int64_t x = wx.begin; x < wx.end; ++x) sum += in[y * a.in_w + x];
          }
          // A window that lies in the padding alone counts nothing, and is zero.
          out[oy * a.out_w + ox] = wy.begin < wy.end && wx.begin < wx.end ? sum / divisor : T(0);
        }
      }
    }
  });
}

// The numbers of a window's elements that count, of every column.
template <class T> struct Counts {
  const PoolArgs& a;
  PoolBuffer<T> columns;
  [[gnu::noinline]] explicit Counts(const PoolArgs& args) : a(args), columns(args.out_w) {
    for (int64_t x = 0; x < a.out_w; ++x) {
      columns.p[x] =
          static_cast<T>(Window(x, a.in_w, a.kernel_w, a.stride_w, a.pad_w, a.count_include_pad).count);
      few();
    }
    Vec<T>(T(1)).store(columns.p + a.out_w);
  }
  T of_row(int64_t oy) const {
    return static_cast<T>(Window(oy, a.in_h, a.kernel_h, a.stride_h, a.pad_h, a.count_include_pad).count);
  }
  CR_INLINE Vec<T> divisor(T row, int64_t x) const {
    return a.divisor != 0 ? Vec<T>(static_cast<T>(a.divisor)) : Vec<T>::load(columns.p + x) * row;
  }
};

// Zeros around the image add nothing: a sum that begins at zero is never -0.
template <class T> void average_bands(const PoolArgs& a, int64_t begin, int64_t end) {
  constexpr int L = Vec<T>::lanes;
  const PoolBand<T> band(a);
  const Counts<T> counts(a);
  const PoolBuffer<T> sums(round_up(band.lanes, L));
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* in = static_cast<const T*>(a.in) + plane * a.in_h * a.in_w;
    int64_t left = a.out_h * a.out_w;
    T* out = static_cast<T*>(a.out) + plane * left;
    for (int64_t first = 0; first < a.out_h; first += band.rows) {
      const int64_t count = least(band.rows, a.out_h - first);
      band.fill(in, first, count, 0);
      for (int64_t i = 0; i < (count - 1) * band.pitch + a.out_w; i += L) {
        Vec<T> sum = T(0);
        for (int64_t k = 0; k < a.kernel_h * a.kernel_w; ++k)
          sum += Vec<T>::load(band.data.p + band.taps.p[k] + i);
        sum.store(sums.p + i);
      }
      for (int64_t j = 0; j < count; ++j) {
        const T row = counts.of_row(first + j);
        const T* sum = sums.p + j * band.pitch;
        store_row(out, a.out_w, left,
                  [&](int64_t x) CR_LAMBDA_INLINE { return Vec<T>::load(sum + x) / counts.divisor(row, x); });
        out += a.out_w;
        left -= a.out_w;
      }
    }
  }
}

template <class T> void average_grad_bands(const PoolArgs& a, int64_t begin, int64_t end) {
  const PoolGradBand<T> band(a);
  const Counts<T> counts(a);
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* g = static_cast<const T*>(a.in) + plane * a.out_h * a.out_w;
    T* out = static_cast<T*>(a.out) + plane * a.in_h * a.in_w;
    for (int64_t first = 0; first * a.stride_h < a.in_h + a.pad_h; first += band.rows) {
      band.fill(first, [&](int64_t oy, int64_t n, T* to) {
        constexpr int L = Vec<T>::lanes;
        const T row = counts.of_row(oy);
        for (int64_t x = 0; x < n; x += L) {
          const int width = static_cast<int>(least<int64_t>(L, n - x));
          (Vec<T>::load(g + oy * a.out_w + x, width) / counts.divisor(row, x)).store(to + x, width);
        }
      });
      for (int64_t p = 0; p < a.stride_h; ++p) {
        for (int64_t q = 0; q < a.stride_w; ++q) band.add(p, q);
      }
      int64_t y = first * a.stride_h - a.pad_h;
      for (int64_t j = 0; j < band.rows; ++j) {
        for (int64_t p = 0; p < a.stride_h; ++p, ++y)
          if (y >= 0 && y < a.in_h) band.merge(j, p, out + y * a.in_w, (a.in_h - y) * a.in_w);
      }
    }
  }
}

template <class T, bool kGrad> void average_pool(PoolArgs a, bool adaptive) {
  if (adaptive && a.out_h > 0 && a.out_w > 0 && a.in_h % a.out_h == 0 && a.in_w % a.out_w == 0) {
    a.kernel_h = a.stride_h = a.in_h / a.out_h;
    a.kernel_w = a.stride_w = a.in_w / a.out_w;
    adaptive = false;
  }
  if (adaptive) return average<T, kGrad>(a, true);
  if (!fits_bands(a)) return average<T, kGrad>(a, false);
  const int64_t work = a.in_h * a.in_w + a.out_h * a.out_w * (4 + a.kernel_h * a.kernel_w / 4);
  for_parts(a, work, [&](int64_t begin, int64_t end) {
    kGrad ? average_grad_bands<T>(a, begin, end) : average_bands<T>(a, begin, end);
  });
}

}  // namespace

void max_pool2d(const PoolArgs& a) { a.dtype == DType::Float32 ? max_pool<float>(a) : max_pool<double>(a); }
void max_pool2d_grad(const PoolArgs& a) {
  a.dtype == DType::Float32 ? max_grad<float>(a) : max_grad<double>(a);
}
void max_pool2d_gather(const PoolArgs& a) {
  a.dtype == DType::Float32 ? max_gather<float>(a) : max_gather<double>(a);
}
void avg_pool2d(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average_pool<float, false>(a, false) : average_pool<double, false>(a, false);
}
void avg_pool2d_grad(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average_pool<float, true>(a, false) : average_pool<double, true>(a, false);
}
void adaptive_avg_pool2d(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average_pool<float, false>(a, true) : average_pool<double, false>(a, true);
}
void adaptive_avg_pool2d_grad(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average_pool<float, true>(a, true) : average_pool<double, true>(a, true);
}

}  // namespace chainrule::CR_ISA
