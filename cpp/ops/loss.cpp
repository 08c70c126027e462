// Losses element by element: a value and its derivatives in input and target, then none, mean or sum.
#include "ops/loss.h"

#include <array>

#include "autograd/record.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

using neutral::fn::kInfinity;

// value(a, b) is made outside of any graph; gradients(g, a, b, need) = {g * dvalue/da, g * dvalue/db} is written in
// differentiable ops. g has the shape of the values, or none.
template <class Value, class Gradients>
Tensor pointwise(const char* op, const Tensor& a, const Tensor& b, const Tensor& weight,
                 LossReduction reduction, Value value, Gradients gradients) {
  CR_CHECK(a.is_floating() || b.is_floating(), op, ": input dtype must be floating point, got ",
           name_of(a.dtype()));
  broadcast_shapes(op, a.sizes(), b.sizes());
  Tensor y;
  int64_t n;
  {
    NoGrad no_grad;
    y = value(a, b);
    if (weight.defined()) y = y * weight;
    n = y.numel();
    if (reduction == LossReduction::Mean) y = mean(y);
    if (reduction == LossReduction::Sum) y = sum(y);
  }
  if (!recording(a, b)) return y;
  return record(op, y, {&a, &b},
                [a = saved(a), b = saved(b), w = weight.defined() ? saved(weight) : SavedTensor(), reduction,
                 n, gradients](const Tensor& grad, Needs need) -> std::array<Tensor, 2> {
                  const Tensor x = *a, t = *b;
                  Tensor g = reduction == LossReduction::Mean ? grad / static_cast<double>(n) : grad;
                  if (w.defined()) g = g * *w;
                  std::array<Tensor, 2> d = gradients(g, x, t, need);
                  const auto back = [](const Tensor& d, const Tensor& like) {
                    return to_dtype(sum_to(d, like.sizes()), like.dtype());
                  };
                  return {need[0] ? back(d[0], x) : Tensor(), need[1] ? back(d[1], t) : Tensor()};
                });
}

// From the derivatives da(a, b) and db(a, b).
template <class Da, class Db> auto times(Da da, Db db) {
  return [da, db](const Tensor& g, const Tensor& a, const Tensor& b, Needs need) -> std::array<Tensor, 2> {
    return {need[0] ? g * da(a, b) : Tensor(), need[1] ? g * db(a, b) : Tensor()};
  };
}

// A loss of a - b: value(d) may write into d, and slope(g, d) = g * dvalue/dd, too, where no graph is recorded.
template <class Value, class Slope>
Tensor of_difference(const char* op, const Tensor& a, const Tensor& b, LossReduction reduction, Value value,
                     Slope slope) {
  return pointwise(
      op, a, b, Tensor(), reduction, [value](const Tensor& a, const Tensor& b) { return value(a - b); },
      [slope](const Tensor& g, const Tensor& a, const Tensor& b, Needs need) -> std::array<Tensor, 2> {
        const Tensor d = slope(g, a - b);
        return {d, need[1] ? -d : Tensor()};
      });
}
// Over x, which nobody else has.
Tensor scaled(const Tensor& x, const Tensor& g) {
  return grad_enabled ? x * g : apply_in_place(Binary::mul, x, g);
}

void check_same_shape(const char* op, const Tensor& input, const Tensor& target) {
  CR_CHECK_VALUE(input.sizes() == target.sizes(), op, ": target size ", target.sizes(),
                 " must be the same as input size ", input.sizes());
}

// log(1 + e^-x): beyond 40 it is -x to the last bit.
Tensor softplus_of_negative(const Tensor& x) {
  return apply(Unary::softplus, -x, std::array{1.0, 40.0}.data());
}

// With weights the mean is over these, as PyTorch has it.
Tensor weighted(const char* op, const Tensor& errors, const Tensor& input, const Tensor& weight,
                LossReduction reduction) {
  CR_CHECK_VALUE(weight.sizes() == input.sizes(), op, ": weight of size ", weight.sizes(),
                 " must have the same size as the input, ", input.sizes());
  const Tensor y = errors * weight;
  if (reduction == LossReduction::None) return y;
  return reduction == LossReduction::Sum ? sum(y) : sum(y) / sum(weight);
}

}  // namespace

Tensor mse_loss(const Tensor& input, const Tensor& target, const Tensor& weight, LossReduction reduction) {
  if (weight.defined()) return weighted("mse_loss", square(input - target), input, weight, reduction);
  return of_difference(
      "mse_loss", input, target, reduction, [](const Tensor& d) { return apply_in_place(Unary::square, d); },
      [](const Tensor& g, const Tensor& d) { return scaled(d, 2 * g); });
}

Tensor l1_loss(const Tensor& input, const Tensor& target, const Tensor& weight, LossReduction reduction) {
  if (weight.defined()) return weighted("l1_loss", abs(input - target), input, weight, reduction);
  return of_difference(
      "l1_loss", input, target, reduction, [](const Tensor& d) { return apply_in_place(Unary::abs, d); },
      [](const Tensor& g, const Tensor& d) { return scaled(sign(d), g); });
}

// d^2 / (2 beta) for |d| < beta, |d| - beta / 2 beyond, with d = input - target
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, LossReduction reduction, double beta) {
  CR_CHECK(beta >= 0, "smooth_l1_loss: beta must be non-negative, got ", beta);
  if (beta == 0) return l1_loss(input, target, Tensor(), reduction);
  const std::array params{beta, 0.0};
  return of_difference(
      "smooth_l1_loss", input, target, reduction,
      [=](const Tensor& d) { return apply_in_place(Unary::smooth_l1, d, params.data()); },
      [=](const Tensor& g, const Tensor& d) { return derivative(Unary::smooth_l1, g, d, params.data()); });
}

// -(t log x + (1 - t) log(1 - x)), with logarithms not below -100
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight,
                            LossReduction reduction) {
  check_same_shape("binary_cross_entropy", input, target);
  {
    NoGrad no_grad;
    CR_CHECK(all_true((input >= 0) && (input <= 1)),
             "binary_cross_entropy: all elements of input should be between 0 and 1");
  }
  const auto log_of = [](const Tensor& x) { return clamp(log(x), -100, kInfinity); };
  const auto log_of_rest = [](const Tensor& x) { return clamp(log1p(-x), -100, kInfinity); };
  return pointwise(
      "binary_cross_entropy", input, target, weight, reduction,
      [=](const Tensor& x, const Tensor& t) { return (t - 1) * log_of_rest(x) - t * log_of(x); },
      times([](const Tensor& x, const Tensor& t) { return (x - t) / clamp((1 - x) * x, 1e-12, kInfinity); },
            [=](const Tensor& x, const Tensor&) { return log_of_rest(x) - log_of(x); }));
}

// (1 - t) x + l log(1 + e^-x), with l = 1 + (pos_weight - 1) t
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target, const Tensor& weight,
                                        LossReduction reduction, const Tensor& pos_weight) {
  check_same_shape("binary_cross_entropy_with_logits", input, target);
  const Tensor extra = pos_weight.defined() ? detach(pos_weight) - 1 : Tensor();
  const auto weighted_by = [extra](const Tensor& t, const Tensor& v) {
    return extra.defined() ? (1 + extra * t) * v : v;
  };
  return pointwise(
      "binary_cross_entropy_with_logits", input, target, weight, reduction,
      [=](const Tensor& x, const Tensor& t) { return (1 - t) * x + weighted_by(t, softplus_of_negative(x)); },
      times([=](const Tensor& x, const Tensor& t) { return (1 - t) - weighted_by(t, sigmoid(-x)); },
            [=](const Tensor& x, const Tensor&) {
              return extra.defined() ? extra * softplus_of_negative(x) - x : -x;
            }));
}

}  // namespace chainrule
