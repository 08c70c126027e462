// What nn.Module inherits: looking up its parts and calling it, which every layer of every step does several times.
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

// forward(*args, **keywords); with hooks, or before __init__, what Module._call_with_hooks makes of them.
PyObject* call(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject* own = PyObject_GenericGetDict(self, nullptr);
  if (own == nullptr) return nullptr;
  const bool plain = PyDict_GetItemWithError(own, hooked) == Py_False;
  Py_DECREF(own);
  if (PyErr_Occurred()) return nullptr;
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
