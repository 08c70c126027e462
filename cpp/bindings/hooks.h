// Python functions on gradients: tensor hooks, post-accumulate hooks, node hooks. Each registration returns a handle
// with remove().
#pragma once
#include "bindings/python.h"

namespace chainrule::python {

PyObject* add_tensor_hook(const Tensor& t, PyObject* f);
PyObject* add_post_accumulate_hook(const Tensor& t, PyObject* f);
PyObject* add_node_hook(const Ref<Node>& node, PyObject* f, bool before);

}  // namespace chainrule::python
