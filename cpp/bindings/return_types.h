// Results with names: max(x, dim).values.
#pragma once
#include "bindings/args.h"

namespace chainrule::python {

// A named tuple (values, indices), of the type chainrule.return_types.<op>; return_types.cpp lists the ops.
PyObject* values_and_indices(const char* op, const Tensor& values, const Tensor& indices);
// The same, written into the pair of tensors of argument `out` when that was given.
PyObject* values_and_indices(const char* op, const Tensor& values, const Tensor& indices, const Args& a,
                             int out);
void init_return_types(PyObject* module);  // _core._return_types

}  // namespace chainrule::python
