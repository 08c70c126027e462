// The Python face of graph nodes: x.grad_fn, its name, next_functions and hooks.
#pragma once
#include "bindings/python.h"

namespace chainrule::python {

PyObject* wrap_node(const Ref<Node>& node);  // None for null

}  // namespace chainrule::python
