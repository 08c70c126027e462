#include "kernels/pool.h"

#include <cstring>

#include "core/alloc.h"
#include "core/parallel_for.h"
#include "kernels/deinterleave.h"
#include "kernels/sizes.h"
#include "simd/vec.h"

namespace chainrule::CR_ISA {
namespace {

template <class F> void for_planes(const PoolArgs& a, F f) {
  const int64_t work = a.in_h * a.in_w + a.out_h * a.out_w * 4;
  parallel_for(a.planes, most<int64_t>(1, 65536 / most<int64_t>(1, work)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// The index that goes with a value, in lanes of the same size.
template <class T> struct IndexOf { using type = int32_t; };
template <> struct IndexOf<double> { using type = int64_t; };

// The first of column, column + step, ... that is not negative.
template <class I> Vec<I> first_inside(const Vec<I>& column, I step) {
  constexpr int L = Vec<I>::lanes;
  I c[L];
  column.store(c);
  for (int i = 0; i < L; ++i) c[i] = c[i] < 0 ? c[i] + (step - 1 - c[i]) / step * step : c[i];
  return Vec<I>::load(c);
}

template <int64_t N> struct Fixed {
  constexpr operator int64_t() const { return N; }
};
template <class T, class Step> void take_every(T* dst, const T* src, int64_t n, Step step) {
  for (int64_t i = 0; i < n; ++i) dst[i] = src[i * step];
}

// The rows that one row of windows reads, their columns sorted by phase modulo the stride, so that neighbouring windows
// read neighbouring elements; -inf outside of the image.
template <class T> struct PoolRows {
  const PoolArgs& a;
  int64_t pitch;  // elements a phase: what vectors of outputs read, and some more
  T* data;

  explicit PoolRows(const PoolArgs& args)
      : a(args),
        pitch(args.out_w + (args.kernel_w - 1) * args.dilation_w / args.stride_w + 1 + Vec<T>::lanes),
        data(static_cast<T*>(
            cr_alloc(static_cast<size_t>(args.kernel_h * args.stride_w * pitch) * sizeof(T)))) {}
  ~PoolRows() { cr_free(data); }
  PoolRows(const PoolRows&) = delete;
  PoolRows& operator=(const PoolRows&) = delete;

  const T* tap(int64_t r, int64_t s) const {
    const int64_t x = s * a.dilation_w;
    return data + (r * a.stride_w + x % a.stride_w) * pitch + x / a.stride_w;
  }
  void fill(int64_t r, const T* row) const {
    const T lowest = static_cast<T>(-__builtin_inf());
    for (int64_t q = 0; q < a.stride_w; ++q) {
      T* d = data + (r * a.stride_w + q) * pitch;
      const int64_t x = q - a.pad_w;
      const int64_t lo = least(pitch, x < 0 ? ceil_div(-x, a.stride_w) : 0);
      const int64_t hi = most(lo, least(pitch, x < a.in_w ? ceil_div(a.in_w - x, a.stride_w) : 0));
      for (int64_t i = 0; i < lo; ++i) d[i] = lowest;
      const T* src = row + x + lo * a.stride_w;
      if (a.stride_w == 1)
        take_every(d + lo, src, hi - lo, Fixed<1>{});
      else if (a.stride_w == 2)
        take_every(d + lo, src, hi - lo, Fixed<2>{});
      else
        take_every(d + lo, src, hi - lo, a.stride_w);
      for (int64_t i = hi; i < pitch; ++i) d[i] = lowest;
    }
  }
};

template <class T> void max_plane(const PoolArgs& a, int64_t plane, const PoolRows<T>& rows) {
  using I = typename IndexOf<T>::type;
  constexpr int L = Vec<T>::lanes;
  const T* in = static_cast<const T*>(a.in) + plane * a.in_h * a.in_w;
  T* out = static_cast<T*>(a.out) + plane * a.out_h * a.out_w;
  int64_t* indices = a.indices + plane * a.out_h * a.out_w;
  for (int64_t oy = 0; oy < a.out_h; ++oy, out += a.out_w, indices += a.out_w) {
    const int64_t y0 = oy * a.stride_h - a.pad_h;
    const int64_t first = y0 < 0 ? ceil_div(-y0, a.dilation_h) : 0;
    const int64_t last = least(a.kernel_h, ceil_div(a.in_h - y0, a.dilation_h));
    for (int64_t r = first; r < last; ++r) rows.fill(r, in + (y0 + r * a.dilation_h) * a.in_w);
    for (int64_t x = 0; x < a.out_w; x += L) {
      const int count = static_cast<int>(least<int64_t>(L, a.out_w - x));
      const Vec<I> column =
          Vec<I>::iota() * static_cast<I>(a.stride_w) + static_cast<I>(x * a.stride_w - a.pad_w);
      // Without anything above -inf the index is that of the first element inside of the image; a dilated window can
      // miss the image altogether, and has none.
      Vec<T> best = static_cast<T>(-__builtin_inf());
      const Vec<I> start = first_inside(column, static_cast<I>(a.dilation_w));
      const Vec<I> inside = first < last ? static_cast<I>(a.in_w) : I{0};
      Vec<I> at =
          where(start < inside, start + static_cast<I>((y0 + first * a.dilation_h) * a.in_w), Vec<I>(I{-1}));
      for (int64_t r = first; r < last; ++r) {
        const I row = static_cast<I>((y0 + r * a.dilation_h) * a.in_w);
        for (int64_t s = 0; s < a.kernel_w; ++s) {
          const Vec<T> v = Vec<T>::load(rows.tap(r, s) + x);
          const Mask<T> take = (v > best) | isnan(v);
          best = where(take, v, best);
          at = where(take.template as<I>(), column + static_cast<I>(row + s * a.dilation_w), at);
        }
      }
      best.store(out + x, count);
      I found[L];
      at.store(found);
      for (int i = 0; i < count; ++i) indices[x + i] = found[i];
    }
  }
}

// Windows of 2 x 2 side by side: their four elements, sorted out of two rows in registers.
bool is_2x2(const PoolArgs& a) {
  return a.kernel_h == 2 && a.kernel_w == 2 && a.stride_h == 2 && a.stride_w == 2 && a.pad_h == 0 &&
         a.pad_w == 0 && a.dilation_h == 1 && a.dilation_w == 1 && 2 * a.out_h <= a.in_h &&
         2 * a.out_w <= a.in_w;
}

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
  const bool fast = is_2x2(a);
  parallel_for(a.planes, most<int64_t>(1, 65536 / most<int64_t>(1, work)), [&](int64_t begin, int64_t end) {
    if (fast) {
      for (int64_t i = begin; i < end; ++i) max_plane_2x2<T>(a, i);
      return;
    }
    const PoolRows<T> rows(a);
    for (int64_t i = begin; i < end; ++i) max_plane<T>(a, i, rows);
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

template <class T, bool kAdaptive, bool kGrad> void average(const PoolArgs& a) {
  for_planes(a, [&](int64_t plane) {
    constexpr bool grad = kGrad;
    const int64_t inside = a.in_h * a.in_w, outside = a.out_h * a.out_w;
    const T* in = static_cast<const T*>(a.in) + plane * (grad ? outside : inside);
    T* out = static_cast<T*>(a.out) + plane * (grad ? inside : outside);
    if (grad) memset(out, 0, static_cast<size_t>(inside) * sizeof(T));
    for (int64_t oy = 0; oy < a.out_h; ++oy) {
      const Window wy = kAdaptive ? Window::adaptive(oy, a.in_h, a.out_h)
                                  : Window(oy, a.in_h, a.kernel_h, a.stride_h, a.pad_h, a.count_include_pad);
      for (int64_t ox = 0; ox < a.out_w; ++ox) {
        const Window wx = kAdaptive
                              ? Window::adaptive(ox, a.in_w, a.out_w)
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

}  // namespace

void max_pool2d(const PoolArgs& a) { a.dtype == DType::Float32 ? max_pool<float>(a) : max_pool<double>(a); }
void max_pool2d_grad(const PoolArgs& a) {
  a.dtype == DType::Float32 ? max_grad<float>(a) : max_grad<double>(a);
}
void max_pool2d_gather(const PoolArgs& a) {
  a.dtype == DType::Float32 ? max_gather<float>(a) : max_gather<double>(a);
}
void avg_pool2d(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average<float, false, false>(a) : average<double, false, false>(a);
}
void avg_pool2d_grad(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average<float, false, true>(a) : average<double, false, true>(a);
}
void adaptive_avg_pool2d(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average<float, true, false>(a) : average<double, true, false>(a);
}
void adaptive_avg_pool2d_grad(const PoolArgs& a) {
  a.dtype == DType::Float32 ? average<float, true, true>(a) : average<double, true, true>(a);
}

}  // namespace chainrule::CR_ISA
