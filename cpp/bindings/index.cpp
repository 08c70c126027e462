// x[...] in Python: what may stand between the brackets.
#include "ops/index.h"

#include "bindings/tensor_slots.h"
#include "bindings/topics.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

Index from_tensor(const Tensor& t) {
  CR_CHECK_INDEX(!t.is_floating(),
                 "tensors used as indices must be int64, int32, uint8 or bool tensors, got ",
                 name_of(t.dtype()));
  Index i;
  if (t.dim() == 0) {
    i.kind = t.dtype() == DType::Bool || t.dtype() == DType::UInt8 ? Index::Kind::Bool : Index::Kind::Int;
    i.start = item(t).i;
  } else {
    i.kind = Index::Kind::Tensor;
    i.tensor = t;
  }
  return i;
}

Index from_integer(PyObject* o) {
  Index i;
  i.kind = Index::Kind::Int;
  i.start = PyNumber_AsSsize_t(o, PyExc_IndexError);
  if (i.start == -1 && PyErr_Occurred()) throw PythonError();
  return i;
}

Index from_slice(PyObject* o) {
  Index i;
  i.kind = Index::Kind::Slice;
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(o, &start, &stop, &step) < 0) throw PythonError();
  CR_CHECK_VALUE(step > 0, "slice: step must be greater than zero, got ", step);
  i.start = start, i.stop = stop, i.step = step;
  return i;
}

Index parse(PyObject* o) {
  if (PyLong_CheckExact(o)) return from_integer(o);
  if (PySlice_Check(o)) return from_slice(o);
  if (is_tensor(o)) return from_tensor(unwrap(o));
  Index i;
  if (o == Py_None) return i;
  if (o == Py_Ellipsis) {
    i.kind = Index::Kind::Ellipsis;
    return i;
  }
  if (PyBool_Check(o)) {
    i.kind = Index::Kind::Bool;
    i.start = o == Py_True;
    return i;
  }
  if (PyList_Check(o) || PyTuple_Check(o)) {
    if (PySequence_Fast_GET_SIZE(o) == 0) return from_tensor(empty({0}, DType::Int64));
    return from_tensor(tensor_of_data("index", o));
  }
  if (is_number(o)) {  // NumPy's
    const Scalar s = unwrap_number(o);
    if (s.kind != Scalar::Kind::Float) {
      i.kind = s.kind == Scalar::Kind::Bool ? Index::Kind::Bool : Index::Kind::Int;
      i.start = s.i;
      return i;
    }
  } else if (PyObject_CheckBuffer(o) && !PyBytes_Check(o)) {
    return from_tensor(tensor_of_data("index", o));
  } else if (PyIndex_Check(o)) {
    return from_integer(o);
  }
  throw IndexError(
      text("only integers, slices (`:`), ellipsis (`...`), None and integer or boolean tensors, arrays "
           "and lists are valid indices (got ",
           Py_TYPE(o)->tp_name, ")"));
}

IndexList parse_all(PyObject* index) {
  IndexList list;
  if (!PyTuple_Check(index)) {
    list.push_back(parse(index));
    return list;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(index); ++i) list.push_back(parse(PyTuple_GET_ITEM(index, i)));
  return list;
}

void check_has_dims(const Tensor& x) {
  CR_CHECK_INDEX(x.dim() > 0,
                 "invalid index of a 0-dim tensor. Use `tensor.item()` to convert it to a Python number");
}

}  // namespace

PyObject* tensor_getitem(PyObject* self, PyObject* index) {
  return guarded<PyObject*>(nullptr, [&] {
    const Tensor x = unwrap(self);
    if (PyLong_CheckExact(index)) {
      check_has_dims(x);
      return wrap(select(x, 0, from_integer(index).start));
    }
    return wrap(index_get(x, parse_all(index)));
  });
}

int tensor_setitem(PyObject* self, PyObject* index, PyObject* value) {
  return guarded(-1, "__setitem__", [&] {
    CR_CHECK_TYPE(value != nullptr, "Tensor does not support deleting items");
    const Tensor x = unwrap(self);
    if (PyLong_CheckExact(index)) check_has_dims(x);
    const IndexList list = parse_all(index);
    if (is_tensor(value)) {
      index_set(x, list, unwrap(value));
    } else {
      CR_CHECK_TYPE(is_number(value), "can't assign a ", Py_TYPE(value)->tp_name, " to a tensor of dtype ",
                    name_of(x.dtype()));
      index_set(x, list, scalar_tensor(unwrap_number(value), x.dtype()));
    }
    return 0;
  });
}

}  // namespace chainrule::python
