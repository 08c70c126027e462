#include "ops/reduce.h"

#include "autograd/record.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/join.h"
#include "ops/reduce_shape.h"
#include "ops/views.h"

namespace chainrule {
using neutral::fn::kInfinity;

namespace {

void check_floating(const char* op, const Tensor& x) {
  CR_CHECK(x.is_floating(), op, ": input dtype must be floating point, got ", name_of(x.dtype()));
}

// x with the reduced dimensions last and all others first, as a matrix; and back.
Tensor to_rows(const Tensor& x, const ReducedShape& shape) {
  Dims order;
  int64_t rows = 1;
  for (int d = 0; d < x.dim(); ++d)
    if (!shape.dims.contains(d)) order.push_back(d), rows *= x.size(d);
  for (int64_t d : shape.dims) order.push_back(d);
  return reshape(permute(x, order), {rows, shape.n});
}
Tensor from_rows(const Tensor& rows, const ReducedShape& shape, const Dims& sizes) {
  Dims order, back = Dims::filled(sizes.size(), 0), ordered;
  for (int d = 0; d < sizes.size(); ++d)
    if (!shape.dims.contains(d)) order.push_back(d);
  for (int64_t d : shape.dims) order.push_back(d);
  for (int i = 0; i < order.size(); ++i)
    back[static_cast<int>(order[i])] = i, ordered.push_back(sizes[order[i]]);
  return permute(reshape(rows, ordered), back);
}

// For each element along a dimension, the product of all others: the halves multiply, and so on up to one product, and on
// the way down each takes what came from above times its partner. Exact with zeros, and made of products alone.
Tensor product_of_others(const Tensor& x, int dim);

// The same, not recorded, with the halves a and b of x: every product is written where it belongs.
Tensor product_of_others(const Tensor& x, const Tensor& a, const Tensor& b, int dim) {
  const int64_t n = x.size(dim), half = n / 2, rest = n % 2;
  const auto product = [](const Tensor& p, const Tensor& q, const Tensor& out) {
    if (const Tensor y = apply(Binary::mul, p, q, out); !y.same(out)) copy_(out, y);
  };
  Dims sizes = x.sizes();
  const Tensor out = empty(sizes, x.dtype());
  sizes[dim] = half + rest;
  const Tensor next = empty(sizes, x.dtype());
  product(a, b, narrow(next, dim, 0, half));
  if (rest == 1) copy_(narrow(next, dim, half, 1), narrow(x, dim, n - 1, 1));
  const Tensor above = product_of_others(next, dim), pairs = narrow(above, dim, 0, half);
  product(pairs, b, narrow(out, dim, 0, half));
  product(pairs, a, narrow(out, dim, half, half));
  if (rest == 1) copy_(narrow(out, dim, n - 1, 1), narrow(above, dim, half, 1));
  return out;
}

Tensor product_of_others(const Tensor& x, int dim) {
  const int64_t n = x.size(dim), half = n / 2, rest = n % 2;
  if (n <= 1) return ones_like(x);
  const Tensor a = narrow(x, dim, 0, half), b = narrow(x, dim, half, half);
  if (!recording(x)) return product_of_others(x, a, b, dim);
  if (rest == 0) {
    const Tensor above = product_of_others(a * b, dim);
    return cat({above * b, above * a}, dim);
  }
  const Tensor above = product_of_others(cat({a * b, narrow(x, dim, n - 1, 1)}, dim), dim);
  const Tensor pairs = narrow(above, dim, 0, half);
  return cat({pairs * b, pairs * a, narrow(above, dim, half, 1)}, dim);
}

}  // namespace

Tensor sum(const Tensor& x, const Dims& dims, bool keepdim) {
  const ReducedShape shape = reduced_shape("sum", x, dims, keepdim);
  Tensor y = run_reduction("sum", Reduction::Sum, x, shape);
  if (!recording(x)) return y;
  return record(dims.empty() ? "sum" : "sum/1", y, {&x},
                [shape, sizes = x.sizes()](const Tensor& g) { return spread(g, shape, sizes); });
}

Tensor mean(const Tensor& x, const Dims& dims, bool keepdim) {
  CR_CHECK(x.is_floating(), "mean: input dtype must be floating point, got ", name_of(x.dtype()),
           "; give dtype= to convert first");
  const ReducedShape shape = reduced_shape("mean", x, dims, keepdim);
  const double n = static_cast<double>(shape.n);
  Tensor y = run_reduction("mean", Reduction::Sum, x, shape, 0, n);
  if (!recording(x)) return y;
  return record(dims.empty() ? "mean" : "mean/1", y, {&x},
                [shape, n, sizes = x.sizes()](const Tensor& g) { return spread(g / n, shape, sizes); });
}

// dx_i = g * product of the others.
Tensor prod(const Tensor& x, const Dims& dims, bool keepdim) {
  const ReducedShape shape = reduced_shape("prod", x, dims, keepdim);
  Tensor y = run_reduction("prod", Reduction::Prod, x, shape);
  if (!recording(x)) return y;
  return record(dims.empty() ? "prod" : "prod/1", y, {&x}, [shape, x = saved(x)](const Tensor& g) {
    const Tensor v = *x;
    const Tensor others = shape.dims.size() == 1
                              ? product_of_others(v, static_cast<int>(shape.dims[0]))
                              : from_rows(product_of_others(to_rows(v, shape), 1), shape, v.sizes());
    const Tensor dy = spread(g, shape, v.sizes());
    return recording(dy, others) ? dy * others : apply(Binary::mul, dy, others, others);
  });
}

namespace {

// dx = g * 2 / (n - correction) * (x - mean)
Tensor var_dx(const Tensor& g, const Tensor& x, const ReducedShape& shape, double correction) {
  const double freedom = static_cast<double>(shape.n) - correction;
  return spread(g * (2 / (freedom > 0 ? freedom : 0)), shape, x.sizes()) * (x - mean(x, shape.dims, true));
}

}  // namespace

Tensor var(const Tensor& x, const Dims& dims, double correction, bool keepdim) {
  check_floating("var", x);
  const ReducedShape shape = reduced_shape("var", x, dims, keepdim);
  Tensor y = run_reduction("var", Reduction::Var, x, shape, correction);
  if (!recording(x)) return y;
  return record("var", y, {&x}, [shape, correction, x = saved(x)](const Tensor& g) {
    return var_dx(g, *x, shape, correction);
  });
}

Tensor standard_deviation(const Tensor& x, const Dims& dims, double correction, bool keepdim) {
  check_floating("std", x);
  const ReducedShape shape = reduced_shape("std", x, dims, keepdim);
  Tensor y;
  {
    NoGrad no_grad;
    y = sqrt(run_reduction("std", Reduction::Var, x, shape, correction));
  }
  if (!recording(x)) return y;
  return record("std", y, {&x}, [shape, correction, x = saved(x), y = saved_result(y)](const Tensor& g) {
    const Tensor s = *y;
    return var_dx(where(s == 0, 0, g / (2 * s)), *x, shape, correction);
  });
}

Tensor logsumexp(const Tensor& input, const Dims& dims, bool keepdim) {
  const Tensor x = input.is_floating() ? input : to_dtype(input, default_dtype());
  const ReducedShape shape = reduced_shape("logsumexp", x, dims, keepdim);
  Tensor y = shape.n == 0 ? full(shape.result, -kInfinity, x.dtype())
                          : run_reduction("logsumexp", Reduction::LogSumExp, x, shape);
  if (!recording(x)) return y;
  return record("logsumexp", y, {&x}, [shape, x = saved(x), y = saved_result(y)](const Tensor& g) {
    const Tensor v = *x, r = *y;
    // Where the result is infinite, -inf - -inf would be NaN.
    const Tensor shift = where(abs(detach(r)) == kInfinity, 0, r);
    return spread(g, shape, v.sizes()) * exp(v - spread(shift, shape, v.sizes()));
  });
}

namespace {

// The p-norm's derivative, x / |x| (|x| / y)^(p - 1), with the limits that PyTorch takes at zero.
Tensor norm_dx(const Tensor& g, const Tensor& x, const Tensor& y, double p, const ReducedShape& shape) {
  if (p == 0) return {};  // a count, flat wherever it is smooth
  if (p == 1) return spread(g, shape, x.sizes()) * sign(x);
  if (p == 2) return x * spread(where(y == 0, 0, g / y), shape, x.sizes());
  if (p == kInfinity || p == -kInfinity) {
    const Tensor hit = abs(detach(x)) == spread(detach(y), shape, x.sizes());
    const Tensor count = sum(to_dtype(hit, x.dtype()), shape.dims, true);
    return where(hit, sign(x) * spread(g, shape, x.sizes()) / count, 0);
  }
  const Tensor powers = sign(x) * where(x == 0, 0, pow(where(x == 0, 1, abs(x)), p - 1));
  const Tensor scale = where(y == 0, 0, g / pow(where(y == 0, 1, y), p - 1));
  return powers * spread(scale, shape, x.sizes());
}

}  // namespace

Tensor norm(const Tensor& x, double p, const Dims& dims, bool keepdim) {
  CR_CHECK(x.is_floating(), "norm: input dtype must be floating point, got ", name_of(x.dtype()));
  const ReducedShape shape = reduced_shape("norm", x, dims, keepdim);
  CR_CHECK(shape.n > 0 || (p >= 0 && p != kInfinity), "norm: a norm of order ", p,
           " of no elements has no identity");
  Tensor y;
  {
    NoGrad no_grad;
    if (p == 2) {
      y = sqrt(run_reduction("norm", Reduction::SumSquares, x, shape));
    } else if (p == kInfinity || p == -kInfinity) {
      y = run_reduction("norm", p > 0 ? Reduction::Max : Reduction::Min, abs(x), shape);
    } else {
      const Tensor powers = p == 0 ? to_dtype(x != 0, x.dtype()) : p == 1 ? abs(x) : pow(abs(x), p);
      y = run_reduction("norm", Reduction::Sum, powers, shape);
      if (p != 0 && p != 1) y = pow(y, 1 / p);
    }
  }
  if (!recording(x)) return y;
  return record("linalg_vector_norm", y, {&x},
                [shape, p, x = saved(x), y = saved_result(y)](const Tensor& g) {
                  return norm_dx(g, *x, *y, p, shape);
                });
}

Tensor all(const Tensor& x, const Dims& dims, bool keepdim) {
  const Tensor y = run_reduction("all", Reduction::All, x, reduced_shape("all", x, dims, keepdim));
  return x.dtype() == DType::UInt8 ? to_dtype(y, DType::UInt8) : y;
}
Tensor any(const Tensor& x, const Dims& dims, bool keepdim) {
  const Tensor y = run_reduction("any", Reduction::Any, x, reduced_shape("any", x, dims, keepdim));
  return x.dtype() == DType::UInt8 ? to_dtype(y, DType::UInt8) : y;
}

}  // namespace chainrule
