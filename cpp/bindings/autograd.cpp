// Recording and differentiating: backward, grad, modes, hooks.
#include "autograd/engine.h"
#include "autograd/meta.h"
#include "autograd/mode.h"
#include "bindings/hooks.h"
#include "bindings/topics.h"

namespace chainrule::python {
namespace {

TensorList tensors_or_none(PyObject* o, size_t count, const char* op) {
  TensorList out(count);
  if (o == Py_None) return out;
  if (is_tensor(o)) {
    CR_CHECK(count == 1, op, ": got one gradient for ", count, " outputs");
    out[0] = unwrap(o);
    return out;
  }
  Object items = Object::steal(PySequence_Fast(o, "gradients must be a tensor or a sequence of tensors"));
  CR_CHECK(static_cast<size_t>(PySequence_Fast_GET_SIZE(items.get())) == count, op, ": got ",
           PySequence_Fast_GET_SIZE(items.get()), " gradients for ", count, " outputs");
  for (size_t i = 0; i < count; ++i) {
    PyObject* g = PySequence_Fast_GET_ITEM(items.get(), static_cast<Py_ssize_t>(i));
    CR_CHECK_TYPE(g == Py_None || is_tensor(g), op, ": gradients can be either Tensors or None, but got ",
                  Py_TYPE(g)->tp_name);
    if (g != Py_None) out[i] = unwrap(g);
  }
  return out;
}

TensorList tensor_or_sequence(PyObject* o, const char* op) {
  if (o == Py_None) return {};
  if (is_tensor(o)) return {unwrap(o)};
  Object items = Object::steal(PySequence_Fast(o, "expected a tensor or a sequence of tensors"));
  TensorList out;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    PyObject* t = PySequence_Fast_GET_ITEM(items.get(), i);
    CR_CHECK_TYPE(is_tensor(t), op, ": expected Tensors, got ", Py_TYPE(t)->tp_name);
    out.push_back(unwrap(t));
  }
  return out;
}

// A graph that is to be differentiated again is kept unless somebody says otherwise.
BackwardOptions options(const Args& a, int retain_graph, int create_graph) {
  BackwardOptions o;
  o.create_graph = a.flag(create_graph);
  o.retain_graph = a.has(retain_graph) ? a.flag(retain_graph) : o.create_graph;
  return o;
}

PyObject* backward(const Args& a, Tensors roots, Tensors grads) {
  BackwardOptions o = options(a, 2, 3);
  o.allow_unused = true;
  const TensorList inputs = tensor_or_sequence(a.object(4), "backward");
  CR_CHECK(!a.has(4) || !inputs.empty(), "backward: inputs argument cannot be empty");
  run_backward(roots, grads, inputs, o);
  Py_RETURN_NONE;
}

// Where Python is: the lines that anomaly mode names.
std::string python_stack() {
  const PyGILState_STATE gil = PyGILState_Ensure();
  std::string out;
  try {
    Object module = Object::steal(PyImport_ImportModule("traceback"));
    Object lines = Object::steal(PyObject_CallMethod(module.get(), "format_stack", nullptr));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lines.get()); ++i)
      out += PyUnicode_AsUTF8(PyList_GET_ITEM(lines.get(), i));
  } catch (const PythonError&) {
    PyErr_Clear();
  }
  PyGILState_Release(gil);
  return out;
}

}  // namespace

void bind_autograd(Bind& bind) {
  bind.op(
      "_backward(object tensors, object grad_tensors=None, bool? retain_graph=None, bool create_graph=False, object inputs=None) -> None",
      [](Args& a) {
        const TensorList roots = tensor_or_sequence(a.object(0), "backward");
        return backward(a, roots, tensors_or_none(a.object(1), roots.size(), "backward"));
      },
      Where::Function);
  bind.op(
      "backward(Tensor self, Tensor? gradient=None, bool? retain_graph=None, bool create_graph=False, object inputs=None) -> None",
      [](Args& a) {
        const Tensor root = a.tensor(0), gradient = a.tensor(1);
        return backward(a, {&root, 1}, {&gradient, 1});
      },
      Where::Method,
      "Adds the gradient of this tensor to the .grad of every leaf that it depends on. `gradient` has its shape and may be\n"
      "left out for a single element. RuntimeError when the graph has been freed or there is none.");
  bind.op(
      "_grad(object outputs, object inputs, object? grad_outputs=None, bool? retain_graph=None, bool create_graph=False, bool allow_unused=False) -> Tensor[]",
      [](Args& a) {
        const TensorList roots = tensor_or_sequence(a.object(0), "grad");
        const TensorList inputs = tensor_or_sequence(a.object(1), "grad");
        CR_CHECK_VALUE(!inputs.empty(), "grad: requires non-empty inputs.");
        BackwardOptions o = options(a, 3, 4);
        o.allow_unused = a.flag(5);
        o.accumulate = false;
        return wrap(run_backward(roots, tensors_or_none(a.object(2), roots.size(), "grad"), inputs, o));
      },
      Where::Function);
  bind.op("is_grad_enabled() -> bool", [](Args&) { return PyBool_FromLong(grad_enabled); }, Where::Function);
  bind.op(
      "is_inference_mode_enabled() -> bool", [](Args&) { return PyBool_FromLong(inference_mode); },
      Where::Function);
  bind.op(
      "_set_anomaly(bool enabled, bool check_nan) -> object",
      [](Args& a) {
        const AnomalyMode before = std::exchange(anomaly_mode, {a.flag(0), a.flag(1), python_stack});
        return Py_BuildValue("(NN)", PyBool_FromLong(before.enabled), PyBool_FromLong(before.check_nan));
      },
      Where::Function);
  bind.op(
      "is_anomaly_enabled() -> bool", [](Args&) { return PyBool_FromLong(anomaly_mode.enabled); },
      Where::Function);
  bind.op(
      "retain_grad(Tensor self) -> None",
      [](Args& a) -> PyObject* {
        retain_grad(a.tensor(0));
        Py_RETURN_NONE;
      },
      Where::Method);
  bind.op(
      "register_hook(Tensor self, object hook) -> object",
      [](Args& a) { return add_tensor_hook(a.tensor(0), a.object(1)); }, Where::Method);
  bind.op(
      "register_post_accumulate_grad_hook(Tensor self, object hook) -> object",
      [](Args& a) { return add_post_accumulate_hook(a.tensor(0), a.object(1)); }, Where::Method);
}

}  // namespace chainrule::python
