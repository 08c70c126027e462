// chainrule.Value, the scalar engine's Python type: micrograd's class, on cpp/scalar.
//
// A Value is a Python object with its node inside. It owns references to its inputs, so a result keeps its
// graph alive. A graph of numbers has no cycles, so a Value is left out of the cyclic collector until it
// holds something that could close one: a label that is not a string, a rule of the user's, the attributes of
// a subclass, or an input that is in the collector.
#include <Python.h>

#include <cmath>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "scalar/value.h"

namespace chainrule {
namespace {

using scalar::Custom;
using scalar::Node;
using scalar::Op;

// An error is set in the interpreter; carries it through the engine.
struct PythonError {};

struct Value {
  PyObject_HEAD Node node;
  PyObject* label;      // null: ''
  PyObject* rule;       // what the user assigned to _backward, or null
  PyObject* children;   // the tuple of inputs of a Custom node, or null
  bool whole_exponent;  // of a Power: '**2' rather than '**2.0'
};

PyTypeObject* value_type = nullptr;

bool is_value(PyObject* o) { return Py_TYPE(o) == value_type || PyObject_TypeCheck(o, value_type); }
Value* as_value(PyObject* o) { return reinterpret_cast<Value*>(o); }
PyObject* as_object(Value* v) { return reinterpret_cast<PyObject*>(v); }
Value* owner_of(Node* n) {
  return reinterpret_cast<Value*>(reinterpret_cast<char*>(n) - offsetof(Value, node));
}

void track(Value* v) {
  if (!PyObject_GC_IsTracked(as_object(v))) PyObject_GC_Track(v);
}

// ---- Memory ----

constexpr size_t kSpareMax = 1 << 16;  // 6 MB

// Memory of Values that died, and Values about to die. Both outlive the interpreter.
std::vector<Value*>& spare = *new std::vector<Value*>;
std::vector<Value*>& dying = *new std::vector<Value*>;
bool burying = false;

// A Value of the exact type, outside of the collector; nullptr with an error set when memory is out.
Value* new_value() {
  Value* v;
  if (!spare.empty()) {
    v = spare.back();
    spare.pop_back();
    PyObject_Init(as_object(v), value_type);
  } else {
    v = PyObject_GC_New(Value, value_type);
    if (v == nullptr) return nullptr;
  }
  new (&v->node) Node;
  v->label = v->rule = v->children = nullptr;
  v->whole_exponent = false;
  return v;
}

// Gives up what a Value owns. Its inputs may die by that: release() sees to it that they queue.
void drop_contents(Value* v) {
  Node& n = v->node;
  Node* a = n.op == Op::Custom ? nullptr : n.a;
  Node* b = n.op == Op::Custom || n.op == Op::Power ? nullptr : n.b;
  if (n.op == Op::Custom) delete n.custom;
  n.op = Op::Leaf;
  n.a = n.b = nullptr;
  if (a != nullptr) Py_DECREF(owner_of(a));
  if (b != nullptr) Py_DECREF(owner_of(b));
  Py_CLEAR(v->children);
  Py_CLEAR(v->rule);
  Py_CLEAR(v->label);
}

void bury(Value* v) {
  drop_contents(v);
  PyTypeObject* type = Py_TYPE(v);
  if (type == value_type && spare.size() < kSpareMax)
    spare.push_back(v);
  else
    type->tp_free(v);
  Py_DECREF(type);
}

// The first to die takes the others with it in a loop: a chain of a million Values must not recurse.
void release(PyObject* self) {
  PyObject_GC_UnTrack(self);
  if (burying) return dying.push_back(as_value(self));
  burying = true;
  bury(as_value(self));
  while (!dying.empty()) {
    Value* v = dying.back();
    dying.pop_back();
    bury(v);
  }
  burying = false;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Value* v = as_value(self);
  Py_VISIT(Py_TYPE(self));
  if (v->node.op != Op::Custom) {  // those of a Custom node are counted through the tuple
    int stop = 0;
    scalar::each_input(v->node, [&](Node* input) {
      if (stop == 0) stop = visit(as_object(owner_of(input)), arg);
    });
    if (stop != 0) return stop;
  }
  Py_VISIT(v->children);
  Py_VISIT(v->rule);
  Py_VISIT(v->label);
  return 0;
}

// The edges from a node to its inputs alone make no cycle; what the user hung on it can.
int clear(PyObject* self) {
  Py_CLEAR(as_value(self)->rule);
  Py_CLEAR(as_value(self)->label);
  return 0;
}

// ---- Operations ----

Value* result_of(Op op, double data, Value* a, Value* b) {
  Value* v = new_value();
  if (v == nullptr) return nullptr;
  v->node.op = op;
  v->node.data = data;
  v->node.a = &a->node;
  Py_INCREF(a);
  bool tracked = PyObject_GC_IsTracked(as_object(a));
  if (b != nullptr) {
    v->node.b = &b->node;
    Py_INCREF(b);
    tracked = tracked || PyObject_GC_IsTracked(as_object(b));
  }
  if (tracked) PyObject_GC_Track(v);
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
  v->whole_exponent = whole;
  return v;
}

Value* constant(double data) {
  Value* v = new_value();
  if (v != nullptr) v->node.data = data;
  return v;
}

// Reads a number: 1 on success, 0 when o is not one, -1 with an error set. Arrays are not numbers, so that
// their own operators see the Value.
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

// Owns one reference; empty after an error.
struct Held {
  Value* v = nullptr;
  Held() = default;
  explicit Held(Value* v) : v(v) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { Py_XDECREF(v); }
  PyObject* give() {
    PyObject* o = as_object(v);
    v = nullptr;
    return o;
  }
};

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

Py_hash_t hash(PyObject* self) {
  const auto address = reinterpret_cast<uintptr_t>(self) >> 4;  // the low bits are zero
  return static_cast<Py_hash_t>(address);
}

// ---- Names and rules ----

PyObject* op_name(Value* v) {
  const char* name = "";
  switch (v->node.op) {
    case Op::Leaf: break;
    case Op::Custom: name = v->node.custom->name.c_str(); break;
    case Op::Add: name = "+"; break;
    case Op::Mul: name = "*"; break;
    case Op::PowerBy: name = "**"; break;
    case Op::Exp: name = "exp"; break;
    case Op::Log: name = "log"; break;
    case Op::Tanh: name = "tanh"; break;
    case Op::Relu: name = "ReLU"; break;
    case Op::Sigmoid: name = "sigmoid"; break;
    case Op::Sin: name = "sin"; break;
    case Op::Cos: name = "cos"; break;
    case Op::Sqrt: name = "sqrt"; break;
    case Op::Power: {
      const double e = v->node.exponent;
      PyObject* exponent = v->whole_exponent ? PyLong_FromDouble(e) : PyFloat_FromDouble(e);
      if (exponent == nullptr) return nullptr;
      PyObject* text = PyUnicode_FromFormat("**%R", exponent);
      Py_DECREF(exponent);
      return text;
    }
  }
  return PyUnicode_FromString(name);
}

// Calls a rule that the user wrote; it adds to the gradients of the inputs by itself.
void call_rule(PyObject* rule) {
  PyObject* result = PyObject_CallNoArgs(rule);
  if (result == nullptr) throw PythonError();
  Py_DECREF(result);
}

// A node that the user gave a rule, or inputs of his own, is a Custom one from then on.
Custom& make_custom(Value* v) {
  Node& n = v->node;
  if (n.op == Op::Custom) return *n.custom;
  auto custom = std::make_unique<Custom>();
  scalar::each_input(n, [&](Node* input) { custom->inputs.push_back(input); });
  PyObject* name = op_name(v);
  if (name == nullptr) throw PythonError();
  custom->name = PyUnicode_AsUTF8(name);
  Py_DECREF(name);
  PyObject* children = PyTuple_New(static_cast<Py_ssize_t>(custom->inputs.size()));
  if (children == nullptr) throw PythonError();
  // The references move from the node to the tuple.
  for (size_t i = 0; i < custom->inputs.size(); ++i)
    PyTuple_SET_ITEM(children, static_cast<Py_ssize_t>(i), as_object(owner_of(custom->inputs[i])));
  v->children = children;
  n.a = nullptr;
  n.op = Op::Custom;
  n.custom = custom.release();
  return *n.custom;
}

PyObject* backward(PyObject* self, PyObject*) {
  try {
    scalar::backward(as_value(self)->node);
  } catch (const PythonError&) {
    return nullptr;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyObject* zero_grad(PyObject* self, PyObject*) {
  try {
    for (Node* n : scalar::topological(as_value(self)->node)) n->grad = 0;
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

PyObject* run_rule(PyObject* self, PyObject*) {
  try {
    scalar::pull(as_value(self)->node);
  } catch (const PythonError&) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyMethodDef run_rule_method = {"_backward", run_rule, METH_NOARGS,
                               "Add this Value's share to the gradients of the Values it was computed from."};

PyObject* get_rule(PyObject* self, void*) {
  Value* v = as_value(self);
  if (v->rule == nullptr) return PyCFunction_New(&run_rule_method, self);
  Py_INCREF(v->rule);
  return v->rule;
}

int set_rule(PyObject* self, PyObject* rule, void*) {
  if (rule == nullptr || !PyCallable_Check(rule)) {
    PyErr_SetString(PyExc_TypeError, "_backward is a function without arguments");
    return -1;
  }
  Value* v = as_value(self);
  try {
    Custom& custom = make_custom(v);
    Py_INCREF(rule);
    Py_XSETREF(v->rule, rule);
    custom.pull = [rule] { call_rule(rule); };
  } catch (const PythonError&) {
    return -1;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return -1;
  }
  track(v);
  return 0;
}

// ---- Attributes ----

template <double Node::* member> PyObject* get_number(PyObject* self, void*) {
  return PyFloat_FromDouble(as_value(self)->node.*member);
}

template <double Node::* member> int set_number(PyObject* self, PyObject* value, void* name) {
  double x;
  const int got = value == nullptr ? 0 : read_number(value, x);
  if (got < 0) return -1;
  if (got == 0) {
    PyErr_Format(PyExc_TypeError, "Value.%s is a number, not %s", static_cast<const char*>(name),
                 value == nullptr ? "deleted" : Py_TYPE(value)->tp_name);
    return -1;
  }
  as_value(self)->node.*member = x;
  return 0;
}

PyObject* get_label(PyObject* self, void*) {
  PyObject* label = as_value(self)->label;
  if (label == nullptr) return PyUnicode_FromString("");
  Py_INCREF(label);
  return label;
}

int set_label(PyObject* self, PyObject* label, void*) {
  Value* v = as_value(self);
  Py_XINCREF(label);
  Py_XSETREF(v->label, label);
  if (label != nullptr && !PyUnicode_CheckExact(label)) track(v);
  return 0;
}

PyObject* get_prev(PyObject* self, void*) {
  PyObject* set = PySet_New(nullptr);
  if (set == nullptr) return nullptr;
  bool good = true;
  scalar::each_input(as_value(self)->node,
                     [&](Node* input) { good = good && PySet_Add(set, as_object(owner_of(input))) == 0; });
  if (!good) Py_CLEAR(set);
  return set;
}

PyObject* get_op(PyObject* self, void*) { return op_name(as_value(self)); }

// A copy, or a pickle, is a leaf: the number, its gradient and its label without the graph.
PyObject* reduce(PyObject* self, PyObject*) {
  const Node& n = as_value(self)->node;
  PyObject* label = get_label(self, nullptr);
  return label == nullptr ? nullptr : Py_BuildValue("O(d()sN)d", Py_TYPE(self), n.data, "", label, n.grad);
}

PyObject* set_state(PyObject* self, PyObject* grad) {
  if (set_number<&Node::grad>(self, grad, const_cast<char*>("grad")) < 0) return nullptr;
  Py_RETURN_NONE;
}

PyObject* repr(PyObject* self) {
  const Node& n = as_value(self)->node;
  PyObject* data = PyFloat_FromDouble(n.data);
  PyObject* grad = PyFloat_FromDouble(n.grad);
  PyObject* text = data == nullptr || grad == nullptr
                       ? nullptr
                       : PyUnicode_FromFormat("Value(data=%R, grad=%R)", data, grad);
  Py_XDECREF(data);
  Py_XDECREF(grad);
  return text;
}

// Value(data, _children=(), _op='', label=''); a string in second place is the label.
PyObject* make(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"data", "_children", "_op", "label", nullptr};
  PyObject *data, *children = nullptr, *label = nullptr;
  const char* op = "";
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|OsO:Value", const_cast<char**>(names), &data, &children,
                                   &op, &label))
    return nullptr;
  if (children != nullptr && label == nullptr && PyUnicode_Check(children)) std::swap(children, label);
  double x;
  const int got = read_number(data, x);
  if (got < 0) return nullptr;
  if (got == 0)
    return PyErr_Format(PyExc_TypeError, "Value(data): data is a number, not %s", Py_TYPE(data)->tp_name);
  Value* v;
  if (type == value_type) {
    v = new_value();
  } else {
    v = as_value(type->tp_alloc(type, 0));
    if (v != nullptr) new (&v->node) Node;
  }
  if (v == nullptr) return nullptr;
  Held held(v);
  v->node.data = x;
  if (label != nullptr && set_label(as_object(v), label, nullptr) < 0) return nullptr;
  if ((children == nullptr || PyObject_Not(children) == 1) && *op == '\0') return held.give();
  try {
    PyObject* tuple = children == nullptr ? PyTuple_New(0) : PySequence_Tuple(children);
    if (tuple == nullptr) return nullptr;
    v->children = tuple;
    auto custom = std::make_unique<Custom>();
    custom->name = op;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); ++i) {
      PyObject* child = PyTuple_GET_ITEM(tuple, i);
      if (!is_value(child))
        return PyErr_Format(PyExc_TypeError, "Value: _children are Values, not %s", Py_TYPE(child)->tp_name);
      custom->inputs.push_back(&as_value(child)->node);
    }
    v->node.op = Op::Custom;
    v->node.custom = custom.release();
    track(v);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  return held.give();
}

PyMethodDef methods[] = {
    {"exp", unary<Op::Exp>, METH_NOARGS, "exp(self)"},
    {"log", unary<Op::Log>, METH_NOARGS, "The natural logarithm."},
    {"tanh", unary<Op::Tanh>, METH_NOARGS, "The hyperbolic tangent."},
    {"relu", unary<Op::Relu>, METH_NOARGS, "max(self, 0)"},
    {"sigmoid", unary<Op::Sigmoid>, METH_NOARGS, "1 / (1 + exp(-self))"},
    {"sin", unary<Op::Sin>, METH_NOARGS, "The sine."},
    {"cos", unary<Op::Cos>, METH_NOARGS, "The cosine."},
    {"sqrt", unary<Op::Sqrt>, METH_NOARGS, "The square root."},
    {"backward", backward, METH_NOARGS,
     "Set grad to 1 and add, to the grad of every Value this one was computed from, its derivative in that Value."},
    {"zero_grad", zero_grad, METH_NOARGS,
     "Set grad to 0, here and in every Value this one was computed from."},
    {"__reduce__", reduce, METH_NOARGS, nullptr},
    {"__setstate__", set_state, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef attributes[] = {
    {"data", get_number<&Node::data>, set_number<&Node::data>, "The number.", const_cast<char*>("data")},
    {"grad", get_number<&Node::grad>, set_number<&Node::grad>, "The gradient that backward() adds to.",
     const_cast<char*>("grad")},
    {"label", get_label, set_label, "A name for people.", nullptr},
    {"_prev", get_prev, nullptr, "The Values that this one was computed from, as a set.", nullptr},
    {"_op", get_op, nullptr, "The operation that made this Value: '+', '*', '**2', 'ReLU', ...", nullptr},
    {"_backward", get_rule, set_rule,
     "The function that adds to the gradients of _prev; assign one to define an operation.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

const char doc[] =
    "Value(data, label='')\n--\n\n"
    "A number that remembers how it was computed, as in micrograd: arithmetic makes a graph, backward() fills grad.";

template <class F> void* slot(F* f) { return reinterpret_cast<void*>(f); }

}  // namespace

// Adds the type to the module; false with an error set when that fails.
bool bind_value(PyObject* module) {
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(doc)},
                         {Py_tp_new, slot(make)},
                         {Py_tp_dealloc, slot(release)},
                         {Py_tp_traverse, slot(traverse)},
                         {Py_tp_clear, slot(clear)},
                         {Py_tp_repr, slot(repr)},
                         {Py_tp_richcompare, slot(compare)},
                         {Py_tp_hash, slot(hash)},
                         {Py_tp_methods, methods},
                         {Py_tp_getset, attributes},
                         {Py_nb_add, slot(commutative<Op::Add>)},
                         {Py_nb_multiply, slot(commutative<Op::Mul>)},
                         {Py_nb_subtract, slot(subtract)},
                         {Py_nb_true_divide, slot(divide)},
                         {Py_nb_power, slot(to_power)},
                         {Py_nb_negative, slot(negative)},
                         {Py_nb_positive, slot(positive)},
                         {0, nullptr}};
  PyType_Spec spec = {"chainrule.Value", sizeof(Value), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  value_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (value_type == nullptr) return false;
  Py_INCREF(value_type);
  return PyModule_AddObject(module, "Value", reinterpret_cast<PyObject*>(value_type)) == 0;
}

}  // namespace chainrule
