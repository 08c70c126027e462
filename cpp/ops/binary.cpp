// The lines of the table with two arguments, and what else is made of two and three element by element.
#include <algorithm>
#include <memory>

#include "autograd/accumulate.h"
#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/loop_primitive.h"
#include "ops/probe.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {

using namespace neutral;

namespace {

struct BinaryOp {
  using Gradient = Tensor (*)(const Tensor& g, const Tensor& a, const Tensor& b, const Tensor& y);
  const char* name;
  Kind kind;
  Probe a_uses{}, b_uses{};             // what the derivatives are written in
  Gradient da = nullptr, db = nullptr;  // of recorded ops
  LoopPrimitive value{}, da_loop{}, db_loop{}, both{}, both_added{};
};

template <class F> BinaryOp binary_op(const char* name, Kind kind) {
  constexpr Probe g, a(true, false, false), b(false, true, false), y(false, false, true);
  constexpr Probe a_uses = F::da(g, a, b, y), b_uses = F::db(g, a, b, y);
  return {name,
          kind,
          a_uses,
          b_uses,
          [](const Tensor& g, const Tensor& a, const Tensor& b, const Tensor& y) -> Tensor {
            return F::da(g, a, b, y);
          },
          [](const Tensor& g, const Tensor& a, const Tensor& b, const Tensor& y) -> Tensor {
            return F::db(g, a, b, y);
          }};
}

// clang-format off
#define UNARY(...)
#define UNARY_P(...)
#define PREDICATE(...)
#define BINARY(name, kind, ...) binary_op<fn::name##_fn>(#name, Kind::kind),
#define COMPARE(name, ...) {#name, Kind::truth},
#define BITWISE(name, ...) {#name, Kind::bits},
BinaryOp binary_ops[] = {
#include "ops/elementwise_table.inc"
};
// clang-format on

const BinaryOp& op_of(Binary f) { return binary_ops[static_cast<int>(f)]; }
bool has_derivative(const BinaryOp& f) { return f.kind != Kind::truth && f.kind != Kind::bits; }

template <class Test> bool any(const Tensor& t, Test test) {
  const Tensor c = contiguous(t);
  return visit_dtype(c.dtype(), [&](auto v) {
    const auto* p = c.data<decltype(v)>();
    return std::any_of(p, p + c.numel(), test);
  });
}

// What integers cannot do is refused before anything is computed.
void check_integers(Binary row, DType compute, const Tensor& b) {
  if (is_floating(compute)) return;
  if (row == Binary::fmod || row == Binary::remainder || row == Binary::floor_divide)
    CR_CHECK(!any(b, [](auto x) { return x == 0; }), op_of(row).name,
             ": ZeroDivisionError: an integer divisor is zero");
  if (row == Binary::pow)
    CR_CHECK(!any(b, [](auto x) { return x < decltype(x){}; }), op_of(row).name,
             ": Integers to negative integer powers are not allowed.");
}

void run(const BinaryOp& f, const Tensor& out, const Tensor& a, const Tensor& b, DType compute) {
  const BinaryOp* op = &f;
  if (compute == DType::Bool && has_derivative(f))  // a sum or product of bools is true where it is not zero
    op = &op_of(&f == &op_of(Binary::add) || &f == &op_of(Binary::maximum) ? Binary::logical_or
                                                                           : Binary::logical_and);
  launch(op->value, {&out}, {&a, &b}, LoopAttrs{compute, {}});
}

// The dtype computed in.
DType result_dtype(Binary row, const Tensor& a, const Tensor& b) {
  const BinaryOp& f = op_of(row);
  const DType t = result_type(a, b);
  if (f.kind == Kind::truth) return t;
  if (f.kind == Kind::bits) {
    CR_CHECK(!is_floating(t), f.name, ": not implemented for ", name_of(t));
    return t;
  }
  if (row == Binary::sub)
    CR_CHECK(
        a.dtype() != DType::Bool && b.dtype() != DType::Bool,
        "sub: Subtraction, the `-` operator, with a bool tensor is not supported. To invert a mask use the "
        "`~` or `logical_not()` operator, for the difference of two the `^` or `logical_xor()` operator.");
  if (f.kind == Kind::floating && !is_floating(t)) return default_dtype();
  if (t == DType::Bool)
    CR_CHECK(row == Binary::add || row == Binary::mul || row == Binary::maximum || row == Binary::minimum,
             f.name, ": not implemented for bool");
  return t;
}

// What an operand's gradient has to become: nothing, unless it was broadcast or converted. Seldom there, so it is kept
// outside of the node.
struct OperandForm {
  Dims sizes;
  DType dtype;
  static std::unique_ptr<OperandForm> of(const Tensor& x, const Tensor& y) {
    if (x.sizes() == y.sizes() && x.dtype() == y.dtype()) return nullptr;
    return std::make_unique<OperandForm>(OperandForm{x.sizes(), x.dtype()});
  }
};
Tensor in_form(const std::unique_ptr<OperandForm>& form, Tensor d) {
  return form ? to_dtype(sum_to(d, form->sizes), form->dtype) : d;
}

// `last`: nobody reads g after this.
Tensor gradient(Probe uses, BinaryOp::Gradient recorded, const LoopPrimitive& loop, const Tensor& g,
                const Tensor& a, const Tensor& b, const Tensor& y, bool last) {
  const auto needs_graph = [](const Tensor& t) { return t.defined() && t.requires_grad(); };
  if (!(uses.first || uses.second || uses.result) ||
      (grad_enabled && (needs_graph(g) || needs_graph(a) || needs_graph(b) || needs_graph(y))))
    return recorded(g, a, b, y);
  Tensor d = last ? room_for(g, g) : empty_in_layout(g, g.sizes(), g.dtype());
  launch(loop, {&d}, {&g, uses.first ? &a : &g, uses.second ? &b : &g, uses.result ? &y : &g},
         LoopAttrs{g.dtype(), {}});
  return d;
}

// Of a product, where both are wanted and not recorded: in one pass, which adds the second to a sum that waits for it.
std::array<Tensor, 2> both_gradients(const BinaryOp& f, const Tensor& g, const Tensor& a, const Tensor& b,
                                     const Tensor& sum) {
  const LoopAttrs attrs{g.dtype(), {}};
  if (sum.defined()) {
    Tensor da = room_for(g, g), db = room_for_sum(sum);
    launch(f.both_added, {&da, &db}, {&g, &a, &b, &sum}, attrs);
    return {da, db};
  }
  Tensor da = empty_in_layout(g, g.sizes(), g.dtype()), db = room_for(g, g);
  launch(f.both, {&da, &db}, {&g, &a, &b}, attrs);
  return {da, db};
}

void run_add_term(const Tensor& out, const Tensor& x, const Tensor& a, const Tensor& b, double scale,
                  Term term) {
  static const LoopPrimitive primitive = derivative_primitive("add_term", elementwise_loops.add_term);
  launch(primitive, {&out}, {&x, &a, &b}, LoopAttrs{out.dtype(), {scale, static_cast<double>(term)}});
}

// sum + a * b, the product rounded, as it is where it is made apart.
Tensor plus_product(const Tensor& sum, const Tensor& a, const Tensor& b) {
  Tensor y = room_for_sum(sum);
  run_add_term(y, sum, a, b, 1, Term::Product);
  return y;
}

auto closure(const BinaryOp& f, const Tensor& a, const Tensor& b, const Tensor& y) {
  const bool da = a.requires_grad(), db = b.requires_grad();
  struct Kept {
    const BinaryOp& f;
    SavedTensor a, b, y;
    std::unique_ptr<OperandForm> a_form, b_form;
  };
  Kept k{f, {}, {}, {}, {}, {}};
  if ((da && f.a_uses.first) || (db && f.b_uses.first)) k.a = saved(a);
  if ((da && f.a_uses.second) || (db && f.b_uses.second)) k.b = saved(b);
  if ((da && f.a_uses.result) || (db && f.b_uses.result)) k.y = saved_result(y);
  if (da) k.a_form = OperandForm::of(a, y);
  if (db) k.b_form = OperandForm::of(b, y);
  return [k = std::move(k)](const Tensor& g, Needs need) {
    const BinaryOp& f = k.f;
    const Tensor a = *k.a, b = *k.b, y = *k.y;
    Tensor da, db;
    if (f.both.table[0] != nullptr && !grad_enabled) {
      const Tensor sum_a = need[0] && !k.a_form ? take_waiting(need, 0, g) : Tensor(),
                   sum_b = need[1] && !k.b_form ? take_waiting(need, 1, g) : Tensor();
      if (need[0] && need[1] && !(sum_a.defined() && sum_b.defined())) {
        const bool first = sum_a.defined();
        auto both = first ? both_gradients(f, g, b, a, sum_a) : both_gradients(f, g, a, b, sum_b);
        return std::array{in_form(k.a_form, std::move(both[first])),
                          in_form(k.b_form, std::move(both[!first]))};
      }
      if (sum_a.defined()) da = plus_product(sum_a, g, b);
      if (sum_b.defined()) db = plus_product(sum_b, g, a);
    }
    if (need[0] && !da.defined())
      da = in_form(k.a_form, gradient(f.a_uses, f.da, f.da_loop, g, a, b, y, !need[1]));
    if (need[1] && !db.defined())
      db = in_form(k.b_form, gradient(f.b_uses, f.db, f.db_loop, g, a, b, y, true));
    return std::array{std::move(da), std::move(db)};
  };
}

}  // namespace

Tensor apply(Binary row, const Tensor& a, const Tensor& b, const Tensor& out) {
  const BinaryOp& f = op_of(row);
  const DType compute = result_dtype(row, a, b), result = f.kind == Kind::truth ? DType::Bool : compute;
  const Dims shape =
      a.sizes() == b.sizes() || b.dim() == 0 ? a.sizes() : broadcast_shapes(f.name, a.sizes(), b.sizes());
  check_integers(row, compute, b);
  const bool into_out = takes_result(f.name, out, shape, result, {&a, &b});
  // In the layout of an operand that has the result's shape.
  const Tensor y = into_out ? out : empty_in_layout(shape == a.sizes() ? a : b, shape, result);
  run(f, y, a, b, compute);
  if (into_out || !has_derivative(f)) return y;
  if (recording(a, b)) return record(f.name, y, {&a, &b}, closure(f, a, b, y));
  y.impl()->wrapped_number = a.impl()->wrapped_number && b.impl()->wrapped_number;
  return y;
}

const Tensor& apply_in_place(Binary row, const Tensor& a, const Tensor& b) {
  const BinaryOp& f = op_of(row);
  const DType compute = result_dtype(row, a, b), result = f.kind == Kind::truth ? DType::Bool : compute;
  CR_CHECK(can_cast(result, a.dtype()), f.name, "_: result type ", name_of(result),
           " can't be cast to the desired output type ", name_of(a.dtype()));
  const Dims shape = broadcast_shapes(f.name, a.sizes(), b.sizes());
  CR_CHECK(shape == a.sizes(), f.name, "_: output with shape ", a.sizes(),
           " doesn't match the broadcast shape ", shape);
  before_write(f.name, a, has_derivative(f) && recording(b));
  if (!has_derivative(f) && result != a.dtype()) return copy_(a, apply(row, a, b));
  check_no_partial_overlap(f.name, a, b);
  check_integers(row, compute, b);
  const bool recorded = has_derivative(f) && recording(a, b);
  // An operand in the same memory is saved before it is overwritten, so that backward notices.
  if (recorded && (result != a.dtype() || a.impl()->storage.get() == b.impl()->storage.get()))
    return copy_(a, apply(row, clone(a), a.same(b) ? clone(b) : b));
  const bool keeps =
      recorded && ((f.a_uses.first && a.requires_grad()) || (f.b_uses.first && b.requires_grad()));
  const Tensor before = keeps ? clone(a) : a;
  run(f, a, before, b, compute);
  a.count_write();
  if (!recorded) return a;
  const Tensor* ins[] = {&a, &b};
  record_write_node(a, detail::make_node(f.name, ins, 2, closure(f, before, b, a)));
  return a;
}

void init_binary() {
  for (int i = 0; i < static_cast<int>(Binary::count); ++i) {
    BinaryOp& f = binary_ops[i];
    const BinaryLoops& loops = elementwise_loops.binary[i];
    f.value = value_primitive(f.name, f.kind, 2, loops.value);
    f.da_loop = derivative_primitive(f.name, loops.da);
    f.db_loop = derivative_primitive(f.name, loops.db);
    f.both = derivative_primitive(f.name, loops.both);
    f.both_added = derivative_primitive(f.name, loops.both_added);
  }
}

namespace {

void run_where(const Launch& l) {
  LoopSpec spec;
  spec.outs[0] = &l.out(0);
  spec.in_count = 3;
  const DType t = l.out(0).dtype();
  for (int i = 0; i < 3; ++i) {
    spec.ins[i] = &l.in(i);
    spec.in_types[i] = i == 0 ? DType::Bool : t;
  }
  spec.out_types[0] = t;
  run_loop(elementwise_loops.where[size_of(t)], spec);
}
const Primitive kWhere{"where", run_where, 0};

}  // namespace

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b, const Tensor& out) {
  CR_CHECK(condition.dtype() == DType::Bool,
           "where: expected condition to be a boolean tensor, but got one of dtype ",
           name_of(condition.dtype()));
  const Dims shape =
      broadcast_shapes("where", condition.sizes(), broadcast_shapes("where", a.sizes(), b.sizes()));
  const DType result = result_type(a, b);
  Tensor y = takes_result("where", out, shape, result, {&condition, &a, &b}) ? out : empty(shape, result);
  launch(kWhere, {&y}, {&condition, &a, &b});
  if (!recording(a, b)) return y;
  return record("where", y, {&condition, &a, &b},
                [c = saved(condition), as = a.sizes(), bs = b.sizes(), ad = a.dtype(), bd = b.dtype()](
                    const Tensor& g, Needs need) {
                  return std::array{Tensor(), need[1] ? to_dtype(sum_to(where(*c, g, 0), as), ad) : Tensor(),
                                    need[2] ? to_dtype(sum_to(where(*c, 0, g), bs), bd) : Tensor()};
                });
}

bool add_term(const char* op, const Tensor& x, const Tensor& a, const Tensor& b, double scale, Term term) {
  if (!x.is_floating() || recording(x, a, b)) return false;
  for (const Tensor* t : {&a, &b})
    if (t->dtype() != x.dtype() || t->impl()->storage.get() == x.impl()->storage.get()) return false;
  if (!(broadcast_shapes(op, x.sizes(), broadcast_shapes(op, a.sizes(), b.sizes())) == x.sizes()))
    return false;
  before_write(op, x);
  run_add_term(x, x, a, b, scale, term);
  x.count_write();
  return true;
}

Tensor plus_term(const char* name, const Tensor& x, const Tensor& a, const Tensor& b, const Scalar& scale,
                 Term term, const Tensor& out) {
  const bool pair = term != Term::Itself;
  const double s = scale.as<double>();
  if (!x.is_floating() || a.dtype() != x.dtype() || b.dtype() != x.dtype() || (!pair && s == 1)) {
    Tensor added = term == Term::Product ? a * b : term == Term::Quotient ? a / b : a;
    CR_CHECK(scale.kind != Scalar::Kind::Float || added.is_floating(), name,
             ": for integral input tensors, argument alpha must not be a floating point number.");
    if (s != 1) added = added * scale;
    const Tensor y = apply(Binary::add, x, added, out);
    rename_node(y, name);
    return y;
  }
  const Dims shape = broadcast_shapes(name, x.sizes(), broadcast_shapes(name, a.sizes(), b.sizes()));
  const bool into_out = takes_result(name, out, shape, x.dtype(), {&x, &a, &b});
  const Tensor y = into_out ? out : empty_in_layout(x, shape, x.dtype());
  run_add_term(y, x, a, b, s, term);
  if (into_out || !recording(x, a, b)) return y;
  struct Kept {
    SavedTensor a, b;
    Dims x, a_sizes, b_sizes;
  } kept{{}, {}, x.sizes(), a.sizes(), b.sizes()};
  if (pair && b.requires_grad()) kept.a = saved(a);
  if (pair && (a.requires_grad() || term == Term::Quotient)) kept.b = saved(b);
  auto closure = [s, term, k = std::move(kept)](const Tensor& g, Needs need) -> TensorList {
    const Tensor scaled = (need[1] || need[2]) && s != 1 ? g * s : g;
    Tensor da = scaled, db;
    if (need[1] && term == Term::Product) da = scaled * *k.b;
    if (need[1] && term == Term::Quotient) da = scaled / *k.b;
    if (term != Term::Itself && need[2])
      db = term == Term::Product ? scaled * *k.a : -scaled * (*k.a / square(*k.b));
    TensorList out{need[0] ? sum_to(g, k.x) : Tensor(), need[1] ? sum_to(da, k.a_sizes) : Tensor()};
    if (term != Term::Itself) out.push_back(need[2] ? sum_to(db, k.b_sizes) : Tensor());
    return out;
  };
  return pair ? record(name, y, {&x, &a, &b}, std::move(closure))
              : record(name, y, {&x, &a}, std::move(closure));
}

Tensor towards(const Tensor& start, const Tensor& end, const Tensor& weight) {
  const bool each = weight.dim() > 0;
  const Dims both = broadcast_shapes("lerp", start.sizes(), end.sizes());
  Tensor y = empty_in_layout(start, broadcast_shapes("lerp", both, weight.sizes()), start.dtype());
  run_add_term(y, start, end, each ? weight : end, each ? 1 : item(weight).as<double>(),
               each ? Term::TowardsEach : Term::Towards);
  return y;
}

Tensor clamp_between(const Tensor& x, const Tensor& low, const Tensor& high) {
  static const LoopPrimitive primitive = derivative_primitive("clamp", elementwise_loops.clamp);
  const Dims both = broadcast_shapes("clamp", x.sizes(), low.sizes());
  Tensor y = empty_in_layout(x, broadcast_shapes("clamp", both, high.sizes()), x.dtype());
  launch(primitive, {&y}, {&x, &low, &high}, LoopAttrs{x.dtype(), {}});
  return y;
}

void add_into(const Tensor& a, const Tensor& b) {
  NoGrad no_grad;
  run(op_of(Binary::add), a, a, b, a.dtype());
  a.count_write();
}

Tensor sum_to(const Tensor& g, const Dims& sizes) {
  if (g.sizes() == sizes) return g;
  Dims dims;
  const int extra = g.dim() - sizes.size();
  for (int d = 0; d < g.dim(); ++d)
    if (d < extra || (sizes[d - extra] == 1 && g.size(d) != 1)) dims.push_back(d);
  Tensor s = dims.empty() ? g : sum(g, dims, true);
  return s.sizes() == sizes ? s : reshape(s, sizes);
}

}  // namespace chainrule
