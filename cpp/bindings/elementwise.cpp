// The table's functions under their names: function, method, in-place form and out=.
#include <cmath>
#include <cstring>

#include "autograd/meta.h"
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

// The table's activations that PyTorch has in nn.functional alone.
bool only_in_nn(const char* name) {
  for (const char* other : {"gelu", "gelu_tanh", "silu", "mish"})
    if (std::strcmp(name, other) == 0) return true;
  return false;
}

template <Unary f> void bind_unary(Bind& bind, const char* name) {
  bind.op((name + std::string("(Tensor self, *, Tensor? out=None) -> Tensor")).c_str(),
          [](Args& a) { return a.result(apply(f, a.tensor(0), nullptr, a.tensor(1)), 1); });
  bind.op((name + std::string("_(Tensor self) -> Tensor")).c_str(), [](Args& a) {
    apply_in_place(f, a.tensor(0));
    return Py_NewRef(a.object(0));
  });
}
template <Unary f> void bind_predicate(Bind& bind, const char* name) {
  bind.op((name + std::string("(Tensor self, *, Tensor? out=None) -> Tensor")).c_str(),
          [](Args& a) { return a.result(apply(f, a.tensor(0), nullptr, a.tensor(1)), 1); });
}
template <Binary f> void bind_binary(Bind& bind, const char* name) {
  bind.op((name + std::string("(Operand self, Operand other, *, Tensor? out=None) -> Tensor")).c_str(),
          [](Args& a) {
            const Tensor y = apply(f, a.operand(0), a.operand(1), a.tensor(2));
            if constexpr (f == Binary::fmod || f == Binary::remainder)
              if (is_tensor(a.object(1))) rename_node(y, f == Binary::fmod ? "fmod/1" : "remainder/1");
            return a.result(y, 2);
          });
  // PyTorch has no in-place form of these three.
  if (f == Binary::maximum || f == Binary::minimum || f == Binary::logaddexp) return;
  bind.op((name + std::string("_(Tensor self, Operand other) -> Tensor")).c_str(),
          [](Args& a) {
            apply_in_place(f, a.tensor(0), a.operand(1));
            return Py_NewRef(a.object(0));
          },
          Where::Method);
}

bool is_one(const Scalar& alpha) { return alpha.kind == Scalar::Kind::Float ? alpha.d == 1 : alpha.i == 1; }

Tensor scaled(const char* op, const Tensor& other, const Scalar& alpha) {
  CR_CHECK(alpha.kind != Scalar::Kind::Float || other.is_floating(), op,
           ": for integral input tensors, argument alpha must not be a floating point number.");
  return is_one(alpha) ? other : other * alpha;
}

// A result whose operation PyTorch has under a name of its own.
PyObject* named(const char* name, const Tensor& result) {
  rename_node(result, name);
  return wrap(result);
}

// The in-place form of what has no loop that writes over its argument.
PyObject* replace(Args& a, const char* op, const Tensor& result) {
  const Tensor& x = a.tensor(0);
  CR_CHECK(can_cast(result.dtype(), x.dtype()), op, ": result type ", name_of(result.dtype()),
           " can't be cast to the desired output type ", name_of(x.dtype()));
  CR_CHECK(result.sizes() == x.sizes(), op, ": output with shape ", x.sizes(),
           " doesn't match the broadcast shape ", result.sizes());
  copy_(x, result);
  return Py_NewRef(a.object(0));
}

// self += alpha * other, or self -=.
template <Binary f> PyObject* add_scaled(Args& a) {
  const char* op = f == Binary::sub ? "sub" : "add";
  const Tensor other = a.operand(1);
  const Scalar alpha = a.scalar(2);
  const double scale = f == Binary::sub ? -alpha.as<double>() : alpha.as<double>();
  if (is_one(alpha) || !add_term(op, a.tensor(0), other, other, scale, Term::Itself))
    apply_in_place(f, a.tensor(0), scaled(op, other, alpha));
  return Py_NewRef(a.object(0));
}

// self + alpha * other, or self - alpha * other.
template <Binary f> PyObject* added_scaled(Args& a) {
  const char* op = f == Binary::sub ? "sub" : "add";
  const Tensor x = a.operand(0), other = a.operand(1);
  const Scalar alpha = a.scalar(2);
  if (is_one(alpha) || !x.is_floating() || other.dtype() != x.dtype())
    return a.result(apply(f, x, scaled(op, other, alpha), a.tensor(3)), 3);
  const double scale = f == Binary::sub ? -alpha.as<double>() : alpha.as<double>();
  return a.result(plus_term(op, x, other, other, scale, Term::Itself, a.tensor(3)), 3);
}

// self + value * (tensor1 * tensor2), or of their quotient.
template <Term term> PyObject* added_pair(Args& a) {
  const char* op = term == Term::Product ? "addcmul" : "addcdiv";
  return a.result(plus_term(op, a.tensor(0), a.tensor(1), a.tensor(2), a.scalar(3), term, a.tensor(4)), 4);
}

PyObject* clamp_in_place(Args& a, const char* op, const Tensor& low, const Tensor& high) {
  const Tensor& x = a.tensor(0);
  return clamp_by_numbers(x, low, high) ? Py_NewRef(a.object(0)) : replace(a, op, clamp(clone(x), low, high));
}

// To a number of decimal places, or of zeros before the point.
Tensor round_to(const Tensor& x, int64_t decimals, const Tensor& out = {}) {
  if (decimals == 0) return apply(Unary::round, x, nullptr, out);
  CR_CHECK(x.is_floating(), "round: not implemented for ", name_of(x.dtype()), " with decimals");
  const double scale = std::pow(10.0, static_cast<double>(std::abs(decimals)));
  return decimals > 0 ? round(x * scale) / scale : round(x / scale) * scale;
}

Tensor rounded_div(const Tensor& a, const Tensor& b, const std::string& mode, const Tensor& out = {}) {
  if (mode.empty()) return apply(Binary::div, a, b, out);
  if (mode == "floor") return apply(Binary::floor_divide, a, b, out);
  CR_CHECK(mode == "trunc", "div: expected rounding_mode to be one of None, 'trunc', or 'floor' but found '",
           mode, "'");
  if (is_floating(result_type(a, b))) return trunc(a / b);
  // For integers: the floor of the magnitudes, with the sign of the quotient.
  return floor_divide(abs(a), abs(b)) * (sign(a) * sign(b));
}

void bind_arithmetic(Bind& bind) {
  bind.op("add(Operand self, Operand other, *, Scalar alpha=1, Tensor? out=None) -> Tensor",
          added_scaled<Binary::add>);
  bind.op("add_(Tensor self, Operand other, *, Scalar alpha=1) -> Tensor", add_scaled<Binary::add>,
          Where::Method);
  bind.op("sub(Operand self, Operand other, *, Scalar alpha=1, Tensor? out=None) -> Tensor",
          added_scaled<Binary::sub>);
  bind.op("sub_(Tensor self, Operand other, *, Scalar alpha=1) -> Tensor", add_scaled<Binary::sub>,
          Where::Method);
  bind.op(
      "div(Operand self, Operand other, *, str? rounding_mode=None, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(rounded_div(a.operand(0), a.operand(1), a.string(2), a.tensor(3)), 3); });
  bind.op(
      "div_(Tensor self, Operand other, *, str? rounding_mode=None) -> Tensor",
      [](Args& a) {
        if (a.has(2)) return replace(a, "div_", rounded_div(clone(a.tensor(0)), a.operand(1), a.string(2)));
        apply_in_place(Binary::div, a.tensor(0), a.operand(1));
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op("pow(Operand self, Operand exponent, *, Tensor? out=None) -> Tensor", [](Args& a) {
    if (is_tensor(a.object(0)) && !is_tensor(a.object(1)))
      return a.result(pow_scalar(a.tensor(0), a.scalar(1), a.tensor(2)), 2);
    return a.result(apply(Binary::pow, a.operand(0), a.operand(1), a.tensor(2)), 2);
  });
  bind.op(
      "pow_(Tensor self, Operand exponent) -> Tensor",
      [](Args& a) {
        const Tensor x = a.tensor(0);
        if (!is_tensor(a.object(1)) && x.is_floating()) {
          pow_(x, a.scalar(1).as<double>());
          return Py_NewRef(a.object(0));
        }
        if (!is_tensor(a.object(1))) return replace(a, "pow_", pow_scalar(clone(x), a.scalar(1)));
        apply_in_place(Binary::pow, a.tensor(0), a.operand(1));
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op("rsub(Tensor self, Operand other, *, Scalar alpha=1) -> Tensor",
          [](Args& a) { return named("rsub/1", a.operand(1) - scaled("rsub", a.tensor(0), a.scalar(2))); });
  bind.op("bitwise_not(Tensor self, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(bitwise_not(a.tensor(0), a.tensor(1)), 1); });
  bind.op("round(Tensor self, *, int decimals=0, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(round_to(a.tensor(0), a.integer(1), a.tensor(2)), 2); });
  bind.op("round_(Tensor self, *, int decimals=0) -> Tensor", [](Args& a) {
    if (a.integer(1) != 0) return replace(a, "round_", round_to(a.tensor(0), a.integer(1)));
    apply_in_place(Unary::round, a.tensor(0));
    return Py_NewRef(a.object(0));
  });
  bind.op("positive(Tensor self) -> Tensor", [](Args& a) {
    CR_CHECK(a.tensor(0).dtype() != DType::Bool,
             "positive: the + operator is not supported on a bool tensor");
    return wrap(a.tensor(0));
  });
  bind.op(
      "bitwise_not_(Tensor self) -> Tensor",
      [](Args& a) { return replace(a, "bitwise_not_", bitwise_not(a.tensor(0))); }, Where::Method);
  bind.op("clamp(Tensor self, Operand? min=None, Operand? max=None, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(clamp(a.tensor(0), a.operand(1), a.operand(2), a.tensor(3)), 3); });
  bind.op("clamp_(Tensor self, Operand? min=None, Operand? max=None) -> Tensor",
          [](Args& a) { return clamp_in_place(a, "clamp_", a.operand(1), a.operand(2)); });
  bind.op(
      "clamp_min_(Tensor self, Operand min) -> Tensor",
      [](Args& a) {
        PyObject* x = clamp_in_place(a, "clamp_min_", a.operand(1), Tensor());
        rename_node(a.tensor(0), "clamp_min");
        return x;
      },
      Where::Method);
  bind.op(
      "clamp_max_(Tensor self, Operand max) -> Tensor",
      [](Args& a) {
        PyObject* x = clamp_in_place(a, "clamp_max_", Tensor(), a.operand(1));
        rename_node(a.tensor(0), "clamp_max");
        return x;
      },
      Where::Method);
  bind.op(
      "logical_not_(Tensor self) -> Tensor",
      [](Args& a) {
        apply_in_place(Unary::logical_not, a.tensor(0));
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op("clamp_min(Tensor self, Operand min) -> Tensor",
          [](Args& a) { return named("clamp_min", clamp(a.tensor(0), a.operand(1), Tensor())); });
  bind.op("clamp_max(Tensor self, Operand max) -> Tensor",
          [](Args& a) { return named("clamp_max", clamp(a.tensor(0), Tensor(), a.operand(1))); });
  bind.op("lerp(Tensor self, Tensor end, Operand weight, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(lerp(a.tensor(0), a.tensor(1), a.operand(2)), 3); });
  bind.op(
      "lerp_(Tensor self, Tensor end, Operand weight) -> Tensor",
      [](Args& a) {
        const Tensor &x = a.tensor(0), &end = a.tensor(1), weight = a.operand(2);
        if (weight.impl()->wrapped_number &&
            add_term("lerp", x, end, end, item(weight).as<double>(), Term::Towards))
          return Py_NewRef(a.object(0));
        return replace(a, "lerp_", lerp(clone(x), end, weight));
      },
      Where::Method);
  bind.op(
      "addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1, Tensor? out=None) -> Tensor",
      added_pair<Term::Product>);
  bind.op(
      "addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1, Tensor? out=None) -> Tensor",
      added_pair<Term::Quotient>);
  bind.op(
      "addcmul_(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
      [](Args& a) {
        if (add_term("addcmul", a.tensor(0), a.tensor(1), a.tensor(2), a.scalar(3).as<double>(),
                     Term::Product))
          return Py_NewRef(a.object(0));
        return replace(
            a, "addcmul_",
            plus_term("addcmul", clone(a.tensor(0)), a.tensor(1), a.tensor(2), a.scalar(3), Term::Product));
      },
      Where::Method);
  bind.op(
      "addcdiv_(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
      [](Args& a) {
        if (add_term("addcdiv", a.tensor(0), a.tensor(1), a.tensor(2), a.scalar(3).as<double>(),
                     Term::Quotient))
          return Py_NewRef(a.object(0));
        return replace(
            a, "addcdiv_",
            plus_term("addcdiv", clone(a.tensor(0)), a.tensor(1), a.tensor(2), a.scalar(3), Term::Quotient));
      },
      Where::Method);
  bind.op(
      "where(Tensor self, Tensor condition, Operand other) -> Tensor",
      [](Args& a) { return wrap(where(a.tensor(1), a.tensor(0), a.operand(2))); }, Where::Method);
}

void bind_comparisons(Bind& bind) {
  bind.op(
      "isclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> Tensor",
      [](Args& a) { return wrap(isclose(a.tensor(0), a.tensor(1), a.number(2), a.number(3), a.flag(4))); });
  bind.op(
      "allclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> bool",
      [](Args& a) {
        return PyBool_FromLong(
            all_true(isclose(a.tensor(0), a.tensor(1), a.number(2), a.number(3), a.flag(4))));
      });
  bind.op("equal(Tensor self, Tensor other) -> bool",
          [](Args& a) { return PyBool_FromLong(equal(a.tensor(0), a.tensor(1))); });
  const char* names[][2] = {
      {"absolute", "abs"},    {"negative", "neg"},  {"multiply", "mul"},   {"divide", "div"},
      {"true_divide", "div"}, {"subtract", "sub"},  {"greater", "gt"},     {"greater_equal", "ge"},
      {"less", "lt"},         {"less_equal", "le"}, {"not_equal", "ne"},   {"clip", "clamp"},
      {"clip_", "clamp_"},    {"arcsin", "asin"},   {"arccos", "acos"},    {"arctan", "atan"},
      {"arctan2", "atan2"},   {"fix", "trunc"},     {"absolute_", "abs_"}, {"negative_", "neg_"}};
  for (const auto& [name, existing] : names) bind.alias(name, existing);
}

}  // namespace

void bind_elementwise(Bind& core) {
#define UNARY(name, ...) \
  if (!only_in_nn(#name)) bind_unary<Unary::name>(core, #name);
#define UNARY_P(...)
#define PREDICATE(name, ...) bind_predicate<Unary::name>(core, #name);
#define BINARY(name, ...) bind_binary<Binary::name>(core, #name);
#define COMPARE(name, ...) bind_binary<Binary::name>(core, #name);
#define BITWISE(name, ...) bind_binary<Binary::name>(core, #name);
#include "ops/elementwise_table.inc"
  bind_arithmetic(core);
  bind_comparisons(core);
}

}  // namespace chainrule::python
