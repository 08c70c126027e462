// The slots of the Tensor type that have a file of their own.
#pragma once
#include "bindings/python.h"

namespace chainrule::python {

extern PyGetSetDef tensor_getset[];                                    // attributes.cpp
PyObject* tensor_getitem(PyObject* self, PyObject* index);             // index.cpp
int tensor_setitem(PyObject* self, PyObject* index, PyObject* value);  // index.cpp
int tensor_get_buffer(PyObject* self, Py_buffer* view, int flags);     // interop.cpp
void tensor_release_buffer(PyObject* self, Py_buffer* view);           // interop.cpp
PyObject* tensor_matmul(PyObject* a, PyObject* b);                     // matmul.cpp
PyObject* new_legacy_tensor(PyTypeObject* type, PyObject* args,
                            PyObject* kwargs);  // interop.cpp: Tensor(2, 3), Tensor([1., 2.])

}  // namespace chainrule::python
