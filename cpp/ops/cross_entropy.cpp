// Losses over classes: log_softmax, the choice of the target's class and the mean in one kernel.
#include "autograd/record.h"
#include "kernels/loss.h"
#include "ops/creation.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/loss.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/views.h"

namespace chainrule {
namespace {

struct ClassAttrs {
  int64_t n, classes, space, ignore_index;
  double smoothing;
  bool log_probabilities, mean, scalar_grad;
};
// x, target, weight -> loss, row_weight, lse, total, total_weight
void run_cross_entropy(const Launch& l) {
  const auto& a = l.attrs<ClassAttrs>();
  int64_t bad = -1;
  kernels::cross_entropy({l.in(0).dtype(), a.log_probabilities, a.mean, l.in(0).bytes(),
                          l.in(1).data<int64_t>(), l.in(2).defined() ? l.in(2).bytes() : nullptr,
                          l.out(0).bytes(), l.out(1).bytes(), l.out(2).bytes(), l.out(3).bytes(),
                          l.out(4).bytes(), a.n, a.classes, a.space, a.ignore_index, a.smoothing, &bad});
  CR_CHECK_INDEX(bad < 0, l.primitive.name, ": target ", l.in(1).data<int64_t>()[bad], " at position ", bad,
                 " is out of bounds for ", a.classes, " classes");
}
// grad, x, target, weight, lse, total_weight -> dx
void run_cross_entropy_grad(const Launch& l) {
  const auto& a = l.attrs<ClassAttrs>();
  kernels::cross_entropy_grad({l.in(1).dtype(), a.log_probabilities, a.scalar_grad, l.in(1).bytes(),
                               l.in(2).data<int64_t>(), l.in(3).defined() ? l.in(3).bytes() : nullptr,
                               l.in(4).bytes(), l.in(0).bytes(), a.mean ? l.in(5).bytes() : nullptr,
                               l.out(0).bytes(), a.n, a.classes, a.space, a.ignore_index, a.smoothing});
}
const Primitive kCrossEntropy{"cross_entropy", run_cross_entropy, sizeof(ClassAttrs)};
const Primitive kNll{"nll_loss", run_cross_entropy, sizeof(ClassAttrs)};
const Primitive kCrossEntropyGrad{"cross_entropy_grad", run_cross_entropy_grad, sizeof(ClassAttrs)};

Tensor raw(const Tensor& t) {
  NoGrad no_grad;
  return t.defined() ? contiguous(t) : t;
}

// loss = sum_c A_c (lse - x_c): the coefficients A [n, classes, space], constants.
Tensor coefficients(const ClassAttrs& a, const Tensor& target, const Tensor& weight, DType dtype) {
  NoGrad no_grad;
  const Tensor t = reshape(target, {a.n, 1, a.space});
  const Tensor classes = view(arange(0, a.classes, 1, DType::Int64), {1, a.classes, 1});
  Tensor c = to_dtype(t == classes, dtype) * (1 - a.smoothing);
  if (a.smoothing != 0) c = c + a.smoothing / static_cast<double>(a.classes);
  if (weight.defined()) c = c * reshape(weight, {1, a.classes, 1});
  return where(t == a.ignore_index, 0, c);
}

// dx_c = g (A_sum p_c - A_c), p the softmax; for nll_loss -g A_c.
Tensor recorded_dx(const Tensor& g, const Tensor& x, const Tensor& target, const Tensor& weight,
                   const Tensor& total_weight, const ClassAttrs& a) {
  const Dims three{a.n, a.classes, a.space};
  const Tensor c = coefficients(a, target, weight, x.dtype());
  Tensor rows = a.scalar_grad ? g : reshape(g, {a.n, 1, a.space});
  if (a.mean) rows = rows / total_weight;
  if (a.log_probabilities) return reshape(expand(-rows * c, three), x.sizes());
  const Tensor p = softmax(reshape(x, three), 1);
  return reshape(rows * (p * sum(c, {1}, true) - c), x.sizes());
}

Tensor over_classes(const char* op, const Tensor& input, const Tensor& target, const Tensor& weight,
                    int64_t ignore_index, LossReduction reduction, double smoothing, bool log_probabilities) {
  CR_CHECK(input.is_floating(), op, ": input dtype must be floating point, got ", name_of(input.dtype()));
  CR_CHECK(input.dim() > 0, op,
           ": expected input of shape (classes), (batch, classes) or (batch, classes, ...), got ",
           input.sizes());
  const int class_dim = input.dim() == 1 ? 0 : 1;
  const int64_t classes = input.size(class_dim);
  Dims expected = input.sizes();
  expected.erase(class_dim);
  CR_CHECK(target.dtype() == DType::Int64, op, ": expected target of class indices in int64, got ",
           name_of(target.dtype()));
  CR_CHECK_VALUE(target.sizes() == expected, op, ": input of shape ", input.sizes(), " and target of shape ",
                 target.sizes(), " do not match: the target must have shape ", expected);
  if (weight.defined()) {
    CR_CHECK(weight.sizes() == Dims{classes}, op, ": expected weight with one number for each of ", classes,
             " classes, got shape ", weight.sizes());
    CR_CHECK(weight.dtype() == input.dtype(), op, ": weight has dtype ", name_of(weight.dtype()),
             " and input ", name_of(input.dtype()), "; both must be the same");
  }
  int64_t space = 1;
  for (int d = 2; d < input.dim(); ++d) space *= input.size(d);
  const ClassAttrs attrs{input.dim() == 1 ? 1 : input.size(0),
                         classes,
                         space,
                         ignore_index,
                         smoothing,
                         log_probabilities,
                         reduction == LossReduction::Mean,
                         reduction != LossReduction::None};
  const Tensor x = raw(input), t = raw(target), w = raw(weight);
  const DType dtype = input.dtype();
  const Tensor loss = empty(expected, dtype), row_weight = empty(expected, dtype),
               lse = empty(expected, dtype);
  const Tensor total = empty({}, dtype), total_weight = empty({}, dtype);
  launch(log_probabilities ? kNll : kCrossEntropy, {&loss, &row_weight, &lse, &total, &total_weight},
         {&x, &t, &w}, attrs);
  Tensor y = reduction == LossReduction::None ? loss : total;
  if (!recording(input)) return y;
  return record("nll_loss", y, {&input},
                [attrs, lse, total_weight, x = saved(input), t = saved(target),
                 w = weight.defined() ? saved(weight) : SavedTensor()](const Tensor& g) {
                  const Tensor v = *x, target = *t, weight = w.defined() ? *w : Tensor();
                  if (recording(g, v)) return recorded_dx(g, v, target, weight, total_weight, attrs);
                  const Tensor dx = empty(v.sizes(), v.dtype()), gc = raw(g), xc = raw(v), tc = raw(target),
                               wc = raw(weight);
                  launch(kCrossEntropyGrad, {&dx}, {&gc, &xc, &tc, &wc, &lse, &total_weight}, attrs);
                  return dx;
                });
}

// loss = -sum_c w_c t_c log softmax(x)_c, averaged over everything but the classes.
Tensor with_probabilities(const Tensor& input, const Tensor& target, const Tensor& weight,
                          LossReduction reduction, double smoothing) {
  const int class_dim = input.dim() == 1 ? 0 : 1;
  const int64_t classes = input.size(class_dim);
  Tensor t = target;
  if (smoothing != 0) t = t * (1 - smoothing) + smoothing / static_cast<double>(classes);
  if (weight.defined()) {
    CR_CHECK(weight.sizes() == Dims{classes}, "cross_entropy: expected weight with one number for each of ",
             classes, " classes, got shape ", weight.sizes());
    Dims sizes = Dims::filled(input.dim(), 1);
    sizes[class_dim] = classes;
    t = t * reshape(weight, sizes);
  }
  const Tensor loss = -sum(log_softmax(input, class_dim) * t, {class_dim});
  if (reduction == LossReduction::None) return loss;
  const Tensor total = sum(loss);
  return reduction == LossReduction::Sum ? total : total / static_cast<double>(loss.numel());
}

}  // namespace

Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                     LossReduction reduction, double label_smoothing) {
  CR_CHECK(label_smoothing >= 0 && label_smoothing <= 1,
           "cross_entropy: label_smoothing must be between 0.0 and 1.0, got ", label_smoothing);
  if (target.is_floating() && target.sizes() == input.sizes() && input.dim() > 0)
    return with_probabilities(input, target, weight, reduction, label_smoothing);
  return over_classes("cross_entropy", input, target, weight, ignore_index, reduction, label_smoothing,
                      false);
}

Tensor nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight, int64_t ignore_index,
                LossReduction reduction) {
  return over_classes("nll_loss", input, target, weight, ignore_index, reduction, 0, true);
}

}  // namespace chainrule
