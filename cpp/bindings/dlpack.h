// DLPack: tensors to and from other libraries without a copy. The structs are the interface's own, version 0.8
// (https://dmlc.github.io/dlpack/latest/c_api.html).
#pragma once
#include "bindings/python.h"

namespace chainrule::python {

PyObject* to_dlpack(const Tensor& t);    // a capsule named "dltensor"
Tensor from_dlpack(PyObject* producer);  // an object with __dlpack__, or a capsule

}  // namespace chainrule::python
