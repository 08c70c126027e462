// Optimizer steps and gradient clipping: chainrule._core._optim.
#include "ops/optim.h"

#include "bindings/topics.h"

namespace chainrule::python {

void bind_optim(Bind& bind) {
  bind.op(
      "sgd_(Tensor[] params, Tensor[] grads, Tensor[] momentum_buffers, *, float lr, float momentum, "
      "float dampening, float weight_decay, bool nesterov, bool maximize, int[] first) -> None",
      [](Args& a) {
        sgd_(a.tensors(0), a.tensors(1), a.tensors(2), a.integers(9),
             {a.number(3), a.number(4), a.number(5), a.number(6), a.flag(7), a.flag(8)});
        return Py_NewRef(Py_None);
      },
      Where::Function,
      "One step of stochastic gradient descent; first: which buffers take the gradient as it is.");
  bind.op(
      "adam_(Tensor[] params, Tensor[] grads, Tensor[] exp_avgs, Tensor[] exp_avg_sqs, Tensor[] max_exp_avg_sqs, "
      "*, int[] step, float lr, float beta1, float beta2, float eps, float weight_decay, bool amsgrad, "
      "bool maximize, bool decoupled) -> None",
      [](Args& a) {
        adam_(a.tensors(0), a.tensors(1), a.tensors(2), a.tensors(3), a.tensors(4), a.integers(5),
              {a.number(6), a.number(7), a.number(8), a.number(9), a.number(10), a.flag(11), a.flag(12),
               a.flag(13)});
        return Py_NewRef(Py_None);
      },
      Where::Function,
      "One step of Adam, or with decoupled weight decay of AdamW; step: counts, this one included.");
  bind.op(
      "clip_grad_norm_(Tensor[] grads, float max_norm, float norm_type, bool error_if_nonfinite) -> Tensor",
      [](Args& a) { return wrap(clip_grad_norm_(a.tensors(0), a.number(1), a.number(2), a.flag(3))); },
      Where::Function,
      "Scales gradients down to a common norm of at most max_norm; returns the norm before.");
  bind.op(
      "clip_grad_value_(Tensor[] grads, float clip_value) -> None",
      [](Args& a) {
        clip_grad_value_(a.tensors(0), a.number(1));
        return Py_NewRef(Py_None);
      },
      Where::Function, "Clamps gradients to [-clip_value, clip_value].");
  bind.op(
      "zero_grads_(Tensor[] grads) -> None",
      [](Args& a) {
        zero_grads_(a.tensors(0));
        return Py_NewRef(Py_None);
      },
      Where::Function, "Fills gradients with zeros.");
}

}  // namespace chainrule::python
