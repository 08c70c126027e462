// A file a topic; each adds its functions and methods. module.cpp calls them.
#pragma once
#include "bindings/args.h"

namespace chainrule::python {

void init_types(PyObject* module);        // types.cpp: dtype, Size, device
void init_node_type(PyObject* module);    // grad_fn.cpp
void init_hook_types(PyObject* module);   // hooks.cpp
void init_tensor_type(PyObject* module);  // tensor.cpp
void init_value_type(PyObject* module);   // value.cpp
void init_modes(PyObject* module);        // grad_mode.cpp: no_grad and its kin
void bind_tensor(Bind& core);             // attributes.cpp: dtype, shape, grad, ...
void bind_elementwise(Bind& core);
void bind_activations(Bind& core, Bind& nn);
void bind_views(Bind& core);
void bind_autograd(Bind& core);
void bind_creation(Bind& core);
void bind_random(Bind& core, Bind& nn);
void bind_reduce(Bind& core);
void bind_norm(Bind& nn);
void bind_loss(Bind& nn);
void bind_interop(Bind& core);
void bind_moving(Bind& core);
void bind_rearrange(Bind& core, Bind& nn);
void bind_function(Bind& core);
void bind_optim(Bind& optim);
void bind_linalg(Bind& core, Bind& nn);
void bind_conv(Bind& nn);
void bind_module_base(Bind& nn);  // nn_module.cpp

}  // namespace chainrule::python
