// The scalar engine: numbers that remember how they were computed. A node holds a number, its gradient and
// the nodes that it came from; whoever owns nodes keeps the inputs of a node alive for as long as the node.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace chainrule::scalar {

// Leaf: no rule. Custom: inputs and rule are the owner's. Power: to a constant exponent; PowerBy: to a node.
enum class Op : uint8_t {
  Leaf,
  Custom,
  Add,
  Mul,
  Power,
  PowerBy,
  Exp,
  Log,
  Tanh,
  Relu,
  Sigmoid,
  Sin,
  Cos,
  Sqrt
};

struct Node;

// The part of a node that the engine does not know by itself: any number of inputs, a name, a rule of the
// owner's (empty: the gradient stops here).
struct Custom {
  std::vector<Node*> inputs;
  std::string name;
  std::function<void()> pull;
};

struct Node {
  double data = 0;
  double grad = 0;
  Node* a = nullptr;
  union {
    Node* b = nullptr;
    double exponent;  // of Op::Power
    Custom* custom;   // of Op::Custom
  };
  uint32_t mark = 0;  // the last walk over the graph that has been here
  Op op = Op::Leaf;
  uint8_t flags = 0;  // the owner's
};
static_assert(sizeof(Node) == 40);  // small graphs stay in the cache

// The value of an operation, and what it adds to the gradients of its inputs. Each operation is a row of the
// elementwise table (cpp/ops), instantiated on double.
double apply(Op op, double a, double b = 0);
void pull(Node& node);

// Calls f(input) for the inputs of a node in order; an input may come twice.
template <class F> void each_input(const Node& n, F&& f) {
  if (n.op == Op::Custom) {
    for (Node* input : n.custom->inputs) f(input);
  } else if (n.a != nullptr) {
    f(n.a);
    if (n.op != Op::Power && n.b != nullptr) f(n.b);
  }
}

// Calls f(nodes) with those that root was computed from, and root: every node after its inputs.
void in_order(Node& root, const std::function<void(const std::vector<Node*>&)>& f);

// Sets root's gradient to 1 and adds to the gradient of every node that it was computed from.
void backward(Node& root);

}  // namespace chainrule::scalar
