// The Python type Tensor: one object for a tensor's whole life, with operators in type slots.
//
// Ownership. While Python refers to the object, the object owns one count of its TensorImpl. When the last Python
// reference goes but the graph still holds the tensor (a parameter's .grad, a saved tensor), an object with something to
// lose (attributes, weak references, a subclass) is kept, and the TensorImpl owns it until it is asked for again or dies.
#include "bindings/args.h"

#include <structmember.h>

#include "autograd/engine.h"
#include "autograd/meta.h"
#include "autograd/mode.h"
#include "bindings/tensor_slots.h"
#include "ops/elementwise.h"
#include "ops/views.h"

namespace chainrule::python {

PyTypeObject* tensor_type = nullptr;

namespace {

struct TensorObject {
  PyObject_HEAD TensorImpl* impl;  // one count of it, unless owned_by_impl
  PyObject* dict;
  PyObject* weakrefs;
  bool owned_by_impl;
};

TensorObject* as_object(PyObject* o) { return reinterpret_cast<TensorObject*>(o); }

// Objects of exactly this type that have gone, for the next ones: a step of training makes and drops hundreds. Guarded by
// the interpreter's lock; without one, every object is allocated.
class FreeObjects {
 public:
  PyObject* take() {
    if (count_ == 0) return nullptr;
    PyObject* o = kept_[--count_];
    PyObject_Init(o, tensor_type);
    PyObject_GC_Track(o);
    return o;
  }
  bool keep(PyObject* o) {
#ifndef Py_GIL_DISABLED
    if (Py_TYPE(o) == tensor_type && count_ < kMost) {
      kept_[count_++] = o;
      return true;
    }
#endif
    return false;
  }

 private:
  static constexpr int kMost = 64;
  PyObject* kept_[kMost];
  int count_ = 0;
} free_objects;

PyObject* new_object(const Tensor& t, PyTypeObject* type) {
  PyObject* o = type == tensor_type ? free_objects.take() : nullptr;
  if (o == nullptr) o = type->tp_alloc(type, 0);
  if (o == nullptr) throw PythonError();
  as_object(o)->impl = Tensor(t).release();
  t.impl()->python = o;
  return o;
}

bool has_something_to_lose(TensorObject* o) {
  return Py_TYPE(o) != tensor_type || o->weakrefs != nullptr ||
         (o->dict != nullptr && PyDict_GET_SIZE(o->dict) > 0);
}

}  // namespace

void dealloc_tensor(PyObject* self) {
  auto* o = as_object(self);
  if (o->impl != nullptr && o->impl->owners() > 1 && has_something_to_lose(o)) {
    // Resurrected: its one reference is now the TensorImpl's.
    Py_SET_REFCNT(self, 1);
    o->owned_by_impl = true;
    o->impl->remove_owner();
    return;
  }
  PyTypeObject* type = Py_TYPE(self);
  if (type->tp_finalize != nullptr && PyObject_CallFinalizerFromDealloc(self) < 0) return;
  PyObject_GC_UnTrack(self);
  if (o->weakrefs != nullptr) PyObject_ClearWeakRefs(self);
  Py_CLEAR(o->dict);
  if (TensorImpl* impl = std::exchange(o->impl, nullptr)) {
    impl->python = nullptr;
    Tensor last(impl);
    impl->remove_owner();
  }
  if (!free_objects.keep(self)) type->tp_free(self);
  Py_DECREF(type);
}

namespace {

// The last C++ owner has gone: the object that the TensorImpl has kept goes with it.
bool release_kept_object(TensorImpl* impl) {
  auto* self = static_cast<PyObject*>(impl->python);
  if (!as_object(self)->owned_by_impl) {
    impl->python = nullptr;
    return false;
  }
  if (!Py_IsInitialized()) return true;  // at exit: leave it to the system
  const PyGILState_STATE gil = PyGILState_Ensure();
  impl->add_owner();  // there was none left
  as_object(self)->owned_by_impl = false;
  {
    const KeepError keep;
    Py_DECREF(self);
  }
  PyGILState_Release(gil);
  return true;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  auto* o = as_object(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(o->dict);
  // What only this object keeps alive belongs to it: hooks, and the Python parts of the operation that made it.
  if (o->impl == nullptr || o->impl->owners() != 1 || o->impl->autograd == nullptr) return 0;
  const AutogradMeta& m = *o->impl->autograd;
  for (const auto* list : {&m.hooks, &m.after_accumulate})
    for (const auto& [id, hook] : list->hooks)
      if (hook->owners() == 1) Py_VISIT(static_cast<PyObject*>(hook->python()));
  // A gradient whose object only this tensor keeps.
  if (m.grad.defined() && m.grad.impl()->owners() == 1) {
    auto* grad = static_cast<PyObject*>(m.grad.impl()->python);
    if (grad != nullptr && as_object(grad)->owned_by_impl) Py_VISIT(grad);
  }
  // Down the chain of operations that nothing else refers to.
  const Node* node = m.grad_fn.get();
  for (int depth = 0; node != nullptr && node->owners() == 1 && depth < 64; ++depth) {
    Py_VISIT(static_cast<PyObject*>(const_cast<Node*>(node)->python_context()));
    if (node->extras)
      for (const auto& list : node->extras->output_hooks)
        for (const auto& [id, hook] : list.hooks)
          if (hook->owners() == 1) Py_VISIT(static_cast<PyObject*>(hook->python()));
    node = node->edges.size() == 1 ? node->edges[0].node.get() : nullptr;
  }
  return 0;
}

int clear(PyObject* self) {
  auto* o = as_object(self);
  Py_CLEAR(o->dict);
  if (o->impl != nullptr && o->impl->owners() == 1 && o->impl->autograd != nullptr) {
    const auto hooks = std::exchange(o->impl->autograd->hooks.hooks, {});
    const auto after = std::exchange(o->impl->autograd->after_accumulate.hooks, {});
    const Tensor grad = std::exchange(o->impl->autograd->grad, {});
  }
  return 0;
}

PyObject* init_subclass(PyObject* cls, PyObject*, PyObject*) {
  reinterpret_cast<PyTypeObject*>(cls)->tp_dealloc =
      dealloc_tensor;  // subclasses keep their objects alive too
  Py_RETURN_NONE;
}

// ---- operators ----

template <Binary f> PyObject* binary(PyObject* a, PyObject* b) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Tensor x, y;
    if (!to_operand(a, &x) || !to_operand(b, &y)) {
      PyErr_Clear();
      Py_RETURN_NOTIMPLEMENTED;
    }
    Tensor result = apply(f, x, y);
    if constexpr (f == Binary::sub || f == Binary::pow || f == Binary::div)
      if (!is_tensor(a))
        rename_node(result, f == Binary::sub ? "rsub/1" : f == Binary::pow ? "pow/2" : "mul");
    if constexpr (f == Binary::fmod || f == Binary::remainder)
      if (is_tensor(b)) rename_node(result, f == Binary::fmod ? "fmod/1" : "remainder/1");
    return wrap(std::move(result));
  });
}
template <Binary f> PyObject* in_place(PyObject* a, PyObject* b) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    Tensor y;
    if (!to_operand(b, &y)) {
      PyErr_Clear();
      Py_RETURN_NOTIMPLEMENTED;
    }
    apply_in_place(f, unwrap(a), y);
    return Py_NewRef(a);
  });
}
template <Unary f> PyObject* unary(PyObject* x) {
  return guarded<PyObject*>(nullptr, [&] { return wrap(apply(f, unwrap(x))); });
}

PyObject* power(PyObject* a, PyObject* b, PyObject*) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (is_tensor(a) && is_number(b)) return wrap(pow_scalar(unwrap(a), unwrap_number(b)));
    return binary<Binary::pow>(a, b);
  });
}
PyObject* in_place_power(PyObject* a, PyObject* b, PyObject*) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (!is_number(b) || !unwrap(a).is_floating()) return in_place<Binary::pow>(a, b);
    pow_(unwrap(a), unwrap_number(b).as<double>());
    return Py_NewRef(a);
  });
}

PyObject* positive(PyObject* x) { return Py_NewRef(x); }
PyObject* invert(PyObject* x) {
  return guarded<PyObject*>(nullptr, [&] { return wrap(bitwise_not(unwrap(x))); });
}

PyObject* compare_operands(PyObject* a, PyObject* b, int op) {
  switch (op) {
    case Py_EQ: return binary<Binary::eq>(a, b);
    case Py_NE: return binary<Binary::ne>(a, b);
    case Py_LT: return binary<Binary::lt>(a, b);
    case Py_LE: return binary<Binary::le>(a, b);
    case Py_GT: return binary<Binary::gt>(a, b);
    default: return binary<Binary::ge>(a, b);
  }
}
// An array leaves the comparison to the tensor, and without an answer Python would compare identities.
PyObject* compare(PyObject* a, PyObject* b, int op) {
  PyObject* result = compare_operands(a, b, op);
  if (result != Py_NotImplemented || !PyObject_HasAttrString(b, "__array_interface__")) return result;
  Py_DECREF(result);
  return guarded<PyObject*>(nullptr, [&] {
    Object other = Object::steal(wrap(tensor_of_data("compare", b)));
    return compare_operands(a, other.get(), op);
  });
}

Py_hash_t hash(PyObject* self) { return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(self) >> 4); }

Scalar one_element(PyObject* self, const char* as) {
  const Tensor t = unwrap(self);
  CR_CHECK(t.numel() == 1, as, " value of Tensor with ", t.numel() == 0 ? "no values" : "more than one value",
           " is ambiguous");
  return item(t);
}
int truth(PyObject* self) {
  return guarded(-1, [&] {
    const Scalar s = one_element(self, "Boolean");
    return s.kind == Scalar::Kind::Float ? s.d != 0 : s.i != 0;
  });
}
PyObject* to_float(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&] { return PyFloat_FromDouble(item(unwrap(self)).as<double>()); });
}
PyObject* to_int(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&] {
    const Scalar s = item(unwrap(self));
    return s.kind == Scalar::Kind::Float ? PyLong_FromDouble(s.d) : PyLong_FromLongLong(s.i);
  });
}
PyObject* to_index(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&] {
    const Tensor t = unwrap(self);
    CR_CHECK_TYPE(t.numel() == 1 && is_integral(t.dtype()),
                  "only integer tensors of a single element can be converted to an index");
    return PyLong_FromLongLong(item(t).i);
  });
}
Py_ssize_t length(PyObject* self) {
  return guarded<Py_ssize_t>(-1, [&] {
    const Tensor t = unwrap(self);
    CR_CHECK_TYPE(t.dim() > 0, "len() of a 0-d tensor");
    return static_cast<Py_ssize_t>(t.size(0));
  });
}
int contains(PyObject* self, PyObject* value) {
  return guarded(-1, [&] {
    CR_CHECK_TYPE(is_tensor(value) || is_number(value),
                  "`in` expects a tensor or a number before a Tensor, not ", Py_TYPE(value)->tp_name);
    const NoGrad no_grad;
    return !all_true(unwrap(self) != (is_tensor(value) ? unwrap(value) : number(unwrap_number(value))));
  });
}
PyObject* iterate(PyObject* self) {
  return guarded<PyObject*>(nullptr, [&] {
    const Tensor t = unwrap(self);
    CR_CHECK_TYPE(t.dim() > 0, "iteration over a 0-d tensor");
    Object rows = Object::steal(wrap(unbind(t, 0)));
    return PyObject_GetIter(rows.get());
  });
}

PyObject* new_tensor(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded<PyObject*>(nullptr, [&] { return new_legacy_tensor(type, args, kwargs); });
}

}  // namespace

// ---- objects and tensors ----

const Tensor unwrap(PyObject* o) { return Tensor(as_object(o)->impl); }
TensorImpl* unwrap_impl(PyObject* o) { return as_object(o)->impl; }

PyObject* wrap(const Tensor& t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (auto* o = static_cast<PyObject*>(t.impl()->python)) {
    if (!as_object(o)->owned_by_impl) return Py_NewRef(o);
    as_object(o)->owned_by_impl = false;  // Python refers to it again: the ownership turns round
    t.impl()->add_owner();
    return o;
  }
  return new_object(t, tensor_type);
}

PyObject* wrap(const TensorList& list) {
  Object tuple = Object::steal(PyTuple_New(static_cast<Py_ssize_t>(list.size())));
  for (size_t i = 0; i < list.size(); ++i)
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), wrap(list[i]));
  return tuple.release();
}

PyObject* wrap_as(const Tensor& t, PyTypeObject* type) {
  const Tensor fresh = t.impl()->python == nullptr ? t : detach(t);
  return new_object(fresh, type);
}

bool to_operand(PyObject* o, Tensor* out) {
  if (is_tensor(o)) {
    *out = unwrap(o);
    return true;
  }
  if (!is_number(o)) return false;
  *out = number(unwrap_number(o));
  return true;
}

void init_tensor_type(PyObject* module) {
  static PyMethodDef methods[] = {
      {"__init_subclass__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(init_subclass)),
       METH_CLASS | METH_VARARGS | METH_KEYWORDS, nullptr},
      {}};
  static PyMemberDef members[] = {
      {"__dictoffset__", T_PYSSIZET, offsetof(TensorObject, dict), READONLY, nullptr},
      {"__weaklistoffset__", T_PYSSIZET, offsetof(TensorObject, weakrefs), READONLY, nullptr},
      {}};
#define SLOT(name, f) {Py_##name, reinterpret_cast<void*>(f)}
  PyType_Slot slots[] = {SLOT(tp_new, new_tensor),
                         SLOT(tp_dealloc, dealloc_tensor),
                         SLOT(tp_traverse, traverse),
                         SLOT(tp_clear, clear),
                         SLOT(tp_hash, hash),
                         SLOT(tp_richcompare, compare),
                         SLOT(tp_iter, iterate),
                         SLOT(tp_methods, methods),
                         SLOT(tp_members, members),
                         SLOT(tp_getset, tensor_getset),
                         SLOT(nb_add, binary<Binary::add>),
                         SLOT(nb_subtract, binary<Binary::sub>),
                         SLOT(nb_multiply, binary<Binary::mul>),
                         SLOT(nb_true_divide, binary<Binary::div>),
                         SLOT(nb_floor_divide, binary<Binary::floor_divide>),
                         SLOT(nb_remainder, binary<Binary::remainder>),
                         SLOT(nb_power, power),
                         SLOT(nb_and, binary<Binary::bitwise_and>),
                         SLOT(nb_or, binary<Binary::bitwise_or>),
                         SLOT(nb_xor, binary<Binary::bitwise_xor>),
                         SLOT(nb_lshift, binary<Binary::bitwise_left_shift>),
                         SLOT(nb_rshift, binary<Binary::bitwise_right_shift>),
                         SLOT(nb_inplace_add, in_place<Binary::add>),
                         SLOT(nb_inplace_subtract, in_place<Binary::sub>),
                         SLOT(nb_inplace_multiply, in_place<Binary::mul>),
                         SLOT(nb_inplace_true_divide, in_place<Binary::div>),
                         SLOT(nb_inplace_floor_divide, in_place<Binary::floor_divide>),
                         SLOT(nb_inplace_remainder, in_place<Binary::remainder>),
                         SLOT(nb_inplace_power, in_place_power),
                         SLOT(nb_inplace_and, in_place<Binary::bitwise_and>),
                         SLOT(nb_inplace_or, in_place<Binary::bitwise_or>),
                         SLOT(nb_inplace_xor, in_place<Binary::bitwise_xor>),
                         SLOT(nb_inplace_lshift, in_place<Binary::bitwise_left_shift>),
                         SLOT(nb_inplace_rshift, in_place<Binary::bitwise_right_shift>),
                         SLOT(nb_matrix_multiply, tensor_matmul),
                         SLOT(nb_negative, unary<Unary::neg>),
                         SLOT(nb_absolute, unary<Unary::abs>),
                         SLOT(nb_positive, positive),
                         SLOT(nb_invert, invert),
                         SLOT(nb_bool, truth),
                         SLOT(nb_float, to_float),
                         SLOT(nb_int, to_int),
                         SLOT(nb_index, to_index),
                         SLOT(sq_length, length),
                         SLOT(sq_contains, contains),
                         SLOT(mp_length, length),
                         SLOT(mp_subscript, tensor_getitem),
                         SLOT(mp_ass_subscript, tensor_setitem),
                         SLOT(bf_getbuffer, tensor_get_buffer),
                         SLOT(bf_releasebuffer, tensor_release_buffer),
                         {0, nullptr}};
#undef SLOT
  PyType_Spec spec{"chainrule.Tensor", sizeof(TensorObject), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  tensor_type = reinterpret_cast<PyTypeObject*>(Object::steal(PyType_FromSpec(&spec)).release());
  if (PyModule_AddObjectRef(module, "Tensor", reinterpret_cast<PyObject*>(tensor_type)) < 0)
    throw PythonError();
  release_python = release_kept_object;
}

}  // namespace chainrule::python
