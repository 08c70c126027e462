// The differentiable elementwise functions, all made of the table, and the operators on tensors.
#pragma once
#include "core/scalar.h"
#include "ops/elementwise_fn.h"

namespace chainrule {

void init_elementwise();  // fills the loops for the chosen instruction set

// A line of the table. `out` may be undefined; the result is `out` itself where the loop could write into it, else a new
// tensor, and the rest of what out= means is left to the caller.
Tensor apply(Unary f, const Tensor& x, const double* params = nullptr, const Tensor& out = {});
Tensor apply(Binary f, const Tensor& a, const Tensor& b, const Tensor& out = {});
const Tensor& apply_in_place(Unary f, const Tensor& x, const double* params = nullptr);
const Tensor& apply_in_place(Binary f, const Tensor& a, const Tensor& b);
// Records f of x, which a fused kernel has already replaced by f(x); the derivative is written in the result.
void record_applied(Unary f, const Tensor& x);
// g * dy/dx at x, of a line whose derivative is written in x; g is broadcast.
Tensor derivative(Unary f, const Tensor& g, const Tensor& x, const double* params = nullptr);
inline Tensor apply(Binary f, const Tensor& a, const Scalar& b) { return apply(f, a, number(b)); }
inline Tensor apply(Binary f, const Scalar& a, const Tensor& b) { return apply(f, number(a), b); }

// exp(x), log(x), ... : every line without parameters under its name.
#define UNARY(name, ...) \
  inline Tensor name(const Tensor& x) { return apply(Unary::name, x); }
#define UNARY_P(...)
#define PREDICATE(name, ...) UNARY(name)
#define BINARY(name, ...)                                                                    \
  inline Tensor name(const Tensor& a, const Tensor& b) { return apply(Binary::name, a, b); } \
  inline Tensor name(const Tensor& a, const Scalar& b) { return apply(Binary::name, a, b); }
#define COMPARE(name, ...) BINARY(name)
#define BITWISE(name, ...) BINARY(name)
#include "ops/elementwise_table.inc"

Tensor pow(const Tensor& x, double n, const Tensor& out = {});
// With PyTorch's rules for integers.
Tensor pow_scalar(const Tensor& x, const Scalar& n, const Tensor& out = {});
const Tensor& pow_(const Tensor& x, double n);  // x **= n for floating x
// x = clamp(x, low, high) in one pass. Returns false, with nothing done, where a bound is not a number of x's kind.
bool clamp_by_numbers(const Tensor& x, const Tensor& low, const Tensor& high);
Tensor bitwise_not(const Tensor& x, const Tensor& out = {});
// Bounds may be undefined; numbers or tensors.
Tensor clamp(const Tensor& x, const Tensor& low, const Tensor& high, const Tensor& out = {});
// x += scale * term, in one pass over tensors of one floating dtype. Returns false, with nothing done, where that is not
// enough: where it has to be recorded or converted, or operands share x's memory.
bool add_term(const char* op, const Tensor& x, const Tensor& a, const Tensor& b, double scale, Term term);
// x + scale * term: add, sub, addcmul or addcdiv, as `name` says; b is a where the term takes no second. `out` as in apply.
Tensor plus_term(const char* name, const Tensor& x, const Tensor& a, const Tensor& b, const Scalar& scale,
                 Term term, const Tensor& out = {});
// min(max(x, low), high), of one floating dtype, not recorded.
Tensor clamp_between(const Tensor& x, const Tensor& low, const Tensor& high);
// start + weight * (end - start), of one floating dtype, not recorded.
Tensor towards(const Tensor& start, const Tensor& end, const Tensor& weight);
Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight);
Tensor isclose(const Tensor& a, const Tensor& b, double rtol, double atol, bool equal_nan);
bool equal(const Tensor& a, const Tensor& b);
bool all_true(const Tensor& x);
Tensor clamp(const Tensor& x, double low, double high);  // floating; either may be infinite
Tensor leaky_relu(const Tensor& x, double slope);

#define CR_TENSOR_OPERATOR(op, f)                                                                \
  inline Tensor operator op(const Tensor& a, const Tensor& b) { return apply(Binary::f, a, b); } \
  inline Tensor operator op(const Tensor& a, const Scalar& b) { return apply(Binary::f, a, b); } \
  inline Tensor operator op(const Scalar& a, const Tensor& b) { return apply(Binary::f, a, b); }
CR_TENSOR_OPERATOR(+, add)
CR_TENSOR_OPERATOR(-, sub)
CR_TENSOR_OPERATOR(*, mul)
CR_TENSOR_OPERATOR(/, div)
CR_TENSOR_OPERATOR(<, lt)
CR_TENSOR_OPERATOR(<=, le)
CR_TENSOR_OPERATOR(>, gt)
CR_TENSOR_OPERATOR(>=, ge)
CR_TENSOR_OPERATOR(==, eq)
CR_TENSOR_OPERATOR(!=, ne)
CR_TENSOR_OPERATOR(&&, logical_and)
CR_TENSOR_OPERATOR(||, logical_or)
#undef CR_TENSOR_OPERATOR
inline Tensor operator-(const Tensor& x) { return neg(x); }

// condition ? a : b, broadcast; condition is bool.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out = {});
inline Tensor where(const Tensor& c, const Tensor& a, const Scalar& b) { return where(c, a, number(b)); }
inline Tensor where(const Tensor& c, const Scalar& a, const Tensor& b) { return where(c, number(a), b); }

// a += b outside of any graph, for gradients and optimizers: same shape up to broadcasting of b.
void add_into(const Tensor& a, const Tensor& b);
// The gradient of a broadcast: summed back to `sizes` and converted to `dtype`.
Tensor sum_to(const Tensor& g, const Dims& sizes);
Tensor to_dtype(const Tensor& x, DType dtype);  // recorded; x itself when it has the dtype
bool has_nan(const Tensor& x);

// dst[...] = src[...], recorded as a write into dst.
const Tensor& copy_(const Tensor& dst, const Tensor& src);

}  // namespace chainrule
