#include "scalar/value.h"

#include <algorithm>
#include <memory>

#include "ops/elementwise_fn.h"

namespace chainrule::scalar {
namespace {

namespace rules = CR_ISA::fn;

// Walks are numbered; the interpreter's lock lets one run at a time. After 2^32 walks a stale mark could
// equal a new number only if its node has not been walked in all that time.
uint32_t walk = 0;

}  // namespace

double apply(Op op, double a, double b) {
  switch (op) {
    case Op::Add: return rules::add_fn::value(a, b);
    case Op::Mul: return rules::mul_fn::value(a, b);
    case Op::Power:
    case Op::PowerBy: return rules::pow_fn::value(a, b);
    case Op::Exp: return rules::exp_fn::value(a, nullptr);
    case Op::Log: return rules::log_fn::value(a, nullptr);
    case Op::Tanh: return rules::tanh_fn::value(a, nullptr);
    case Op::Relu: return rules::relu_fn::value(a, nullptr);
    case Op::Sigmoid: return rules::sigmoid_fn::value(a, nullptr);
    case Op::Sin: return rules::sin_fn::value(a, nullptr);
    case Op::Cos: return rules::cos_fn::value(a, nullptr);
    case Op::Sqrt: return rules::sqrt_fn::value(a, nullptr);
    case Op::Leaf:
    case Op::Custom: break;
  }
  return a;
}

void pull(Node& n) {
  const double g = n.grad, y = n.data;
  auto unary = [&]<class Rule>() { n.a->grad += Rule::dx(g, n.a->data, y, nullptr); };
  auto binary = [&]<class Rule>() {
    const double a = n.a->data, b = n.b->data;
    n.a->grad += Rule::da(g, a, b, y);
    n.b->grad += Rule::db(g, a, b, y);
  };
  switch (n.op) {
    case Op::Leaf: return;
    case Op::Custom:
      if (n.custom->pull) n.custom->pull();
      return;
    case Op::Add: return binary.operator()<rules::add_fn>();
    case Op::Mul: return binary.operator()<rules::mul_fn>();
    case Op::PowerBy: return binary.operator()<rules::pow_fn>();
    case Op::Power: n.a->grad += rules::pow_fn::da(g, n.a->data, n.exponent, y); return;
    case Op::Exp: return unary.operator()<rules::exp_fn>();
    case Op::Log: return unary.operator()<rules::log_fn>();
    case Op::Tanh: return unary.operator()<rules::tanh_fn>();
    case Op::Relu: return unary.operator()<rules::relu_fn>();
    case Op::Sigmoid: return unary.operator()<rules::sigmoid_fn>();
    case Op::Sin: return unary.operator()<rules::sin_fn>();
    case Op::Cos: return unary.operator()<rules::cos_fn>();
    case Op::Sqrt: return unary.operator()<rules::sqrt_fn>();
  }
}

namespace {

// Depth first and iterative, whatever the depth. A node is entered when it is first seen and left when all its inputs
// have been left; the stack holds the nodes that were entered and, above each, the inputs still to see.
class Walk {
 public:
  std::vector<Node*> order;

  size_t room() const { return std::max(order.capacity(), stack_.capacity()); }
  void from(Node& root) {
    const uint32_t now = ++walk;
    stack_.push_back(entered(&root));
    while (!stack_.empty()) {
      const uintptr_t top = stack_.back();
      Node* node = reinterpret_cast<Node*>(top & ~kSeen);
      if ((top & kSeen) != 0) {
        stack_.pop_back();
        order.push_back(node);
        continue;
      }
      if (node->mark == now) {
        stack_.pop_back();
        continue;
      }
      node->mark = now;
      stack_.back() |= kSeen;
      each_input(*node, [&](Node* input) {
        if (input->mark == now) return;
        if (input->op == Op::Leaf) {  // has no inputs to wait for
          input->mark = now;
          order.push_back(input);
        } else {
          stack_.push_back(entered(input));
        }
      });
    }
  }

 private:
  static constexpr uintptr_t kSeen = 1;  // in a pointer's lowest bit
  static uintptr_t entered(Node* n) { return reinterpret_cast<uintptr_t>(n); }

  std::vector<uintptr_t> stack_;
};

// The memory of the last walk, for the next one: a step of training walks tens of thousands of nodes. One at a time
// takes it; a rule of the owner's may start a walk within another.
constexpr size_t kKeptNodes = 1 << 18;  // 2 MB each of two lists
std::unique_ptr<Walk>& spare_walk = *new std::unique_ptr<Walk>;

}  // namespace

void in_order(Node& root, const std::function<void(const std::vector<Node*>&)>& f) {
  std::unique_ptr<Walk> w = std::move(spare_walk);
  if (w == nullptr) w = std::make_unique<Walk>();
  w->order.clear();
  w->from(root);
  f(w->order);
  if (w->room() <= kKeptNodes) spare_walk = std::move(w);
}

void backward(Node& root) {
  in_order(root, [&](const std::vector<Node*>& order) {
    root.grad = 1;
    for (auto it = order.rbegin(); it != order.rend(); ++it) pull(**it);
  });
}

}  // namespace chainrule::scalar
