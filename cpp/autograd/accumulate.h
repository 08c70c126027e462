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

// a + b, into the memory of one that nobody else can see.
Tensor accumulate(Tensor a, Tensor b);
bool is_sole_owner(const Tensor& t);
// May the node that runs write its own result over the gradient that it was given? Not where a hook will look at it.
bool may_overwrite(const Tensor& g);

}  // namespace chainrule
