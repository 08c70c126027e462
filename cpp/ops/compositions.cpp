// Functions made of the table's: no kernel and no derivative of their own.
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "autograd/record.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {

Tensor pow(const Tensor& x, double n, const Tensor& out) {
  if (n == 2) return apply(Unary::square, x, nullptr, out);
  if (n == 0 && x.is_floating()) return where(number(true), number(1), x);  // one everywhere, with slope 0
  if (n == 1) return clone(x);
  if (n == 0.5 && x.is_floating()) {
    const Tensor y = apply(Unary::sqrt, x, nullptr, out);
    rename_node(y, "pow_number");
    return y;
  }
  return apply(Unary::pow_number, x, std::array{n, 0.0}.data(), out);
}
Tensor clamp(const Tensor& x, double low, double high) {
  return apply(Unary::clamp, x, std::array{low, high}.data());
}
Tensor leaky_relu(const Tensor& x, double slope) {
  return apply(Unary::leaky_relu, x, std::array{slope, 0.0}.data());
}

Tensor pow_scalar(const Tensor& x, const Scalar& n, const Tensor& out) {
  if (x.is_floating()) return pow(x, n.d, out);
  return apply(Binary::pow, x, number(n), out);
}

Tensor bitwise_not(const Tensor& x, const Tensor& out) {
  CR_CHECK(!x.is_floating(), "bitwise_not: not implemented for ", name_of(x.dtype()));
  if (x.dtype() == DType::Bool) return apply(Unary::logical_not, x, nullptr, out);
  return apply(Binary::bitwise_xor, x, scalar_tensor(int64_t{-1}, x.dtype()), out);
}

namespace {

// What the table's clamp takes: the bounds, where they are numbers of x's kind that a double holds.
std::optional<std::array<double, 2>> number_bounds(const Tensor& x, const Tensor& low, const Tensor& high) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  std::array bounds{-infinity, infinity};
  if (x.dtype() == DType::Bool) return {};
  for (int i = 0; i < 2; ++i) {
    const Tensor& bound = i == 0 ? low : high;
    if (!bound.defined()) continue;
    if (!bound.impl()->wrapped_number) return {};
    const Scalar value = item(bound);
    if (x.is_floating() && std::isnan(value.as<double>())) return {};  // all of them become NaN
    if (!x.is_floating()) {
      const bool wraps = x.dtype() == DType::UInt8 && value.i < 0;
      if (value.kind == Scalar::Kind::Float || wraps || std::abs(value.i) > int64_t{1} << 53) return {};
      check_fits(value, x.dtype());
    }
    bounds[static_cast<size_t>(i)] = value.as<double>();
  }
  return bounds;
}
void check_bounds(const Tensor& low, const Tensor& high) {
  CR_CHECK(low.defined() || high.defined(), "clamp: At least one of 'min' or 'max' must not be None");
}

}  // namespace

Tensor clamp(const Tensor& x, const Tensor& low, const Tensor& high, const Tensor& out) {
  check_bounds(low, high);
  if (const auto bounds = number_bounds(x, low, high)) return apply(Unary::clamp, x, bounds->data(), out);
  for (const Tensor& bound : {low, high}) {
    if (!bound.defined()) continue;
    broadcast_shapes("clamp", x.sizes(), bound.sizes());
    if (bound.impl()->wrapped_number) check_fits(item(bound), result_type(x, bound));
  }
  if (recording(x, low, high)) {  // at a bound the gradient is x's, where a maximum would share it
    const Tensor y = low.defined() ? where(x < low || isnan(low), low, x) : x;
    return high.defined() ? where(y > high || isnan(high), high, y) : y;
  }
  if (!high.defined()) return apply(Binary::maximum, x, low, out);
  if (!low.defined()) return apply(Binary::minimum, x, high, out);
  if (x.is_floating() && x.dtype() == low.dtype() && x.dtype() == high.dtype() && !out.defined())
    return clamp_between(x, low, high);
  const Tensor y = maximum(x, low);
  const bool fits = !out.defined() && result_type(y, high) == y.dtype();
  return apply(Binary::minimum, y, high, fits ? y : out);
}

const Tensor& pow_(const Tensor& x, double n) {
  if (n == 0) return copy_(x, pow(clone(x), n));
  return apply_in_place(n == 2 ? Unary::square : Unary::pow_number, x, std::array{n, 0.0}.data());
}

bool clamp_by_numbers(const Tensor& x, const Tensor& low, const Tensor& high) {
  check_bounds(low, high);
  const auto bounds = number_bounds(x, low, high);
  if (bounds) apply_in_place(Unary::clamp, x, bounds->data());
  return bounds.has_value();
}

// From the nearer end, so that weight 1 gives `end` exactly.
Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight) {
  CR_CHECK(start.dtype() == end.dtype(), "lerp: expected dtype ", name_of(start.dtype()),
           " for `end` but got dtype ", name_of(end.dtype()));
  broadcast_shapes("lerp", broadcast_shapes("lerp", start.sizes(), end.sizes()), weight.sizes());
  const Tensor w = weight.impl()->wrapped_number ? scalar_tensor(item(weight), start.dtype()) : weight;
  Tensor y;
  if (start.is_floating() && w.dtype() == start.dtype()) {
    y = towards(start, end, w);
  } else {
    NoGrad guard;
    const Tensor apart = end - start;
    y = where(abs(w) < 0.5, start + w * apart, end - apart * (1 - w));
  }
  if (!recording(start, end, w)) return y;
  const char* name = weight.impl()->wrapped_number ? "lerp" : "lerp/1";
  return record(name, y, {&start, &end, &w},
                [a = saved(start), b = saved(end), w = saved(w)](const Tensor& g, Needs need) {
                  const Tensor from = *a, to = *b, weight = *w;
                  return std::array{need[0] ? sum_to(g * (1 - weight), from.sizes()) : Tensor(),
                                    need[1] ? sum_to(g * weight, to.sizes()) : Tensor(),
                                    need[2] ? sum_to(g * (to - from), weight.sizes()) : Tensor()};
                });
}

Tensor isclose(const Tensor& a, const Tensor& b, double rtol, double atol, bool equal_nan) {
  CR_CHECK(a.dtype() == b.dtype(), "isclose: ", name_of(a.dtype()), " did not match ", name_of(b.dtype()));
  CR_CHECK(rtol >= 0 && atol >= 0, "isclose: rtol and atol must not be negative, got ", rtol, " and ", atol);
  NoGrad no_grad;
  Tensor close = a == b;
  if (!a.is_floating()) {
    const Tensor x = to_dtype(a, DType::Float64), y = to_dtype(b, DType::Float64);
    return close || (abs(x - y) <= atol + rtol * abs(y));
  }
  if (equal_nan) close = close || (isnan(a) && isnan(b));
  return close || (isfinite(b) && (abs(a - b) <= atol + rtol * abs(b)));
}

bool all_true(const Tensor& x) { return item(all(x)).as<bool>(); }

bool equal(const Tensor& a, const Tensor& b) {
  NoGrad no_grad;
  return a.sizes() == b.sizes() && all_true(eq(a, b));
}

bool has_nan(const Tensor& x) {
  if (!x.is_floating()) return false;
  const Tensor c = contiguous(detach(x));
  return visit_floating(c.dtype(), [&](auto v) {
    const auto* p = c.data<decltype(v)>();
    for (int64_t i = 0; i < c.numel(); ++i)
      if (p[i] != p[i]) return true;
    return false;
  });
}

}  // namespace chainrule
