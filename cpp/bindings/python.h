// What every binding file uses: Python objects with an owner, errors in both directions, tensors in and out.
#pragma once
#include <Python.h>

#include <utility>

#include "autograd/node.h"
#include "core/scalar.h"
#include "core/unnamed_error.h"

namespace chainrule::python {

// Thrown when a Python exception is set already.
struct PythonError {};
// To be called in a catch (...) block: sets the Python exception that fits.
void set_python_error();

class Object {
 public:
  Object() = default;
  static Object steal(PyObject* p) {
    if (p == nullptr) throw PythonError();
    Object o;
    o.p_ = p;
    return o;
  }
  static Object borrow(PyObject* p) {
    Py_XINCREF(p);
    Object o;
    o.p_ = p;
    return o;
  }
  Object(const Object& o) : p_(o.p_) { Py_XINCREF(p_); }
  Object(Object&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Object& operator=(Object o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Object() { Py_XDECREF(p_); }
  PyObject* get() const { return p_; }
  PyObject* release() { return std::exchange(p_, nullptr); }
  explicit operator bool() const { return p_ != nullptr; }

 private:
  PyObject* p_ = nullptr;
};

// Destructors run while an exception of Python's is on its way: what they call may not touch it.
struct KeepError {
  PyObject *type, *value, *traceback;
  KeepError() { PyErr_Fetch(&type, &value, &traceback); }
  ~KeepError() { PyErr_Restore(type, value, traceback); }
  KeepError(const KeepError&) = delete;
  KeepError& operator=(const KeepError&) = delete;
};

// Runs f and turns C++ exceptions into Python ones; what f returns, or `failed`.
template <class R, class F> R guarded(R failed, F&& f) {
  try {
    return f();
  } catch (...) {
    set_python_error();
    return failed;
  }
}
// Under a name, for errors that have none.
template <class R, class F> R guarded(R failed, const char* op, F&& f) {
  return guarded(failed, [&] {
    try {
      return f();
    } catch (const UnnamedError& error) {
      throw Error(text(op, ": ", error.what()));
    }
  });
}

// ---- tensors (tensor.cpp) ----
extern PyTypeObject* tensor_type;
void dealloc_tensor(PyObject* o);  // also of every subclass that has seen __init_subclass__
inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o)->tp_dealloc == dealloc_tensor || PyObject_TypeCheck(o, tensor_type);
}
const Tensor unwrap(PyObject* tensor);                   // o must be one
TensorImpl* unwrap_impl(PyObject* tensor);               // borrowed
PyObject* wrap(const Tensor& t);                         // the tensor's one object; None when undefined
PyObject* wrap(const TensorList& list);                  // a tuple
PyObject* wrap_as(const Tensor& t, PyTypeObject* type);  // a fresh tensor's object, of a subclass

// ---- dtypes, sizes, numbers ----
PyObject* wrap(DType dtype);
bool is_dtype(PyObject* o);
DType unwrap_dtype(PyObject* o);
PyObject* wrap_size(const Dims& sizes);  // chainrule.Size, a tuple
PyObject* wrap_device();
bool is_device(PyObject* o);  // a device, or "cpu"
PyObject* wrap(const Scalar& s);
bool is_number(PyObject* o);  // bool, int, float, or a NumPy scalar
Scalar unwrap_number(PyObject* o);
// A tensor as it is, a number as a zero-dimensional tensor that promotes as a number; nothing otherwise.
bool to_operand(PyObject* o, Tensor* out);
// A fresh tensor of nested lists, a NumPy array or the like (interop.cpp).
Tensor tensor_of_data(const char* op, PyObject* data);

}  // namespace chainrule::python
