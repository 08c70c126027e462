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
// The gradient that waits for input i of the node that runs, taken from the engine: the node adds its own part, of the form
// of g, and returns the sum, in one pass instead of two. Undefined where nothing waits, where a graph is recorded or a hook
// would look at the node's part.
Tensor take_waiting(const Needs& need, int i, const Tensor& g);
// Where such a sum goes: into itself, where nobody else holds it.
Tensor room_for_sum(const Tensor& sum);
// Where the node that runs puts a derivative of the form of `like`: over the gradient g that it was given, where nobody
// will miss that, and not where a hook will look at it.
Tensor room_for(const Tensor& g, const Tensor& like);
// Whether the node that runs may cut the gradient g that it was given into parts, each of which then is its receiver's to
// write into: nobody else will see g.
bool may_part(const Tensor& g);
// Such a part, with a storage of its own in the memory of g's, which goes with the last of them. No two may overlap.
Tensor part_of(const Tensor& g, const Dims& sizes, const Dims& strides, int64_t offset);

}  // namespace chainrule
