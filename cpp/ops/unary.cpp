// The lines of the table with one argument.
#include "autograd/accumulate.h"
#include "autograd/record.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/loop_primitive.h"
#include "ops/probe.h"
#include "ops/views.h"

namespace chainrule {

using namespace neutral;

namespace {

constexpr double kNoParams[2] = {};

// A line of the table, as the recorded op needs it.
struct UnaryOp {
  const char* name;
  Kind kind;
  bool uses_x = false, uses_y = false;  // what its derivative is written in
  Tensor (*dx)(const Tensor& g, const Tensor& x, const Tensor& y,
               const double* p) = nullptr;  // of recorded ops
  LoopPrimitive value{}, slope{};
};

template <class F> UnaryOp unary_op(const char* name, Kind kind) {
  constexpr Probe uses = F::dx(Probe(), Probe(true, false, false), Probe(false, false, true), kNoParams);
  static_assert(!(uses.first && uses.result), "a derivative is written in x or in y, not in both");
  return {name, kind, uses.first, uses.result,
          [](const Tensor& g, const Tensor& x, const Tensor& y, const double* p) -> Tensor {
            return F::dx(g, x, y, p);
          }};
}

// clang-format off
#define UNARY(name, kind, ...) unary_op<fn::name##_fn>(#name, Kind::kind),
#define UNARY_P(name, kind, ...) UNARY(name, kind)
#define PREDICATE(name, ...) {#name, Kind::truth},
#define BINARY(...)
#define COMPARE(...)
#define BITWISE(...)
UnaryOp unary_ops[] = {
#include "ops/elementwise_table.inc"
};
// clang-format on

const UnaryOp& op_of(Unary f) { return unary_ops[static_cast<int>(f)]; }

bool is_itself(Unary f, const Tensor& x) {
  if (op_of(f).kind == Kind::rounding) return !x.is_floating();
  return f == Unary::sign && x.dtype() == DType::Bool;
}

DType compute_dtype(const UnaryOp& f, const Tensor& x) {
  if (f.kind == Kind::floating && !x.is_floating()) return default_dtype();
  CR_CHECK(f.value.table[static_cast<int>(x.dtype())] != nullptr, f.name, ": not implemented for ",
           name_of(x.dtype()));
  return x.dtype();
}

void run(const UnaryOp& f, const Tensor& out, const Tensor& x, DType compute, const double* p) {
  launch(f.value, {&out}, {&x}, attrs_of(compute, p));
}

// g, s -> dx, where s is x or y.
Tensor gradient(const UnaryOp& f, const Tensor& g, const Tensor& s, const double* p) {
  if (!(f.uses_x || f.uses_y) || (grad_enabled && (g.requires_grad() || s.requires_grad())))
    return f.dx(g, s, s, p == nullptr ? kNoParams : p);
  Tensor dx = room_for(g, s);
  launch(f.slope, {&dx}, {&g, &s}, attrs_of(s.dtype(), p));
  return dx;
}

auto closure(const UnaryOp& f, const Tensor& x, const Tensor& y, const double* p) {
  SavedTensor s = f.uses_x ? saved(x) : f.uses_y ? saved_result(y) : SavedTensor();
  const LoopAttrs keep = attrs_of(DType::Bool, p);
  return [&f, s = std::move(s), keep](const Tensor& g) { return gradient(f, g, *s, keep.params); };
}

// In the place of `before`, x holds the result.
void record_write_of(const UnaryOp& f, const Tensor& before, const Tensor& x, const double* p) {
  const Tensor* in = &x;
  record_write_node(x, detail::make_node(f.name, &in, 1, closure(f, before, x, p)));
}

}  // namespace

Tensor apply(Unary row, const Tensor& x, const double* p, const Tensor& out) {
  const UnaryOp& f = op_of(row);
  if (is_itself(row, x)) return clone(x);
  if ((row == Unary::isfinite || row == Unary::isinf) && !x.is_floating())
    return full(x.sizes(), row == Unary::isfinite, DType::Bool);
  const DType compute = compute_dtype(f, x), result = f.kind == Kind::truth ? DType::Bool : compute;
  const Tensor y =
      takes_result(f.name, out, x.sizes(), result, {&x}) ? out : empty_in_layout(x, x.sizes(), result);
  run(f, y, x, compute, p);
  if (f.kind == Kind::truth || !recording(x)) return y;
  return record(f.name, y, {&x}, closure(f, x, y, p));
}

const Tensor& apply_in_place(Unary row, const Tensor& x, const double* p) {
  const UnaryOp& f = op_of(row);
  if (f.kind == Kind::truth || is_itself(row, x)) {
    before_write(f.name, x);
    if (f.kind == Kind::truth) return copy_(x, apply(row, x));
    x.count_write();
    return x;
  }
  const DType compute = compute_dtype(f, x);
  CR_CHECK(compute == x.dtype(), f.name, "_: result type ", name_of(compute),
           " can't be cast to the desired output type ", name_of(x.dtype()));
  before_write(f.name, x);
  const bool recorded = recording(x);
  const Tensor before = recorded && f.uses_x ? clone(x) : x;
  run(f, x, before, compute, p);
  x.count_write();  // before saving: the saved result is the tensor after this write
  if (recorded) record_write_of(f, before, x, p);
  return x;
}

void record_applied(Unary f, const Tensor& x) { record_write_of(op_of(f), x, x, nullptr); }

Tensor derivative(Unary row, const Tensor& g, const Tensor& x, const double* p) {
  return gradient(op_of(row), expand(g, x.sizes()), x, p);
}

void init_unary() {
  for (int i = 0; i < static_cast<int>(Unary::count); ++i) {
    UnaryOp& f = unary_ops[i];
    f.value = value_primitive(f.name, f.kind, 1, elementwise_loops.unary[i].value);
    f.slope = derivative_primitive(f.name, elementwise_loops.unary[i].dx);
  }
}

}  // namespace chainrule
