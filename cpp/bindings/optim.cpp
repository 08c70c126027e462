// Optimizer steps and gradient clipping: chainrule._core._optim.
#include "ops/optim.h"

#include "autograd/meta.h"
#include "bindings/topics.h"
#include "ops/fill.h"

namespace chainrule::python {
namespace {

PyObject *step_name, *average_name, *square_name, *largest_name,
    *buffer_name;  // the keys of a parameter's state

// What an optimizer remembers of a parameter, a dictionary; empty when that is nothing yet.
Object state_of(PyObject* states, PyObject* param) {
  CR_CHECK_TYPE(PyDict_Check(states), "an optimizer's state is a dictionary, not ", Py_TYPE(states)->tp_name);
  PyObject* state = PyDict_GetItemWithError(states, param);
  if (state == nullptr && PyErr_Occurred()) throw PythonError();
  if (state == nullptr) return {};
  CR_CHECK_TYPE(PyDict_Check(state), "the state of a parameter is a dictionary, not ",
                Py_TYPE(state)->tp_name);
  return PyDict_GET_SIZE(state) == 0 ? Object() : Object::borrow(state);
}

PyObject* entry_of(const Object& state, PyObject* name) {  // borrowed
  PyObject* value = PyDict_GetItemWithError(state.get(), name);
  if (value == nullptr && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, name);
  if (value == nullptr) throw PythonError();
  return value;
}
Tensor tensor_of(const Object& state, PyObject* name) {
  PyObject* value = entry_of(state, name);
  CR_CHECK_TYPE(is_tensor(value), "an optimizer's '", PyUnicode_AsUTF8(name), "' is a Tensor, not ",
                Py_TYPE(value)->tp_name);
  return unwrap(value);
}
int64_t count_of(const Object& state, PyObject* name) {
  const Object index = Object::steal(PyNumber_Index(entry_of(state, name)));
  const int64_t count = PyLong_AsLongLong(index.get());
  if (count == -1 && PyErr_Occurred()) throw PythonError();
  return count;
}
void put(const Object& state, PyObject* name, PyObject* value) {
  const Object kept = Object::steal(value);
  if (PyDict_SetItem(state.get(), name, value) < 0) throw PythonError();
}

// f(its object, parameter, gradient) for those that have one.
template <class F> void each_with_gradient(PyObject* params, F&& f) {
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(params); ++i) {
    PyObject* object = PySequence_Fast_ITEMS(params)[i];
    const Tensor param = unwrap(object);
    if (const Tensor grad = grad_of(param); grad.defined()) f(object, param, grad);
  }
}

TensorList gradients_of(PyObject* params) {
  TensorList grads;
  grads.reserve(static_cast<size_t>(PySequence_Fast_GET_SIZE(params)));
  each_with_gradient(params, [&](PyObject*, const Tensor&, const Tensor& grad) { grads.push_back(grad); });
  return grads;
}

// The state of a parameter, made when there is none: before the step, which must not fail half way.
Object state_to_fill(PyObject* states, PyObject* param) {
  Object state = state_of(states, param);
  if (!state) {
    state = Object::steal(PyDict_New());
    if (PyObject_SetItem(states, param, state.get()) < 0) throw PythonError();
  }
  return state;
}

PyObject* sgd_step(Args& a) {
  PyObject* states = a.object(1);
  const SgdOptions options{a.number(2), a.number(3), a.number(4), a.number(5), a.flag(6), a.flag(7)};
  SgdLists lists(static_cast<size_t>(PySequence_Fast_GET_SIZE(a.object(0))));
  std::vector<Object> fresh;  // states that get the buffers that this step makes
  each_with_gradient(a.object(0), [&](PyObject* object, const Tensor& param, const Tensor& grad) {
    lists.params.push_back(param);
    lists.grads.push_back(grad);
    if (options.momentum == 0) return;
    Object state = state_to_fill(states, object);
    PyObject* buffer = PyDict_GetItemWithError(state.get(), buffer_name);
    if (buffer == nullptr && PyErr_Occurred()) throw PythonError();
    const bool first = buffer == nullptr || buffer == Py_None;
    lists.buffers.push_back(first ? empty_like(param) : tensor_of(state, buffer_name));
    lists.first.push_back(first);
    if (first) fresh.push_back(std::move(state));
  });
  sgd_(lists, options);
  for (size_t i = 0, made = 0; made < fresh.size(); ++i) {
    if (!lists.first[i]) continue;
    put(fresh[made++], buffer_name, wrap(lists.buffers[i]));
  }
  return Py_NewRef(Py_None);
}

Object new_adam_state(const Tensor& param, bool amsgrad) {
  Object state = Object::steal(PyDict_New());
  put(state, step_name, PyLong_FromLong(0));
  put(state, average_name, wrap(zeros_like(param)));
  put(state, square_name, wrap(zeros_like(param)));
  if (amsgrad) put(state, largest_name, wrap(zeros_like(param)));
  return state;
}

PyObject* adam_step(Args& a) {
  PyObject* states = a.object(1);
  const AdamOptions options{a.number(2), a.number(3), a.number(4), a.number(5),
                            a.number(6), a.flag(7),   a.flag(8),   a.flag(9)};
  const auto room = static_cast<size_t>(PySequence_Fast_GET_SIZE(a.object(0)));
  AdamLists lists(room);
  std::vector<Object> remembered;
  remembered.reserve(room);
  each_with_gradient(a.object(0), [&](PyObject* object, const Tensor& param, const Tensor& grad) {
    Object state = state_of(states, object);
    if (!state) {
      state = new_adam_state(param, options.amsgrad);
      if (PyObject_SetItem(states, object, state.get()) < 0) throw PythonError();
    }
    lists.params.push_back(param);
    lists.grads.push_back(grad);
    lists.averages.push_back(tensor_of(state, average_name));
    lists.squares.push_back(tensor_of(state, square_name));
    if (options.amsgrad) lists.largest.push_back(tensor_of(state, largest_name));
    lists.steps.push_back(count_of(state, step_name));
    remembered.push_back(std::move(state));
  });
  adam_(lists, options);
  for (size_t i = 0; i < remembered.size(); ++i)
    put(remembered[i], step_name, PyLong_FromLongLong(lists.steps[i]));
  return Py_NewRef(Py_None);
}

PyObject* interned(const char* name) { return Object::steal(PyUnicode_InternFromString(name)).release(); }

}  // namespace

void bind_optim(Bind& bind) {
  step_name = interned("step");
  average_name = interned("exp_avg");
  square_name = interned("exp_avg_sq");
  largest_name = interned("max_exp_avg_sq");
  buffer_name = interned("momentum_buffer");
  bind.op(
      "sgd_(Tensor[] params, object state, *, float lr, float momentum, float dampening, float weight_decay, "
      "bool nesterov, bool maximize) -> None",
      sgd_step, Where::Function,
      "One step of stochastic gradient descent for the parameters that have a gradient; state: the optimizer's.");
  bind.op(
      "adam_(Tensor[] params, object state, *, float lr, float beta1, float beta2, float eps, "
      "float weight_decay, bool amsgrad, bool maximize, bool decoupled) -> None",
      adam_step, Where::Function,
      "One step of Adam, or with decoupled weight decay of AdamW, for the parameters that have a gradient; state: the "
      "optimizer's.");
  bind.op(
      "clip_grad_norm_(Tensor[] params, float max_norm, float norm_type, bool error_if_nonfinite) -> Tensor",
      [](Args& a) {
        return wrap(clip_grad_norm_(gradients_of(a.object(0)), a.number(1), a.number(2), a.flag(3)));
      },
      Where::Function,
      "Scales gradients down to a common norm of at most max_norm; returns the norm before.");
  bind.op(
      "clip_grad_value_(Tensor[] params, float clip_value) -> None",
      [](Args& a) {
        clip_grad_value_(gradients_of(a.object(0)), a.number(1));
        return Py_NewRef(Py_None);
      },
      Where::Function, "Clamps gradients to [-clip_value, clip_value].");
  bind.op(
      "forget_gradients_(Tensor[] params, bool set_to_none) -> None",
      [](Args& a) {
        PyObject* params = a.object(0);
        if (a.flag(1))
          each_with_gradient(params,
                             [](PyObject*, const Tensor& param, const Tensor&) { set_grad(param, {}); });
        else
          zero_grads_(gradients_of(params));
        return Py_NewRef(Py_None);
      },
      Where::Function,
      "What zero_grad is: the gradients become None, or zeros in place and without a graph.");
}

}  // namespace chainrule::python
