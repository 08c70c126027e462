#include "ops/creation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/launch.h"
#include "core/parallel_for.h"
#include "core/shape_checks.h"
#include "kernels/ramp.h"

namespace chainrule {
namespace {

struct ArangeAttrs { Scalar start, step; };

// Each element from its index: no error adds up.
void run_arange(const Launch& l) {
  const Tensor& t = l.out(0);
  const auto& range = l.attrs<ArangeAttrs>();
  const int64_t n = t.numel();
  if (t.is_floating())
    return kernels::ramp(
        {t.bytes(), n, range.start.as<double>(), range.step.as<double>(), 0, t.dtype(), false});
  visit_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    const auto a = static_cast<uint64_t>(range.start.as<int64_t>());
    const auto d = static_cast<uint64_t>(range.step.as<int64_t>());
    neutral::parallel_for(n, int64_t{1} << 16, [=, out = t.data<T>()](int64_t begin, int64_t end) {
      uint64_t x = a + static_cast<uint64_t>(begin) * d;
      for (int64_t i = begin; i < end; ++i, x += d) out[i] = static_cast<T>(x);
    });
  });
}
const Primitive kArange{"arange", run_arange, sizeof(ArangeAttrs)};

int64_t arange_size(const Scalar& start, const Scalar& end, const Scalar& step, DType dtype) {
  const double from = start.as<double>(), to = end.as<double>(), by = step.as<double>();
  CR_CHECK(by != 0, "arange: step must be nonzero");
  CR_CHECK(std::isfinite(from) && std::isfinite(to), "arange: unsupported range: ", from, " -> ", to);
  CR_CHECK(by > 0 ? from <= to : from >= to,
           "arange: upper bound and lower bound inconsistent with step sign: from ", from, " to ", to,
           " in steps of ", by);
  double size = std::ceil((to - from) / by);
  if (dtype == DType::Int64) {  // exact, where doubles would round
    const auto a = start.as<int64_t>(), b = end.as<int64_t>(), d = step.as<int64_t>();
    CR_CHECK(d != 0, "arange: step must be nonzero");
    const __int128 distance = static_cast<__int128>(b) - a + d - (d > 0 ? 1 : -1);
    size = static_cast<double>(distance / d);
    if (size < 0x1p53) return static_cast<int64_t>(distance / d);
  }
  CR_CHECK(size < 0x1p59, "arange: a range of ", size, " elements is more than memory can address");
  return static_cast<int64_t>(size);
}

struct LinspaceAttrs { Scalar start, end; };

// From both ends to the middle, so that both ends are exact.
template <class T, class Step> void linspace_into(const Tensor& t, T start, T end) {
  const int64_t n = t.numel(), half = n / 2;
  const Step first = static_cast<Step>(start), last = static_cast<Step>(end);
  const Step step = n > 1 ? (last - first) / static_cast<Step>(n - 1) : Step{0};
  kernels::ramp({t.bytes(), half, first, step, 0, t.dtype(), true});
  kernels::ramp({t.data<T>() + half, n - half, last, step, half - (n - 1), t.dtype(), true});
  if (n == 1) *t.data<T>() = start;
}
void run_linspace(const Launch& l) {
  const Tensor& t = l.out(0);
  const auto& range = l.attrs<LinspaceAttrs>();
  visit_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    using Step = std::conditional_t<std::is_same_v<T, float>, float, double>;
    linspace_into<T, Step>(t, range.start.as<T>(), range.end.as<T>());
  });
}
const Primitive kLinspace{"linspace", run_linspace, sizeof(LinspaceAttrs)};

void run_eye(const Launch& l) {
  const Tensor& t = l.out(0);
  visit_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    T* out = t.data<T>();
    const int64_t columns = t.size(1);
    std::fill_n(out, t.numel(), T(0));
    for (int64_t i = 0; i < std::min(t.size(0), columns); ++i) out[i * (columns + 1)] = T(1);
  });
}
const Primitive kEye{"eye", run_eye};

}  // namespace

DType arange_dtype(const Scalar& start, const Scalar& end, const Scalar& step) {
  for (const Scalar* s : {&start, &end, &step})
    if (s->kind == Scalar::Kind::Float) return default_dtype();
  return DType::Int64;
}

Tensor arange(const Scalar& start, const Scalar& end, const Scalar& step, DType dtype) {
  CR_CHECK(dtype != DType::Bool, "arange: not implemented for bool");
  Tensor t = empty({arange_size(start, end, step, dtype)}, dtype);
  launch(kArange, {&t}, {}, ArangeAttrs{start, step});
  return t;
}

Tensor linspace(const Scalar& start, const Scalar& end, int64_t steps, DType dtype) {
  CR_CHECK(dtype != DType::Bool, "linspace: not implemented for bool");
  CR_CHECK(steps >= 0, "linspace: number of steps must be non-negative, got ", steps);
  check_fits("linspace", start, dtype);
  check_fits("linspace", end, dtype);
  Tensor t = empty({steps}, dtype);
  launch(kLinspace, {&t}, {}, LinspaceAttrs{start, end});
  return t;
}

Tensor eye(int64_t rows, int64_t columns, DType dtype) {
  CR_CHECK(rows >= 0, "eye: n must be greater or equal to 0, got ", rows);
  CR_CHECK(columns >= 0, "eye: m must be greater or equal to 0, got ", columns);
  Tensor t = empty({rows, columns}, dtype);
  launch(kEye, {&t}, {});
  return t;
}

Tensor empty_as(const Tensor& t, DType dtype) {
  Tensor made = empty(t.sizes(), dtype);
  if (t.is_contiguous()) return made;
  if (is_dense(t)) return alias(made, t.sizes(), t.strides());
  Dims order;
  for (int i = 0; i < t.dim(); ++i) order.push_back(i);
  // A dimension without a step of its own (expanded) says nothing: such tensors become contiguous.
  if (std::any_of(t.strides().begin(), t.strides().end(), [](int64_t s) { return s == 0; })) return made;
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return std::abs(t.stride(a)) > std::abs(t.stride(b)); });
  Dims strides = Dims::filled(t.dim(), 1);
  int64_t step = 1;
  for (int i = t.dim() - 1; i >= 0; --i) {
    strides[order[i]] = step;
    step *= std::max<int64_t>(t.size(order[i]), 1);
  }
  return alias(made, t.sizes(), strides);
}

void check_fits(const char* op, const Scalar& value, DType dtype) {
  const bool fits = visit_dtype(dtype, [&](auto v) {
    using T = decltype(v);
    if constexpr (std::is_same_v<T, bool>) {
      return true;
    } else if constexpr (std::is_floating_point_v<T>) {
      return !std::isfinite(value.as<double>()) ||
             std::abs(value.as<double>()) <= std::numeric_limits<T>::max();
    } else {
      // Negative numbers wrap around in unsigned types, as far as the type reaches.
      constexpr T top = std::numeric_limits<T>::max();
      const T bottom = std::is_unsigned_v<T> ? T{0} : std::numeric_limits<T>::lowest();
      if (value.kind != Scalar::Kind::Float)
        return value.i <= static_cast<int64_t>(top) &&
               value.i >= (std::is_unsigned_v<T> ? -static_cast<int64_t>(top) : static_cast<int64_t>(bottom));
      const double limit = std::ldexp(1.0, std::numeric_limits<T>::digits);
      return value.d < limit && value.d >= (std::is_unsigned_v<T> ? 1 - limit : -limit);
    }
  });
  CR_CHECK(fits, op, ": value ", value.as<double>(), " cannot be converted to type ", name_of(dtype),
           " without overflow");
}

}  // namespace chainrule
