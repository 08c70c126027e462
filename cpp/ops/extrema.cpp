// Largest and smallest elements, and where they are.
#include "autograd/record.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/gather.h"
#include "ops/reduce.h"
#include "ops/reduce_shape.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// The gradient goes in equal parts to all elements that equal the extremum.
Tensor shared_dx(const Tensor& g, const Tensor& x, const Tensor& y, const ReducedShape& shape) {
  const Tensor v = detach(x), largest = spread(detach(y), shape, x.sizes());
  const Tensor hit = v == largest || (isnan(v) && isnan(largest));
  const Tensor count = sum(to_dtype(hit, x.dtype()), shape.dims, true);
  return where(hit, spread(g, shape, x.sizes()) / count, 0);
}

Tensor extremum(const char* op, const char* node, Reduction reduction, const Tensor& x, const Dims& dims,
                bool keepdim) {
  const ReducedShape shape = reduced_shape(op, x, dims, keepdim);
  if (dims.empty()) {
    CR_CHECK(shape.n > 0, op,
             "(): expected reduction dim to be specified for input.numel() == 0. Specify the ",
             "reduction dim with the 'dim' argument.");
  }
  for (int64_t d : shape.dims)
    CR_CHECK_INDEX(x.size(static_cast<int>(d)) > 0, op, "(): expected reduction dim ", d,
                   " to have non-zero size.");
  Tensor y = run_reduction(op, reduction, x, shape);
  if (!recording(x)) return y;
  return record(node, y, {&x}, [shape, x = saved(x), y = saved_result(y)](const Tensor& g) {
    return shared_dx(g, *x, *y, shape);
  });
}

struct ArgAttrs {
  bool largest;
  int64_t outer, n, inner;
};
void run_arg(const Launch& l) {
  const auto& a = l.attrs<ArgAttrs>();
  kernels::arg_reduce({a.largest, l.in(0).dtype(), l.in(0).bytes(),
                       l.out_count > 1 ? l.out(1).bytes() : nullptr, l.out(0).data<int64_t>(), a.outer, a.n,
                       a.inner});
}
const Primitive kArgMax{"argmax", run_arg, sizeof(ArgAttrs)};
const Primitive kArgMin{"argmin", run_arg, sizeof(ArgAttrs)};

Extremum along(const char* op, bool largest, const Tensor& x, int64_t dim, bool keepdim) {
  const int d = check_dim(op, dim, x.dim());
  const ReducedShape shape = reduced_shape(op, x, {d}, keepdim);
  CR_CHECK_INDEX(shape.n > 0, op, "(): expected reduction dim ", d, " to have non-zero size.");
  const Middle m = as_middle(x, d);
  Extremum e{empty(shape.result, x.dtype()), empty(shape.result, DType::Int64)};
  launch(largest ? kArgMax : kArgMin, {&e.indices, &e.values}, {&m.x},
         ArgAttrs{largest, m.outer, m.n, m.inner});
  if (!recording(x)) return e;
  e.values = record(op, e.values, {&x}, [shape, d, sizes = x.sizes(), at = e.indices](const Tensor& g) {
    if (sizes.empty()) return g;
    return scatter_zeros(reshape(g, shape.kept), sizes, d, reshape(at, shape.kept));
  });
  return e;
}

Tensor argument(const char* op, bool largest, const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  CR_CHECK(x.dtype() != DType::Bool, op, ": not implemented for bool");
  Middle m;
  Dims result;
  if (dim) {
    const int d = check_dim(op, *dim, x.dim());
    const ReducedShape shape = reduced_shape(op, x, {d}, keepdim);
    CR_CHECK_INDEX(shape.n > 0, op, "(): expected reduction dim ", d, " to have non-zero size.");
    m = as_middle(x, d);
    result = shape.result;
  } else {
    CR_CHECK_INDEX(x.numel() > 0, op,
                   "(): expected reduction dim to be specified for input.numel() == 0. Specify ",
                   "the reduction dim with the 'dim' argument.");
    NoGrad no_grad;
    m = {contiguous(x), 1, x.numel(), 1};
    if (keepdim) result = Dims::filled(x.dim(), 1);
  }
  const Tensor at = empty(result, DType::Int64);
  launch(largest ? kArgMax : kArgMin, {&at}, {&m.x}, ArgAttrs{largest, m.outer, m.n, m.inner});
  return at;
}

}  // namespace

Tensor amax(const Tensor& x, const Dims& dims, bool keepdim) {
  return extremum("amax", "amax", Reduction::Max, x, dims, keepdim);
}
Tensor amin(const Tensor& x, const Dims& dims, bool keepdim) {
  return extremum("amin", "amin", Reduction::Min, x, dims, keepdim);
}
Tensor max_all(const Tensor& x) { return extremum("max", "max/1", Reduction::Max, x, {}, false); }
Tensor min_all(const Tensor& x) { return extremum("min", "min/1", Reduction::Min, x, {}, false); }
Extremum max_along(const Tensor& x, int64_t dim, bool keepdim) { return along("max", true, x, dim, keepdim); }
Extremum min_along(const Tensor& x, int64_t dim, bool keepdim) {
  return along("min", false, x, dim, keepdim);
}
Tensor argmax(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  return argument("argmax", true, x, dim, keepdim);
}
Tensor argmin(const Tensor& x, std::optional<int64_t> dim, bool keepdim) {
  return argument("argmin", false, x, dim, keepdim);
}

}  // namespace chainrule
