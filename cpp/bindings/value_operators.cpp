// The operators of chainrule.Value: each makes a node of the scalar engine.
#include <utility>

#include "bindings/value.h"

namespace chainrule::python {

using scalar::Op;

int read_number(PyObject* o, double& out) {
  if (PyFloat_Check(o)) {
    out = PyFloat_AS_DOUBLE(o);
    return 1;
  }
  PyTypeObject* type = Py_TYPE(o);
  const bool number =
      PyLong_Check(o) || (type->tp_as_number != nullptr && type->tp_as_number->nb_float != nullptr);
  const bool sized = (type->tp_as_sequence != nullptr && type->tp_as_sequence->sq_length != nullptr) ||
                     (type->tp_as_mapping != nullptr && type->tp_as_mapping->mp_length != nullptr);
  if (!number || sized) return 0;
  out = PyFloat_AsDouble(o);
  return out == -1 && PyErr_Occurred() != nullptr ? -1 : 1;
}

namespace {

Value* result_of(Op op, double data, Value* a, Value* b) {
  Value* v = new_value();
  if (v == nullptr) return nullptr;
  v->node.op = op;
  v->node.data = data;
  v->node.a = &a->node;
  Py_INCREF(a);
  uint8_t flags = a->node.flags;
  if (b != nullptr) {
    v->node.b = &b->node;
    Py_INCREF(b);
    flags |= b->node.flags;
  }
  if ((flags & kTracked) != 0) track(v);
  return v;
}

template <Op op> PyObject* unary(PyObject* self, PyObject*) {
  Value* a = as_value(self);
  return as_object(result_of(op, scalar::apply(op, a->node.data), a, nullptr));
}

template <Op op> Value* binary(Value* a, Value* b) {
  return result_of(op, scalar::apply(op, a->node.data, b->node.data), a, b);
}

Value* power(Value* a, double exponent, bool whole) {
  Value* v = result_of(Op::Power, scalar::apply(Op::Power, a->node.data, exponent), a, nullptr);
  if (v == nullptr) return nullptr;
  v->node.exponent = exponent;
  if (whole) v->node.flags |= kWholeExponent;
  return v;
}

Value* constant(double data) {
  Value* v = new_value();
  if (v != nullptr) v->node.data = data;
  return v;
}

// o as a Value: itself or a new constant. Same results as read_number.
int read_operand(PyObject* o, Held& out) {
  if (is_value(o)) {
    Py_INCREF(o);
    out.v = as_value(o);
    return 1;
  }
  double x;
  const int got = read_number(o, x);
  if (got != 1) return got;
  out.v = constant(x);
  return out.v == nullptr ? -1 : 1;
}

int read_operands(PyObject* left, PyObject* right, Held& a, Held& b) {
  const int got = read_operand(left, a);
  return got == 1 ? read_operand(right, b) : got;
}

// What an operator returns after a reader returned 0 or -1.
PyObject* no_result(int got) {
  if (got < 0) return nullptr;
  Py_RETURN_NOTIMPLEMENTED;
}

// micrograd puts the Value first when the number stands on the left: 2 * a is a * 2.
template <Op op> PyObject* commutative(PyObject* left, PyObject* right) {
  if (!is_value(left)) std::swap(left, right);
  Held a, b;
  if (const int got = read_operands(left, right, a, b); got != 1) return no_result(got);
  return as_object(binary<op>(a.v, b.v));
}

Value* negated(Value* v) {
  const Held minus_one(constant(-1));
  return minus_one.v == nullptr ? nullptr : binary<Op::Mul>(v, minus_one.v);
}

PyObject* negative(PyObject* self) { return as_object(negated(as_value(self))); }

// a - b = a + (-b), and so for a number on either side.
PyObject* subtract(PyObject* left, PyObject* right) {
  if (is_value(left) && !is_value(right)) {
    double x;
    if (const int got = read_number(right, x); got != 1) return no_result(got);
    const Held b(constant(-x));
    return b.v == nullptr ? nullptr : as_object(binary<Op::Add>(as_value(left), b.v));
  }
  Held a, b;
  if (const int got = read_operands(left, right, a, b); got != 1) return no_result(got);
  const Held minus_b(negated(b.v));
  if (minus_b.v == nullptr) return nullptr;
  return as_object(is_value(left) ? binary<Op::Add>(a.v, minus_b.v) : binary<Op::Add>(minus_b.v, a.v));
}

// a / b = a * b**-1.
PyObject* divide(PyObject* left, PyObject* right) {
  if (is_value(left) && !is_value(right)) {
    double x;
    if (const int got = read_number(right, x); got != 1) return no_result(got);
    const Held b(constant(scalar::apply(Op::Power, x, -1)));
    return b.v == nullptr ? nullptr : as_object(binary<Op::Mul>(as_value(left), b.v));
  }
  Held a, b;
  if (const int got = read_operands(left, right, a, b); got != 1) return no_result(got);
  const Held inverse(power(b.v, -1, true));
  if (inverse.v == nullptr) return nullptr;
  return as_object(is_value(left) ? binary<Op::Mul>(a.v, inverse.v) : binary<Op::Mul>(inverse.v, a.v));
}

PyObject* to_power(PyObject* left, PyObject* right, PyObject* modulus) {
  if (modulus != Py_None) {
    PyErr_SetString(PyExc_TypeError, "pow: a Value has no power modulo a number");
    return nullptr;
  }
  if (is_value(left) && !is_value(right)) {
    double x;
    if (const int got = read_number(right, x); got != 1) return no_result(got);
    return as_object(power(as_value(left), x, PyLong_Check(right)));
  }
  Held a, b;
  if (const int got = read_operands(left, right, a, b); got != 1) return no_result(got);
  return as_object(binary<Op::PowerBy>(a.v, b.v));
}

PyObject* positive(PyObject* self) {
  Py_INCREF(self);
  return self;
}

// Order is that of the data; equality stays identity, so that Values live in sets and dictionaries.
PyObject* compare(PyObject* self, PyObject* other, int op) {
  if (op == Py_EQ || op == Py_NE) Py_RETURN_NOTIMPLEMENTED;
  const double a = as_value(self)->node.data;
  double b;
  if (is_value(other)) {
    b = as_value(other)->node.data;
  } else {
    if (const int got = read_number(other, b); got != 1) return no_result(got);
  }
  Py_RETURN_RICHCOMPARE(a, b, op);
}

template <class F> void* slot(F* f) { return reinterpret_cast<void*>(f); }

}  // namespace

const std::vector<PyType_Slot> value_operators = {{Py_tp_richcompare, slot(compare)},
                                                  {Py_nb_add, slot(commutative<Op::Add>)},
                                                  {Py_nb_multiply, slot(commutative<Op::Mul>)},
                                                  {Py_nb_subtract, slot(subtract)},
                                                  {Py_nb_true_divide, slot(divide)},
                                                  {Py_nb_power, slot(to_power)},
                                                  {Py_nb_negative, slot(negative)},
                                                  {Py_nb_positive, slot(positive)}};

const std::vector<PyMethodDef> value_functions = {
    {"exp", unary<Op::Exp>, METH_NOARGS, "exp(self)"},
    {"log", unary<Op::Log>, METH_NOARGS, "The natural logarithm."},
    {"tanh", unary<Op::Tanh>, METH_NOARGS, "The hyperbolic tangent."},
    {"relu", unary<Op::Relu>, METH_NOARGS, "max(self, 0)"},
    {"sigmoid", unary<Op::Sigmoid>, METH_NOARGS, "1 / (1 + exp(-self))"},
    {"sin", unary<Op::Sin>, METH_NOARGS, "The sine."},
    {"cos", unary<Op::Cos>, METH_NOARGS, "The cosine."},
    {"sqrt", unary<Op::Sqrt>, METH_NOARGS, "The square root."}};

}  // namespace chainrule::python
