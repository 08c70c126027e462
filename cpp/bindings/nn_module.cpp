// What nn.Module inherits: looking up its parts and calling it, which every layer of every step does several times.
#include <vector>

#include "bindings/topics.h"

namespace chainrule::python {
namespace {

PyObject* kinds[3];  // the names of the instance's dictionaries of parts
PyObject *hooked, *forward, *call_with_hooks;

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

// forward(*args, **keywords); with hooks, or before __init__, what Module._call_with_hooks makes of them.
PyObject* call(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject* own = PyObject_GenericGetDict(self, nullptr);
  if (own == nullptr) return nullptr;
  const bool plain = PyDict_GetItemWithError(own, hooked) == Py_False;
  const bool replaced = plain && PyDict_GetItemWithError(own, forward) != nullptr;
  Py_DECREF(own);
  if (PyErr_Occurred()) return nullptr;
  if (plain && !replaced) {
    PyObject* function = _PyType_Lookup(Py_TYPE(self), forward);  // borrowed
    if (function != nullptr && PyFunction_Check(function)) {
      const Object kept = Object::borrow(function);
      return call_unbound(function, self, args, keywords);
    }
  }
  PyObject* method = PyObject_GetAttr(self, plain ? forward : call_with_hooks);
  if (method == nullptr) return nullptr;
  PyObject* result = PyObject_Call(method, args, keywords);
  Py_DECREF(method);
  return result;
}

PyType_Slot slots[] = {{Py_tp_getattro, reinterpret_cast<void*>(get_attribute)},
                       {Py_tp_call, reinterpret_cast<void*>(call)},
                       {Py_tp_doc, const_cast<char*>("The lookup and the call of chainrule.nn.Module.")},
                       {0, nullptr}};
PyType_Spec spec{"chainrule._core._nn.ModuleBase", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

PyObject* interned(const char* name) { return Object::steal(PyUnicode_InternFromString(name)).release(); }

}  // namespace

void init_module_base(PyObject* module) {
  kinds[0] = interned("_parameters");
  kinds[1] = interned("_modules");
  kinds[2] = interned("_buffers");
  hooked = interned("_hooked");
  forward = interned("forward");
  call_with_hooks = interned("_call_with_hooks");
  const Object type = Object::steal(PyType_FromSpec(&spec));
  if (PyModule_AddObjectRef(module, "ModuleBase", type.get()) < 0) throw PythonError();
}

}  // namespace chainrule::python
