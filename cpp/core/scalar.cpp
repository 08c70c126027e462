#include "core/scalar.h"

#include <cmath>

#include "core/unnamed_error.h"

namespace chainrule {
namespace {

DType the_default = DType::Float32;

int category(DType t) { return t == DType::Bool ? 0 : is_floating(t) ? 2 : 1; }

// What a dtype stands for in promotion when only its category counts.
struct Claim {
  DType dimensioned = DType::Bool, zero_dim = DType::Bool, number = DType::Bool;
  bool has_dimensioned = false, has_zero_dim = false, has_number = false;

  static void raise(DType& slot, bool& has, DType t) {
    slot = has ? promote_types(slot, t) : t;
    has = true;
  }
  void add(const Tensor& t) {
    if (t.impl()->wrapped_number) {
      raise(number, has_number, is_floating(t.dtype()) ? the_default : t.dtype());
    } else if (t.dim() == 0) {
      raise(zero_dim, has_zero_dim, t.dtype());
    } else {
      raise(dimensioned, has_dimensioned, t.dtype());
    }
  }
  static DType combine(DType higher, bool has_higher, DType lower, bool has_lower) {
    if (!has_higher) return lower;
    if (!has_lower || category(higher) >= category(lower)) return higher;
    return promote_types(higher, lower);
  }
  DType result() const {
    DType low = combine(zero_dim, has_zero_dim, number, has_number);
    return combine(dimensioned, has_dimensioned, low, has_zero_dim || has_number);
  }
};

}  // namespace

DType default_dtype() { return the_default; }

void set_default_dtype(DType dtype) {
  CR_CHECK_TYPE(is_floating(dtype),
                "set_default_dtype: only floating-point types are supported as the default, got ",
                name_of(dtype));
  the_default = dtype;
}

DType promote_types(DType a, DType b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  return b;  // the enumeration is ordered: bool < uint8 < int32 < int64 < float32 < float64
}

DType result_type(const Tensor& a, const Tensor& b) {
  if (a.dtype() == b.dtype() && !a.impl()->wrapped_number && !b.impl()->wrapped_number) return a.dtype();
  Claim c;
  c.add(a);
  c.add(b);
  return c.result();
}

DType result_type(const Tensor& a, const Scalar& b) {
  const DType s = dtype_of_scalar(b);
  if (category(a.dtype()) >= category(s)) return a.dtype();
  return promote_types(a.dtype(), s);
}

DType dtype_of_scalar(const Scalar& s) {
  return s.kind == Scalar::Kind::Bool  ? DType::Bool
         : s.kind == Scalar::Kind::Int ? DType::Int64
                                       : the_default;
}

void check_fits(const Scalar& s, DType dtype) {
  if (is_floating(dtype) || dtype == DType::Bool || (dtype == DType::Int64 && s.kind != Scalar::Kind::Float))
    return;
  const double bound = std::ldexp(1.0, static_cast<int>(8 * size_of(dtype)) - (dtype != DType::UInt8));
  const double below = dtype != DType::UInt8 ? -bound : s.kind == Scalar::Kind::Float ? 0 : 1 - bound;
  const double truncated = std::trunc(s.d);
  CR_CHECK_AS(UnnamedError, truncated >= below && truncated < bound, "value ", s.d,
              " cannot be converted to type ", name_of(dtype), " without overflow");
}

Tensor scalar_tensor(const Scalar& s, DType dtype) {
  check_fits(s, dtype);
  Tensor t = empty({}, dtype);
  visit_dtype(dtype, [&](auto v) { *t.data<decltype(v)>() = s.as<decltype(v)>(); });
  return t;
}

Tensor number(const Scalar& s, DType dtype) {
  Tensor t = scalar_tensor(s, dtype);
  t.impl()->wrapped_number = true;
  return t;
}

// A float number keeps float64 precision until the op that uses it has settled its dtype.
Tensor number(const Scalar& s) {
  return number(s, s.kind == Scalar::Kind::Float ? DType::Float64 : dtype_of_scalar(s));
}

Scalar item(const Tensor& t) {
  CR_CHECK(t.numel() == 1, "item: a tensor with ", t.numel(), " elements cannot be converted to a number");
  return visit_dtype(t.dtype(), [&](auto v) -> Scalar {
    using T = decltype(v);
    const T x = *t.data<T>();
    if constexpr (std::is_same_v<T, bool>)
      return Scalar(x);
    else if constexpr (std::is_integral_v<T>)
      return Scalar(static_cast<int64_t>(x));
    else
      return Scalar(static_cast<double>(x));
  });
}

}  // namespace chainrule
