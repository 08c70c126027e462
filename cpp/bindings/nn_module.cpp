// What nn.Module inherits: looking up its parts and calling it, which every layer of every step does several times.
#include <unordered_set>
#include <vector>

#include "bindings/topics.h"
#include "ops/matmul.h"

namespace chainrule::python {
namespace {

PyObject* kinds[3];  // the names of the instance's dictionaries of parts
PyObject *hooked, *forward, *call_with_hooks, *weight, *bias;
PyObject *linear_forward, *relu_forward;  // the functions of nn.Linear and nn.ReLU, once they are there

PyObject* found_in(PyObject* dict, PyObject* name) {  // borrowed, or null without an error
  return dict != nullptr && PyDict_Check(dict) ? PyDict_GetItemWithError(dict, name) : nullptr;
}

// What the type or the instance itself has comes first, then a parameter, buffer or child module of this name.
PyObject* get_attribute(PyObject* self, PyObject* name) {
  if (_PyType_Lookup(Py_TYPE(self), name) != nullptr) return PyObject_GenericGetAttr(self, name);
  PyObject* own = PyObject_GenericGetDict(self, nullptr);
  if (own == nullptr) return nullptr;
  PyObject* value = PyDict_GetItemWithError(own, name);
  for (PyObject* kind : kinds)
    if (value == nullptr && !PyErr_Occurred()) value = found_in(PyDict_GetItemWithError(own, kind), name);
  Py_XINCREF(value);
  Py_DECREF(own);
  if (value != nullptr || PyErr_Occurred()) return value;
  return PyObject_GenericGetAttr(self, name);  // words the error
}

// function(self, *args, **keywords), without the bound method and the tuple that would stand between.
PyObject* call_unbound(PyObject* function, PyObject* self, PyObject* args, PyObject* keywords) {
  constexpr Py_ssize_t kFew = 8;
  const Py_ssize_t count = PyTuple_GET_SIZE(args) + 1;
  PyObject* few[kFew + 1];
  std::vector<PyObject*> many(count <= kFew ? 0 : static_cast<size_t>(count) + 1);
  PyObject** stack = (count <= kFew ? few : many.data()) + 1;  // with room before it, as the flag promises
  stack[0] = self;
  for (Py_ssize_t i = 1; i < count; ++i) stack[i] = PyTuple_GET_ITEM(args, i - 1);
  return PyObject_VectorcallDict(function, stack, static_cast<size_t>(count) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                 keywords);
}

// The function that calling the module comes to; null, without an error, where that takes more: hooks, a call before
// __init__, a forward of the instance's own or one that is no plain function.
PyObject* plain_forward(PyObject* self) {  // borrowed
  PyObject* own = PyObject_GenericGetDict(self, nullptr);
  if (own == nullptr) return nullptr;
  const bool plain = PyDict_GetItemWithError(own, hooked) == Py_False &&
                     PyDict_GetItemWithError(own, forward) == nullptr && !PyErr_Occurred();
  Py_DECREF(own);
  PyObject* function = plain ? _PyType_Lookup(Py_TYPE(self), forward) : nullptr;
  return function != nullptr && PyFunction_Check(function) ? function : nullptr;
}

// forward(*args, **keywords); with hooks, or before __init__, what Module._call_with_hooks makes of them.
PyObject* call(PyObject* self, PyObject* args, PyObject* keywords) {
  if (PyObject* function = plain_forward(self)) {
    const Object kept = Object::borrow(function);
    return call_unbound(function, self, args, keywords);
  }
  if (PyErr_Occurred()) return nullptr;
  PyObject* own = PyObject_GenericGetDict(self, nullptr);
  if (own == nullptr) return nullptr;
  const bool hookless = PyDict_GetItemWithError(own, hooked) == Py_False;
  Py_DECREF(own);
  PyObject* method =
      PyErr_Occurred() ? nullptr : PyObject_GetAttr(self, hookless ? forward : call_with_hooks);
  if (method == nullptr) return nullptr;
  PyObject* result = PyObject_Call(method, args, keywords);
  Py_DECREF(method);
  return result;
}

// module(input), without a tuple between where the call is the one above.
Object call_on(PyObject* module, PyObject* input) {
  if (Py_TYPE(module)->tp_call == call) {
    if (PyObject* function = plain_forward(module)) {
      const Object kept = Object::borrow(function);
      PyObject* stack[] = {module, input};
      return Object::steal(PyObject_Vectorcall(function, stack, 2, nullptr));
    }
    if (PyErr_Occurred()) throw PythonError();
  }
  return Object::steal(PyObject_CallOneArg(module, input));
}

// Does calling it come to this function, and to nothing else?
bool calls(PyObject* module, PyObject* function) {
  return function != nullptr && Py_TYPE(module)->tp_call == call && plain_forward(module) == function;
}

// nn.Linear's forward, and nn.ReLU's after it, without their frames and as one product. Null, without an error, where the
// arguments are no tensors.
Object call_linear(PyObject* module, PyObject* input, bool then_relu) {
  const Object w = Object::steal(PyObject_GetAttr(module, weight));
  const Object b = Object::steal(PyObject_GetAttr(module, bias));
  if (!is_tensor(input) || !is_tensor(w.get()) || !(b.get() == Py_None || is_tensor(b.get())))
    return Object();
  return Object::steal(wrap(
      linear(unwrap(input), unwrap(w.get()), b.get() == Py_None ? Tensor() : unwrap(b.get()), then_relu)));
}

PyObject* in_turn(Args& a) {
  const Object modules = Object::steal(PyMapping_Values(a.object(0)));
  Object value = Object::borrow(a.object(1));
  const Py_ssize_t count = PyList_GET_SIZE(modules.get());
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const module = PyList_GET_ITEM(modules.get(), i);
    Object result;
    if (calls(module, linear_forward)) {
      const bool then_relu = i + 1 < count && calls(PyList_GET_ITEM(modules.get(), i + 1), relu_forward);
      result = call_linear(module, value.get(), then_relu);
      if (result.get() != nullptr && then_relu) ++i;
    }
    value = result.get() != nullptr ? std::move(result) : call_on(module, value.get());
  }
  return value.release();
}

PyObject* set_fused(Args& a) {
  linear_forward = Py_NewRef(a.object(0));
  relu_forward = Py_NewRef(a.object(1));
  Py_RETURN_NONE;
}

// ---- the parameters of a module and all below it ----

// Objects met before; few, mostly, so that looking through them beats a hash.
class Met {
 public:
  bool add(PyObject* o) {  // false when it is there already
    if (!many_.empty()) return many_.insert(o).second;
    for (PyObject* other : few_)
      if (other == o) return false;
    few_.push_back(o);
    if (few_.size() > 16) many_.insert(few_.begin(), few_.end());
    return true;
  }

 private:
  std::vector<PyObject*> few_;
  std::unordered_set<PyObject*> many_;
};

struct Collected {
  Met modules, parameters;
  PyObject* list;
};

// f(value) for the values of one of a module's dictionaries that are not None.
template <class F> void each_part(PyObject* module, PyObject* kind, F&& f) {
  const Object parts = Object::steal(PyObject_GetAttr(module, kind));
  CR_CHECK_TYPE(PyDict_Check(parts.get()), PyUnicode_AsUTF8(kind), " of a Module is a dictionary, not ",
                Py_TYPE(parts.get())->tp_name);
  PyObject *name, *value;
  for (Py_ssize_t at = 0; PyDict_Next(parts.get(), &at, &name, &value);)
    if (value != Py_None) f(value);
}

void collect(PyObject* module, Collected& c) {
  if (!c.modules.add(module)) return;
  each_part(module, kinds[0], [&](PyObject* parameter) {
    if (c.parameters.add(parameter) && PyList_Append(c.list, parameter) < 0) throw PythonError();
  });
  each_part(module, kinds[1], [&](PyObject* child) { collect(child, c); });
}

PyObject* parameters_below(Args& a) {
  Object list = Object::steal(PyList_New(0));
  Collected c{{}, {}, list.get()};
  collect(a.object(0), c);
  return list.release();
}

PyType_Slot slots[] = {{Py_tp_getattro, reinterpret_cast<void*>(get_attribute)},
                       {Py_tp_call, reinterpret_cast<void*>(call)},
                       {Py_tp_doc, const_cast<char*>("The lookup and the call of chainrule.nn.Module.")},
                       {0, nullptr}};
PyType_Spec spec{"chainrule._core._nn.ModuleBase", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

PyObject* interned(const char* name) { return Object::steal(PyUnicode_InternFromString(name)).release(); }

}  // namespace

void bind_module_base(Bind& nn) {
  kinds[0] = interned("_parameters");
  kinds[1] = interned("_modules");
  kinds[2] = interned("_buffers");
  hooked = interned("_hooked");
  forward = interned("forward");
  call_with_hooks = interned("_call_with_hooks");
  weight = interned("weight");
  bias = interned("bias");
  const Object type = Object::steal(PyType_FromSpec(&spec));
  if (PyModule_AddObjectRef(nn.module(), "ModuleBase", type.get()) < 0) throw PythonError();
  nn.op("_in_turn(object modules, object input) -> object", in_turn, Where::Function,
        "Calls the modules of a dictionary, each on what the one before returned.");
  nn.op(
      "_set_fused(object linear_forward, object relu_forward) -> None", set_fused, Where::Function,
      "Tells which functions _in_turn may replace: Linear's and the ReLU's after it are made by one product.");
  nn.op("_parameters_below(object module) -> object", parameters_below, Where::Function,
        "The parameters of a module and of all below it, each once, as a list.");
}

}  // namespace chainrule::python
