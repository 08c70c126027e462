#include "ops/reduce_shape.h"

#include "autograd/record.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct ReduceAttrs {
  Reduction op;
  int64_t outer, n, inner;
  double parameter, divisor;
  int64_t outer_stride, row_stride;
};
void run_reduce(const Launch& l) {
  const auto& a = l.attrs<ReduceAttrs>();
  kernels::reduce({a.op, l.in(0).dtype(), l.in(0).bytes(), l.out(0).bytes(), a.outer, a.n, a.inner,
                   a.parameter, a.divisor, nullptr, a.outer_stride, a.row_stride});
}

// One name a reduction, so that an observer sees what ran.
const Primitive* primitive_of(Reduction op) {
  static const Primitive primitives[] = {
      {"sum", run_reduce, sizeof(ReduceAttrs)},         {"prod", run_reduce, sizeof(ReduceAttrs)},
      {"amax", run_reduce, sizeof(ReduceAttrs)},        {"amin", run_reduce, sizeof(ReduceAttrs)},
      {"all", run_reduce, sizeof(ReduceAttrs)},         {"any", run_reduce, sizeof(ReduceAttrs)},
      {"sum_squares", run_reduce, sizeof(ReduceAttrs)}, {"var", run_reduce, sizeof(ReduceAttrs)},
      {"logsumexp", run_reduce, sizeof(ReduceAttrs)}};
  return &primitives[static_cast<int>(op)];
}

DType result_dtype(Reduction op, DType x) {
  switch (op) {
    case Reduction::Sum:
    case Reduction::Prod: return is_floating(x) ? x : DType::Int64;
    case Reduction::All:
    case Reduction::Any: return DType::Bool;
    default: return x;
  }
}

// Do the reduced dimensions lie side by side (those of one element aside)?
bool adjacent(const Tensor& x, const ReducedShape& shape) {
  int state = 0;  // before, within, after
  for (int d = 0; d < x.dim(); ++d) {
    if (x.size(d) == 1) continue;
    const bool reduced = shape.dims.contains(d);
    if (reduced && state == 2) return false;
    if (reduced)
      state = 1;
    else if (state == 1)
      state = 2;
  }
  return true;
}

// Of a permuted tensor without gaps, the dimensions as they lie in memory; else nothing.
Dims memory_order(const Tensor& x) {
  Dims order;
  for (int d = 0; d < x.dim(); ++d) {
    int at = order.size();
    while (at > 0 && x.stride(static_cast<int>(order[at - 1])) < x.stride(d)) --at;
    order.insert(at, d);
  }
  int64_t step = 1;
  for (int i = x.dim() - 1; i >= 0; --i) {
    const auto d = static_cast<int>(order[i]);
    if (x.size(d) != 1 && x.stride(d) != step) return {};
    step *= x.size(d);
  }
  return order;
}

// Dimensions as one, from the last on: how many elements, the stride from one to the next, and whether there is one.
struct Run {
  int64_t size = 1, stride = 1;
  bool even = true;
  void take(int64_t n, int64_t step) {
    if (n == 1) return;
    if (size == 1)
      stride = step;
    else
      even = even && step == size * stride;
    size *= n;
  }
};

// x, whose reduced dimensions are adjacent, as [outer, n, inner].
struct Lying {
  Run outer, n, inner;
  Lying(const Tensor& x, const ReducedShape& shape) {
    bool after = true;
    for (int d = x.dim() - 1; d >= 0; --d) {
      const bool reduced = shape.dims.contains(d);
      if (reduced && x.size(d) != 1) after = false;
      (reduced ? n : after ? inner : outer).take(x.size(d), x.stride(d));
    }
  }
  bool in_rows() const {  // contiguous along the last dimension
    return inner.size > 1 ? inner.even && inner.stride == 1 : n.stride == 1;
  }
  bool reducible() const { return outer.even && n.even && in_rows(); }
};
constexpr int64_t kLongRow = 64;  // worth to be reduced by itself, and its results then, rather than copied

// The last of the reduced dimensions, as many as lie in one run of at least so many elements; else none.
Dims last_run(const Tensor& x, const ReducedShape& shape, int64_t least) {
  Dims dims;
  Run run;
  for (int i = shape.dims.size() - 1; i >= 0; --i) {
    const auto d = static_cast<int>(shape.dims[i]);
    Run longer = run;
    longer.take(x.size(d), x.stride(d));
    if (!longer.even) break;
    run = longer;
    dims.insert(0, d);
  }
  return run.size >= least ? dims : Dims();
}

}  // namespace

ReducedShape reduced_shape(const char* op, const Tensor& x, const Dims& dims, bool keepdim) {
  ReducedShape s;
  s.kept = x.sizes();
  s.n = 1;
  bool reduced[kMaxDims] = {};
  for (int64_t d : dims) {
    const int at = check_dim(op, d, x.dim());
    CR_CHECK(!reduced[at], op, "(): dim ", at, " appears multiple times in the list of dims");
    reduced[at] = true;
  }
  for (int d = 0; d < x.dim(); ++d) {
    if (!dims.empty() && !reduced[d]) {
      s.result.push_back(x.size(d));
      continue;
    }
    s.dims.push_back(d);
    s.n *= x.size(d);
    s.kept[d] = 1;
    if (keepdim) s.result.push_back(1);
  }
  return s;
}

Middle as_middle(const Tensor& x, const ReducedShape& shape) {
  NoGrad no_grad;
  if (adjacent(x, shape)) {
    Middle m{contiguous(x), 1, shape.n, 1};
    bool before = true;
    for (int d = 0; d < x.dim(); ++d) {
      if (shape.dims.contains(d)) {
        if (x.size(d) != 1) before = false;
      } else {
        (before ? m.outer : m.inner) *= x.size(d);
      }
    }
    return m;
  }
  Dims order;
  int64_t outer = 1;
  for (int d = 0; d < x.dim(); ++d)
    if (!shape.dims.contains(d)) order.push_back(d), outer *= x.size(d);
  for (int64_t d : shape.dims) order.push_back(d);
  return {contiguous(permute(x, order)), outer, shape.n, 1};
}

Middle as_middle(const Tensor& x, int dim) {
  NoGrad no_grad;
  Middle m{contiguous(x), 1, x.dim() == 0 ? 1 : x.size(dim), 1};
  for (int d = 0; d < dim; ++d) m.outer *= x.size(d);
  for (int d = dim + 1; d < x.dim(); ++d) m.inner *= x.size(d);
  return m;
}

Tensor spread(const Tensor& g, const ReducedShape& shape, const Dims& sizes) {
  return expand(g.sizes() == shape.kept ? g : reshape(g, shape.kept), sizes);
}

Tensor run_reduction(const char* op, Reduction reduction, const Tensor& x, const ReducedShape& shape,
                     double parameter, double divisor) {
  // Without a copy, and so in the order in which the elements lie: their strides are part of a sum's definition.
  if (!x.is_contiguous()) {
    if (const Dims order = memory_order(x); !order.empty()) {
      NoGrad no_grad;
      Dims reduced, back = order;
      for (int i = 0; i < order.size(); ++i) {
        back[static_cast<int>(order[i])] = i;
        if (shape.dims.contains(order[i])) reduced.push_back(i);
      }
      const Tensor lying = permute(x, order);
      const Tensor y =
          run_reduction(op, reduction, lying, reduced_shape(op, lying, reduced, true), parameter, divisor);
      return view(contiguous(permute(y, back)), shape.result);
    }
  }
  // What may be done dimension by dimension is, rather than copied into order: dimensions apart, and long rows with gaps.
  const bool whole = adjacent(x, shape);
  const Lying lying(x, shape);
  if (reduction < Reduction::SumSquares && whole && !lying.n.even && lying.outer.even && lying.in_rows()) {
    if (const Dims last = last_run(x, shape, kLongRow / lying.inner.size); !last.empty()) {
      NoGrad no_grad;
      const Dims first(shape.dims.data(), shape.dims.size() - last.size());
      const Tensor partial = run_reduction(op, reduction, x, reduced_shape(op, x, last, true), parameter);
      return view(
          run_reduction(op, reduction, partial, reduced_shape(op, partial, first, true), parameter, divisor),
          shape.result);
    }
  }
  if (reduction < Reduction::SumSquares && !whole) {
    Tensor partial = x;
    Dims rest = shape.dims;
    while (!rest.empty()) {
      Dims run;
      do {
        run.insert(0, rest.back());
        rest.pop_back();
      } while (!rest.empty() && rest.back() == run[0] - 1);
      const ReducedShape step = reduced_shape(op, partial, run, true);
      partial = run_reduction(op, reduction, partial, step, parameter, rest.empty() ? divisor : 1);
    }
    NoGrad no_grad;
    return view(partial, shape.result);
  }
  const Tensor y = empty(shape.result, result_dtype(reduction, x.dtype()));
  if (whole && lying.reducible() && x.numel() > 0) {
    launch(*primitive_of(reduction), {&y}, {&x},
           ReduceAttrs{reduction, lying.outer.size, lying.n.size, lying.inner.size, parameter, divisor,
                       lying.outer.stride, lying.n.stride});
    return y;
  }
  const Middle m = as_middle(x, shape);
  launch(*primitive_of(reduction), {&y}, {&m.x},
         ReduceAttrs{reduction, m.outer, m.n, m.inner, parameter, divisor, m.n * m.inner, m.inner});
  return y;
}

}  // namespace chainrule
