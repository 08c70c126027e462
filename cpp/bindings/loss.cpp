// Losses. size_average and reduce are PyTorch's older way to say reduction.
#include "ops/loss.h"

#include "bindings/topics.h"

namespace chainrule::python {
namespace {

LossReduction reduction_of(const Args& a, int reduction, int size_average, int reduce) {
  if (a.has(size_average) || a.has(reduce)) {
    if (PyErr_WarnEx(
            PyExc_UserWarning,
            "size_average and reduce args will be deprecated, please use reduction='mean', 'sum' or 'none' "
            "instead.",
            1) < 0)
      throw PythonError();
    if (a.has(reduce) && !a.flag(reduce)) return LossReduction::None;
    return a.has(size_average) && !a.flag(size_average) ? LossReduction::Sum : LossReduction::Mean;
  }
  const std::string name = a.string(reduction);
  if (name == "mean") return LossReduction::Mean;
  if (name == "sum") return LossReduction::Sum;
  CR_CHECK_VALUE(name == "none", a.signature.name, ": ", name,
                 " is not a valid value for reduction; it is one of ", "'none', 'mean' and 'sum'");
  return LossReduction::None;
}

}  // namespace

void bind_loss(Bind& nn) {
  nn.op(
      "cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, "
      "int ignore_index=-100, bool? reduce=None, str reduction='mean', float label_smoothing=0.0) -> Tensor",
      [](Args& a) {
        return wrap(cross_entropy(a.tensor(0), a.tensor(1), a.tensor(2), a.integer(4),
                                  reduction_of(a, 6, 3, 5), a.number(7)));
      },
      Where::Function,
      "-log softmax(input)[target] over the classes (dimension 1); target holds class indices, or probabilities.");
  nn.op(
      "nll_loss(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, int ignore_index=-100, "
      "bool? reduce=None, str reduction='mean') -> Tensor",
      [](Args& a) {
        return wrap(nll_loss(a.tensor(0), a.tensor(1), a.tensor(2), a.integer(4), reduction_of(a, 6, 3, 5)));
      },
      Where::Function, "-input[target], for input of log probabilities.");
  nn.op(
      "mse_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', "
      "Tensor? weight=None) -> Tensor",
      [](Args& a) { return wrap(mse_loss(a.tensor(0), a.tensor(1), a.tensor(5), reduction_of(a, 4, 2, 3))); },
      Where::Function, "(input - target)^2.");
  nn.op(
      "l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', "
      "Tensor? weight=None) -> Tensor",
      [](Args& a) { return wrap(l1_loss(a.tensor(0), a.tensor(1), a.tensor(5), reduction_of(a, 4, 2, 3))); },
      Where::Function, "|input - target|.");
  nn.op(
      "smooth_l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, "
      "str reduction='mean', float beta=1.0) -> Tensor",
      [](Args& a) {
        return wrap(smooth_l1_loss(a.tensor(0), a.tensor(1), reduction_of(a, 4, 2, 3), a.number(5)));
      },
      Where::Function, "d^2 / (2 beta) for d = |input - target| < beta, d - beta / 2 beyond.");
  nn.op(
      "binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, "
      "bool? reduce=None, str reduction='mean') -> Tensor",
      [](Args& a) {
        return wrap(binary_cross_entropy(a.tensor(0), a.tensor(1), a.tensor(2), reduction_of(a, 5, 3, 4)));
      },
      Where::Function, "-(t log x + (1 - t) log(1 - x)), for input x of probabilities.");
  nn.op(
      "binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, "
      "bool? reduce=None, str reduction='mean', Tensor? pos_weight=None) -> Tensor",
      [](Args& a) {
        return wrap(binary_cross_entropy_with_logits(a.tensor(0), a.tensor(1), a.tensor(2),
                                                     reduction_of(a, 5, 3, 4), a.tensor(6)));
      },
      Where::Function,
      "binary_cross_entropy of sigmoid(input), without overflow; pos_weight times the positive part.");
}

}  // namespace chainrule::python
