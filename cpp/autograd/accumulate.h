// The end of every path through the graph: adds what arrives to a leaf's .grad.
#pragma once
#include "autograd/node.h"

namespace chainrule {

struct AccumulateGrad final : Node {
  explicit AccumulateGrad(const Tensor& variable);
  ~AccumulateGrad() override;
  void backward(Grads& grad_outputs, Grads& grad_inputs) override;
  std::string display_name() const override { return "AccumulateGrad"; }
  Tensor leaf() const override { return variable_; }

 private:
  Tensor variable_;
};

// a + b, into a's memory when nobody else can see it.
Tensor accumulate(Tensor a, const Tensor& b);
bool is_sole_owner(const Tensor& t);

}  // namespace chainrule
