// What no_grad and its kin inherit: guards that set this thread's mode for a block, which inference enters at every call.
#include <cstring>
#include <memory>
#include <string>

#include "autograd/mode.h"
#include "bindings/topics.h"

namespace chainrule::python {
namespace {

// A mode's two switches, packed: what a guard finds is kept in a string, whose first 15 levels need no allocation.
using Modes = char;
constexpr Modes kGrad = 1, kInference = 2;

Modes modes_now() {
  return static_cast<Modes>((grad_enabled ? kGrad : 0) | (inference_mode ? kInference : 0));
}
void set_modes(Modes m) {
  grad_enabled = (m & kGrad) != 0;
  inference_mode = (m & kInference) != 0;
}

struct Guard {
  PyObject_HEAD Modes mask, wanted;  // the switches that it sets, and to what
  bool at_once;                      // set when it is made already, so that `outside` is what it restores
  Modes outside;
  std::string before;  // a level for every time that it is in force
};
Guard* as_guard(PyObject* o) { return reinterpret_cast<Guard*>(o); }

PyObject* new_guard(PyTypeObject* type, Modes mask, Modes wanted, bool at_once) {
  PyObject* o = type->tp_alloc(type, 0);
  if (o == nullptr) return nullptr;
  Guard& g = *as_guard(o);
  g.mask = mask, g.wanted = wanted, g.at_once = at_once;
  g.outside = modes_now();
  new (&g.before) std::string();
  if (at_once) set_modes(static_cast<Modes>((g.outside & ~mask) | wanted));
  return o;
}

// Guard(grad, inference, at_once): each switch True, False, or None to leave it.
PyObject* new_from_switches(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *grad, *inference;
  int at_once;
  if (!PyArg_ParseTuple(args, "OOp", &grad, &inference, &at_once)) return nullptr;
  Modes mask = 0, wanted = 0;
  for (const auto& [given, bit] : {std::pair{grad, kGrad}, std::pair{inference, kInference}}) {
    if (given != Py_None) mask = static_cast<Modes>(mask | bit);
    if (given == Py_True) wanted = static_cast<Modes>(wanted | bit);
  }
  return new_guard(type, mask, wanted, at_once != 0);
}

// no_grad() and enable_grad(); with a function, the decorator without parentheses.
template <bool on> PyObject* new_grad_guard(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  PyObject* function = nullptr;
  if (PyTuple_GET_SIZE(args) != 0 || keywords != nullptr) {
    static const char* names[] = {"function", nullptr};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O", const_cast<char**>(names), &function))
      return nullptr;
  }
  PyObject* guard = new_guard(type, kGrad, on ? kGrad : 0, false);
  if (guard == nullptr || function == nullptr || function == Py_None) return guard;
  PyObject* decorated = PyObject_CallOneArg(guard, function);
  Py_DECREF(guard);
  return decorated;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  if (PyType_IS_GC(type)) PyObject_GC_UnTrack(self);
  std::destroy_at(&as_guard(self)->before);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* enter(PyObject* self, PyObject*) {
  Guard& g = *as_guard(self);
  const Modes now = modes_now();
  g.before.push_back(g.at_once ? g.outside : now);
  set_modes(static_cast<Modes>((now & ~g.mask) | g.wanted));
  Py_RETURN_NONE;
}
PyObject* leave(PyObject* self, PyObject* const*, Py_ssize_t) {
  Guard& g = *as_guard(self);
  if (g.before.empty()) {
    PyErr_SetString(PyExc_RuntimeError, "__exit__: this guard is not in force; it was never entered");
    return nullptr;
  }
  set_modes(g.before.back());
  g.before.pop_back();
  Py_RETURN_NONE;
}
PyObject* undo(PyObject* self, PyObject*) {
  if (as_guard(self)->at_once) set_modes(as_guard(self)->outside);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"__enter__", enter, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(leave)), METH_FASTCALL, nullptr},
    {"_undo", undo, METH_NOARGS, nullptr},
    {}};

PyTypeObject* add_type(PyObject* module, const char* name, newfunc make, PyTypeObject* base) {
  PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(make)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                         {Py_tp_methods, base == nullptr ? methods : methods + 3},
                         {0, nullptr}};
  PyType_Spec spec{name, sizeof(Guard), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  Object bases = base == nullptr ? Object() : Object::borrow(reinterpret_cast<PyObject*>(base));
  Object type = Object::steal(PyType_FromSpecWithBases(&spec, bases.get()));
  if (PyModule_AddObjectRef(module, std::strrchr(name, '.') + 1, type.get()) < 0) throw PythonError();
  return reinterpret_cast<PyTypeObject*>(type.release());
}

}  // namespace

void init_modes(PyObject* module) {
  PyTypeObject* guard = add_type(module, "chainrule._core.ModeGuard", new_from_switches, nullptr);
  add_type(module, "chainrule._core.NoGradGuard", new_grad_guard<false>, guard);
  add_type(module, "chainrule._core.EnableGradGuard", new_grad_guard<true>, guard);
}

}  // namespace chainrule::python
