// Scalar: a Python number on its way into an op, with the category that type promotion asks for.
#pragma once
#include "core/dtype.h"
#include "core/tensor.h"

namespace chainrule {

struct Scalar {
  enum class Kind : uint8_t { Bool, Int, Float };
  Kind kind = Kind::Int;
  int64_t i = 0;
  double d = 0;

  Scalar() = default;
  Scalar(bool v) : kind(Kind::Bool), i(v), d(v) {}
  Scalar(int v) : i(v), d(v) {}
  Scalar(int64_t v) : i(v), d(static_cast<double>(v)) {}
  Scalar(double v) : kind(Kind::Float), i(static_cast<int64_t>(v)), d(v) {}

  template <class T> T as() const { return kind == Kind::Float ? static_cast<T>(d) : static_cast<T>(i); }
};

DType default_dtype();
void set_default_dtype(DType dtype);  // floating

// The smallest type that both convert to by PyTorch's rules, for whole tensors.
DType promote_types(DType a, DType b);
// The type of a result: dimensioned tensors decide first, zero-dimensional ones only by a higher category, Python
// numbers last.
DType result_type(const Tensor& a, const Tensor& b);
DType result_type(const Tensor& a, const Scalar& b);
// The dtype that a number has by itself: bool, int64 or the default dtype.
DType dtype_of_scalar(const Scalar& s);

// A zero-dimensional tensor that promotes as a Python number does.
Tensor number(const Scalar& s);
Tensor number(const Scalar& s, DType dtype);  // the same, already of `dtype`
Tensor scalar_tensor(const Scalar& s, DType dtype);
// Refuses what an integer dtype cannot hold; negative integers wrap into uint8, as PyTorch has it.
void check_fits(const Scalar& s, DType dtype);
// Fills without regard to the graph.
void fill_raw(const Tensor& t, const Scalar& s);
Scalar item(const Tensor& t);  // t has one element

}  // namespace chainrule
