// chainrule.Value, the scalar engine's Python type: micrograd's class, on cpp/scalar.
#include <cmath>
#include <memory>
#include <new>

#include "bindings/topics.h"
#include "bindings/value.h"

namespace chainrule::python {

using scalar::Custom;
using scalar::Node;
using scalar::Op;

PyTypeObject* value_type = nullptr;

void track(Value* v) {
  if ((v->node.flags & kTracked) != 0) return;
  v->node.flags |= kTracked;
  PyObject_GC_Track(v);
}

namespace {

ValueExtras& extras_of(Value* v) {  // makes them
  if (v->extras == nullptr) v->extras = new ValueExtras;
  return *v->extras;
}

// ---- Memory ----

constexpr size_t kSpareMax = 1 << 16;  // 5 MB

// Memory of Values that died, each with its reference to the type, and Values about to die. Both outlive the interpreter.
std::vector<Value*>& spare = *new std::vector<Value*>;
std::vector<Value*>& dying = *new std::vector<Value*>;
bool burying = false;

}  // namespace

Value* new_value() {
  Value* v;
  if (!spare.empty()) {
    v = spare.back();
    spare.pop_back();
    _Py_NewReference(as_object(v));
  } else {
    v = PyObject_GC_New(Value, value_type);
    if (v == nullptr) return nullptr;
  }
  new (&v->node) Node;
  v->extras = nullptr;
  return v;
}

namespace {

// Gives up one reference to an input of a Value that dies. One that nobody else refers to dies next, in the loop of
// release(): a chain of a million Values must not recurse.
void drop_input(Node* input) {
  Value* v = owner_of(input);
  if (Py_REFCNT(v) == 1 && Py_TYPE(v) == value_type)
    dying.push_back(v);
  else
    Py_DECREF(v);
}

void drop_extras(Value* v) {
  ValueExtras* extras = std::exchange(v->extras, nullptr);
  Py_XDECREF(extras->children);
  Py_XDECREF(extras->rule);
  Py_XDECREF(extras->label);
  delete extras;
}

void untrack(Value* v) {
  if ((v->node.flags & kTracked) == 0) return;
  v->node.flags &= static_cast<uint8_t>(~kTracked);
  PyObject_GC_UnTrack(v);
}

// Gives up what a Value owns, and itself.
void bury(Value* v) {
  untrack(v);
  Node& n = v->node;
  if (n.op == Op::Custom) {
    delete n.custom;
  } else if (n.a != nullptr) {
    Node* b = n.op == Op::Power ? nullptr : n.b;
    drop_input(n.a);
    if (b != nullptr) drop_input(b);
  }
  if (v->extras != nullptr) drop_extras(v);
  PyTypeObject* type = Py_TYPE(v);
  if (type == value_type && spare.size() < kSpareMax) return spare.push_back(v);
  type->tp_free(v);
  Py_DECREF(type);
}

void release(PyObject* self) {
  untrack(as_value(self));  // before it waits: the collector must not meet what nobody refers to
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
  if (v->extras == nullptr) return 0;
  Py_VISIT(v->extras->children);
  Py_VISIT(v->extras->rule);
  Py_VISIT(v->extras->label);
  return 0;
}

// The edges from a node to its inputs alone make no cycle; what the user hung on it can.
int clear(PyObject* self) {
  if (ValueExtras* extras = as_value(self)->extras) {
    Py_CLEAR(extras->rule);
    Py_CLEAR(extras->label);
  }
  return 0;
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
      PyObject* exponent =
          (v->node.flags & kWholeExponent) != 0 ? PyLong_FromDouble(e) : PyFloat_FromDouble(e);
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
  extras_of(v).children = children;
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
    scalar::in_order(as_value(self)->node, [](const std::vector<Node*>& nodes) {
      for (Node* n : nodes) n->grad = 0;
    });
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
  if (v->extras == nullptr || v->extras->rule == nullptr) return PyCFunction_New(&run_rule_method, self);
  return Py_NewRef(v->extras->rule);
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
    Py_XSETREF(extras_of(v).rule, rule);
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
  const ValueExtras* extras = as_value(self)->extras;
  return extras == nullptr || extras->label == nullptr ? PyUnicode_FromString("") : Py_NewRef(extras->label);
}

int set_label(PyObject* self, PyObject* label, void*) {
  Value* v = as_value(self);
  Py_XINCREF(label);
  Py_XSETREF(extras_of(v).label, label);
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
    if (v != nullptr) v->node.flags = kTracked;  // by tp_alloc
  }
  if (v == nullptr) return nullptr;
  Held held(v);
  v->node.data = x;
  if (label != nullptr && set_label(as_object(v), label, nullptr) < 0) return nullptr;
  if ((children == nullptr || PyObject_Not(children) == 1) && *op == '\0') return held.give();
  try {
    PyObject* tuple = children == nullptr ? PyTuple_New(0) : PySequence_Tuple(children);
    if (tuple == nullptr) return nullptr;
    extras_of(v).children = tuple;
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

const std::vector<PyMethodDef> own_methods = {
    {"backward", backward, METH_NOARGS,
     "Set grad to 1 and add, to the grad of every Value this one was computed from, its derivative in that Value."},
    {"zero_grad", zero_grad, METH_NOARGS,
     "Set grad to 0, here and in every Value this one was computed from."},
    {"__reduce__", reduce, METH_NOARGS, nullptr},
    {"__setstate__", set_state, METH_O, nullptr}};

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

void init_value_type(PyObject* module) {
  static std::vector<PyMethodDef> methods = value_functions;  // the type keeps pointing at them
  methods.insert(methods.end(), own_methods.begin(), own_methods.end());
  methods.push_back({nullptr, nullptr, 0, nullptr});
  std::vector<PyType_Slot> slots = {{Py_tp_doc, const_cast<char*>(doc)},
                                    {Py_tp_new, slot(make)},
                                    {Py_tp_dealloc, slot(release)},
                                    {Py_tp_traverse, slot(traverse)},
                                    {Py_tp_clear, slot(clear)},
                                    {Py_tp_repr, slot(repr)},
                                    {Py_tp_hash, slot(hash)},
                                    {Py_tp_methods, methods.data()},
                                    {Py_tp_getset, attributes}};
  slots.insert(slots.end(), value_operators.begin(), value_operators.end());
  slots.push_back({0, nullptr});
  PyType_Spec spec = {"chainrule.Value", sizeof(Value), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
  value_type = reinterpret_cast<PyTypeObject*>(Object::steal(PyType_FromSpec(&spec)).release());
  if (PyModule_AddObjectRef(module, "Value", reinterpret_cast<PyObject*>(value_type)) < 0)
    throw PythonError();
}

}  // namespace chainrule::python
