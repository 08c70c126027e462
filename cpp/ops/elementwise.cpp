#include "ops/elementwise.h"

#include <algorithm>
#include <memory>

#include "autograd/accumulate.h"
#include "autograd/record.h"
#include "core/loop.h"
#include "core/shape_checks.h"
#include "kernels/elementwise.h"
#include "ops/fill.h"
#include "ops/probe.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {

using namespace neutral;

namespace {

ElementwiseLoops loops;

enum class Kind { number, floating, rounding };

struct LoopAttrs {
  DType compute;
  double params[2];
};

// An elementwise primitive knows its row; the loop is chosen by the dtype computed in.
struct LoopPrimitive : Primitive {
  const Loop* table;  // by dtype, or by floating dtype for derivatives
  bool by_floating;
  bool gives_bool = false;  // the loop writes truth values, whatever it computes in
};

void run_elementwise(const Launch& l) {
  const auto& p = static_cast<const LoopPrimitive&>(l.primitive);
  const auto& attrs = l.attrs<LoopAttrs>();
  LoopSpec spec;
  spec.out_count = l.out_count;
  for (int i = 0; i < l.out_count; ++i) spec.outs[i] = &l.out(i);
  spec.in_count = l.in_count;
  for (int i = 0; i < l.in_count; ++i) {
    spec.ins[i] = &l.in(i);
    spec.in_types[i] = attrs.compute;
  }
  spec.out_types[0] = spec.out_types[1] = p.gives_bool ? DType::Bool : attrs.compute;
  spec.params = attrs.params;
  spec.takes_single = is_floating(attrs.compute) && !p.gives_bool;
  run_loop(p.table[static_cast<int>(attrs.compute) - (p.by_floating ? static_cast<int>(DType::Float32) : 0)],
           spec);
}

Loop* loops_of(Unary f) { return loops.unary[static_cast<int>(f)].value; }
Loop* loops_of(Binary f) { return loops.binary[static_cast<int>(f)].value; }

LoopAttrs attrs_of(DType compute, const double* p) {
  return p == nullptr ? LoopAttrs{compute, {}} : LoopAttrs{compute, {p[0], p[1]}};
}

// Can a loop write its result into `out`, as out= asks? Not where `out` has to be resized or converted to, or is refused
// because of a graph, and not over what the loop has yet to read: then the result is made apart, and the caller copies it.
bool takes_result(const char* op, const Tensor& out, const Dims& sizes, DType dtype, TensorPtrs ins) {
  if (!out.defined() || out.dtype() != dtype || !(out.sizes() == sizes) || recording(out)) return false;
  for (const Tensor* in : ins)
    if (recording(*in) || may_overlap_partly(out, *in)) return false;
  before_write(op, out);
  return true;
}

// ---- one argument ----

constexpr double kNoParams[2] = {};

template <class F> constexpr Probe uses_of_unary() {
  return F::dx(Probe(), Probe(true, false, false), Probe(false, false, true), kNoParams);
}

template <class F, Unary row, Kind kind> struct UnaryOp {
  static const char* name() { return unary_rows[static_cast<int>(row)].name; }

  static DType compute_dtype(const Tensor& x) {
    if (kind == Kind::floating && !x.is_floating()) return default_dtype();
    CR_CHECK(loops_of(row)[static_cast<int>(x.dtype())] != nullptr, name(), ": not implemented for ",
             name_of(x.dtype()));
    return x.dtype();
  }

  static bool is_itself(const Tensor& x) {
    return kind == Kind::rounding ? !x.is_floating() : row == Unary::sign && x.dtype() == DType::Bool;
  }

  static void run(const Tensor& out, const Tensor& x, DType compute, const double* p) {
    static const LoopPrimitive primitive{{name(), run_elementwise, sizeof(LoopAttrs)}, loops_of(row), false};
    launch(primitive, {&out}, {&x}, attrs_of(compute, p));
  }

  // g, s -> dx, where s is x or y.
  static Tensor gradient(const Tensor& g, const Tensor& s, const double* p) {
    constexpr Probe uses = uses_of_unary<F>();
    if (!(uses.first || uses.result) || (grad_enabled && (g.requires_grad() || s.requires_grad())))
      return F::dx(g, s, s, p == nullptr ? kNoParams : p);
    static const LoopPrimitive primitive{
        {name(), run_elementwise, sizeof(LoopAttrs)}, loops.unary[static_cast<int>(row)].dx, true};
    Tensor dx = room_for(g, s);
    launch(primitive, {&dx}, {&g, &s}, attrs_of(s.dtype(), p));
    return dx;
  }

  static auto closure(const Tensor& x, const Tensor& y, const double* p) {
    constexpr Probe uses = uses_of_unary<F>();
    static_assert(!(uses.first && uses.result), "a derivative is written in x or in y, not in both");
    SavedTensor s = uses.first ? saved(x) : uses.result ? saved_result(y) : SavedTensor();
    const LoopAttrs keep = attrs_of(DType::Bool, p);
    return [s = std::move(s), keep](const Tensor& g) { return gradient(g, *s, keep.params); };
  }

  static Tensor apply(const Tensor& x, const double* p, const Tensor& out) {
    if (is_itself(x)) return clone(x);
    const DType compute = compute_dtype(x);
    Tensor y =
        takes_result(name(), out, x.sizes(), compute, {&x}) ? out : empty_in_layout(x, x.sizes(), compute);
    run(y, x, compute, p);
    if (y.same(out)) y.count_write();
    if (!recording(x)) return y;
    return record(name(), y, {&x}, closure(x, y, p));
  }

  static const Tensor& apply_in_place(const Tensor& x, const double* p) {
    if (is_itself(x)) {
      before_write(name(), x);
      x.count_write();
      return x;
    }
    const DType compute = compute_dtype(x);
    CR_CHECK(compute == x.dtype(), name(), "_: result type ", name_of(compute),
             " can't be cast to the desired output type ", name_of(x.dtype()));
    before_write(name(), x);
    const bool recorded = recording(x);
    const Tensor before = recorded && uses_of_unary<F>().first ? clone(x) : x;
    run(x, before, compute, p);
    x.count_write();  // before saving: the saved result is the tensor after this write
    if (!recorded) return x;
    const Tensor* in = &x;
    record_write_node(x, detail::make_node(name(), &in, 1, closure(before, x, p)));
    return x;
  }
};

template <class F, Unary row> struct PredicateOp {
  static const char* name() { return unary_rows[static_cast<int>(row)].name; }
  static Tensor apply(const Tensor& x, const double*, const Tensor& out) {
    static const LoopPrimitive primitive{
        {name(), run_elementwise, sizeof(LoopAttrs)}, loops_of(row), false, true};
    Tensor y = takes_result(name(), out, x.sizes(), DType::Bool, {&x}) ? out : empty(x.sizes(), DType::Bool);
    launch(primitive, {&y}, {&x}, LoopAttrs{x.dtype(), {}});
    if (y.same(out)) y.count_write();
    return y;
  }
  static const Tensor& apply_in_place(const Tensor& x, const double*) {
    before_write(name(), x);
    return copy_(x, apply(x, nullptr, Tensor()));
  }
};

// ---- two arguments ----

template <class Test> bool any(const Tensor& t, Test test) {
  const Tensor c = contiguous(t);
  return visit_dtype(c.dtype(), [&](auto v) {
    const auto* p = c.data<decltype(v)>();
    return std::any_of(p, p + c.numel(), test);
  });
}

// What integers cannot do is refused before anything is computed.
void check_integers(Binary row, const char* name, DType compute, const Tensor& b) {
  if (is_floating(compute)) return;
  if (row == Binary::fmod || row == Binary::remainder || row == Binary::floor_divide)
    CR_CHECK(!any(b, [](auto x) { return x == 0; }), name, ": ZeroDivisionError: an integer divisor is zero");
  if (row == Binary::pow)
    CR_CHECK(!any(b, [](auto x) { return x < decltype(x){}; }), name,
             ": Integers to negative integer powers are not allowed.");
}

template <class F, Binary row, bool gives_bool = false>
void run_binary(const Tensor& out, const Tensor& a, const Tensor& b, DType compute) {
  static const LoopPrimitive primitive{
      {binary_rows[static_cast<int>(row)].name, run_elementwise, sizeof(LoopAttrs)},
      loops_of(row),
      false,
      gives_bool};
  launch(primitive, {&out}, {&a, &b}, LoopAttrs{compute, {}});
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

template <class F, Binary row, Kind kind> struct BinaryOp {
  static const char* name() { return binary_rows[static_cast<int>(row)].name; }

  static constexpr Probe uses_a() { return F::da(Probe(), A, B, Y); }
  static constexpr Probe uses_b() { return F::db(Probe(), A, B, Y); }
  static constexpr Probe A{true, false, false}, B{false, true, false}, Y{false, false, true};

  static DType result_dtype(const Tensor& a, const Tensor& b) {
    DType t = result_type(a, b);
    if (kind == Kind::floating && !is_floating(t)) t = default_dtype();
    if (row == Binary::sub)
      CR_CHECK(
          a.dtype() != DType::Bool && b.dtype() != DType::Bool,
          "sub: Subtraction, the `-` operator, with a bool tensor is not supported. To invert a mask use the "
          "`~` or `logical_not()` operator, for the difference of two the `^` or `logical_xor()` operator.");
    if (t == DType::Bool) {
      CR_CHECK(row == Binary::add || row == Binary::mul || row == Binary::maximum || row == Binary::minimum,
               name(), ": not implemented for bool");
    }
    return t;
  }
  static void run(const Tensor& out, const Tensor& a, const Tensor& b, DType result) {
    check_integers(row, name(), result, b);
    run_binary<F, row>(out, a, b, result == DType::Bool ? DType::UInt8 : result);
  }

  // `last`: nobody reads g after this.
  template <bool first>
  static Tensor gradient(const Tensor& g, const Tensor& a, const Tensor& b, const Tensor& y, bool last) {
    constexpr Probe uses = first ? uses_a() : uses_b();
    auto needs_graph = [](const Tensor& t) { return t.defined() && t.requires_grad(); };
    if (!(uses.first || uses.second || uses.result) ||
        (grad_enabled && (needs_graph(g) || needs_graph(a) || needs_graph(b) || needs_graph(y)))) {
      if constexpr (first)
        return F::da(g, a, b, y);
      else
        return F::db(g, a, b, y);
    }
    static const LoopPrimitive primitive{
        {name(), run_elementwise, sizeof(LoopAttrs)},
        first ? loops.binary[static_cast<int>(row)].da : loops.binary[static_cast<int>(row)].db,
        true};
    Tensor d = last ? room_for(g, g) : empty_in_layout(g, g.sizes(), g.dtype());
    launch(primitive, {&d}, {&g, uses.first ? &a : &g, uses.second ? &b : &g, uses.result ? &y : &g},
           LoopAttrs{g.dtype(), {}});
    return d;
  }

  // Of a product, where both are wanted and not recorded: in one pass.
  static std::array<Tensor, 2> both_gradients(const Tensor& g, const Tensor& a, const Tensor& b) {
    static const LoopPrimitive primitive{
        {name(), run_elementwise, sizeof(LoopAttrs)}, loops.binary[static_cast<int>(row)].both, true};
    Tensor da = empty_in_layout(g, g.sizes(), g.dtype()), db = room_for(g, g);
    launch(primitive, {&da, &db}, {&g, &a, &b}, LoopAttrs{g.dtype(), {}});
    return {da, db};
  }

  static auto closure(const Tensor& a, const Tensor& b, const Tensor& y) {
    const bool da = a.requires_grad(), db = b.requires_grad();
    constexpr Probe ua = uses_a(), ub = uses_b();
    struct Kept {
      SavedTensor a, b, y;
      std::unique_ptr<OperandForm> a_form, b_form;
    };
    Kept k;
    if ((da && ua.first) || (db && ub.first)) k.a = saved(a);
    if ((da && ua.second) || (db && ub.second)) k.b = saved(b);
    if ((da && ua.result) || (db && ub.result)) k.y = saved_result(y);
    if (da) k.a_form = OperandForm::of(a, y);
    if (db) k.b_form = OperandForm::of(b, y);
    return [k = std::move(k)](const Tensor& g, Needs need) {
      const Tensor a = *k.a, b = *k.b, y = *k.y;
      if constexpr (row == Binary::mul) {
        if (need[0] && need[1] && !grad_enabled) {
          auto [da, db] = both_gradients(g, a, b);
          return std::array{in_form(k.a_form, std::move(da)), in_form(k.b_form, std::move(db))};
        }
      }
      return std::array{need[0] ? in_form(k.a_form, gradient<true>(g, a, b, y, !need[1])) : Tensor(),
                        need[1] ? in_form(k.b_form, gradient<false>(g, a, b, y, true)) : Tensor()};
    };
  }

  static Tensor apply(const Tensor& a, const Tensor& b, const Tensor& out) {
    const DType result = result_dtype(a, b);
    const Dims shape =
        a.sizes() == b.sizes() || b.dim() == 0 ? a.sizes() : broadcast_shapes(name(), a.sizes(), b.sizes());
    // In the layout of an operand that has the result's shape.
    Tensor y = takes_result(name(), out, shape, result, {&a, &b})
                   ? out
                   : empty_in_layout(shape == a.sizes() ? a : b, shape, result);
    run(y, a, b, result);
    if (y.same(out)) {
      y.count_write();
      return y;
    }
    if (!recording(a, b)) {
      y.impl()->wrapped_number = a.impl()->wrapped_number && b.impl()->wrapped_number;
      return y;
    }
    return record(name(), y, {&a, &b}, closure(a, b, y));
  }

  static const Tensor& apply_in_place(const Tensor& a, const Tensor& b) {
    const DType result = result_dtype(a, b);
    CR_CHECK(can_cast(result, a.dtype()), name(), "_: result type ", name_of(result),
             " can't be cast to the desired output type ", name_of(a.dtype()));
    const Dims shape = broadcast_shapes(name(), a.sizes(), b.sizes());
    CR_CHECK(shape == a.sizes(), name(), "_: output with shape ", a.sizes(),
             " doesn't match the broadcast shape ", shape);
    before_write(name(), a, recording(b));
    check_no_partial_overlap(name(), a, b);
    const bool recorded = recording(a, b);
    constexpr Probe ua = uses_a(), ub = uses_b();
    // An operand in the same memory is saved before it is overwritten, so that backward notices.
    if (recorded && (result != a.dtype() || a.impl()->storage.get() == b.impl()->storage.get()))
      return copy_(a, apply(clone(a), a.same(b) ? clone(b) : b, Tensor()));
    const bool keeps = recorded && ((ua.first && a.requires_grad()) || (ub.first && b.requires_grad()));
    const Tensor before = keeps ? clone(a) : a;
    run(a, before, b, result);
    a.count_write();
    if (!recorded) return a;
    const Tensor* ins[] = {&a, &b};
    record_write_node(a, detail::make_node(name(), ins, 2, closure(before, b, a)));
    return a;
  }
};

template <class F, Binary row, bool bitwise> struct CompareOp {
  static const char* name() { return binary_rows[static_cast<int>(row)].name; }
  static Tensor apply(const Tensor& a, const Tensor& b, const Tensor& out) {
    const DType compute = result_type(a, b), result = bitwise ? compute : DType::Bool;
    CR_CHECK(!bitwise || !is_floating(compute), name(), ": not implemented for ", name_of(compute));
    const Dims sizes = broadcast_shapes(name(), a.sizes(), b.sizes());
    Tensor y = takes_result(name(), out, sizes, result, {&a, &b}) ? out : empty(sizes, result);
    run_binary<F, row, !bitwise>(y, a, b, compute);
    if (y.same(out)) y.count_write();
    return y;
  }
  static const Tensor& apply_in_place(const Tensor& a, const Tensor& b) {
    const Dims shape = broadcast_shapes(name(), a.sizes(), b.sizes());
    CR_CHECK(shape == a.sizes(), name(), "_: output with shape ", a.sizes(),
             " doesn't match the broadcast shape ", shape);
    const DType result = bitwise ? result_type(a, b) : DType::Bool;
    CR_CHECK(!bitwise || can_cast(result, a.dtype()), name(), "_: result type ", name_of(result),
             " can't be cast to the desired output type ", name_of(a.dtype()));
    before_write(name(), a);
    return copy_(a, apply(a, b, Tensor()));
  }
};

}  // namespace

// clang-format off
#define UNARY(name, kind, ...) {#name, 0, UnaryOp<fn::name##_fn, Unary::name, Kind::kind>::apply, UnaryOp<fn::name##_fn, Unary::name, Kind::kind>::apply_in_place},
#define UNARY_P(name, kind, ...) {#name, 1, UnaryOp<fn::name##_fn, Unary::name, Kind::kind>::apply, UnaryOp<fn::name##_fn, Unary::name, Kind::kind>::apply_in_place},
#define PREDICATE(name, ...) {#name, 0, PredicateOp<fn::name##_fn, Unary::name>::apply, PredicateOp<fn::name##_fn, Unary::name>::apply_in_place},
#define BINARY(...)
#define COMPARE(...)
#define BITWISE(...)
const UnaryRow unary_rows[] = {
#include "ops/elementwise_table.inc"
};
#undef UNARY
#undef UNARY_P
#undef PREDICATE
#undef BINARY
#undef COMPARE
#undef BITWISE
#define UNARY(...)
#define UNARY_P(...)
#define PREDICATE(...)
#define BINARY(name, kind, ...) {#name, BinaryOp<fn::name##_fn, Binary::name, Kind::kind>::apply, BinaryOp<fn::name##_fn, Binary::name, Kind::kind>::apply_in_place},
#define COMPARE(name, ...) {#name, CompareOp<fn::name##_fn, Binary::name, false>::apply, CompareOp<fn::name##_fn, Binary::name, false>::apply_in_place},
#define BITWISE(name, ...) {#name, CompareOp<fn::name##_fn, Binary::name, true>::apply, CompareOp<fn::name##_fn, Binary::name, true>::apply_in_place},
const BinaryRow binary_rows[] = {
#include "ops/elementwise_table.inc"
};
// clang-format on

void init_elementwise() { kernels::fill_elementwise_loops({&loops}); }

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
  run_loop(loops.where[size_of(t)], spec);
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
  if (y.same(out)) y.count_write();
  if (!recording(a, b)) return y;
  return record("where", y, {&condition, &a, &b},
                [c = saved(condition), as = a.sizes(), bs = b.sizes(), ad = a.dtype(), bd = b.dtype()](
                    const Tensor& g, Needs need) {
                  return std::array{Tensor(), need[1] ? to_dtype(sum_to(where(*c, g, 0), as), ad) : Tensor(),
                                    need[2] ? to_dtype(sum_to(where(*c, 0, g), bs), bd) : Tensor()};
                });
}

namespace {

void run_add_term(const Tensor& out, const Tensor& x, const Tensor& a, const Tensor& b, double scale,
                  Term term) {
  static const LoopPrimitive primitive{
      {"add_term", run_elementwise, sizeof(LoopAttrs)}, loops.add_term, true};
  launch(primitive, {&out}, {&x, &a, &b}, LoopAttrs{out.dtype(), {scale, static_cast<double>(term)}});
}

}  // namespace

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

Tensor towards(const Tensor& start, const Tensor& end, double weight) {
  Tensor y = empty_in_layout(start, broadcast_shapes("lerp", start.sizes(), end.sizes()), start.dtype());
  run_add_term(y, start, end, end, weight, Term::Towards);
  return y;
}

void add_into(const Tensor& a, const Tensor& b) {
  NoGrad no_grad;
  run_binary<fn::add_fn, Binary::add>(a, a, b, a.dtype());
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
