#include "autograd/engine.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "autograd/accumulate.h"
#include "autograd/meta.h"
#include "autograd/mode.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// Nodes that wait for gradients, the latest made first. Every node was made after those that it uses, so when one is
// popped all that could still add to its gradient have run: the order of creation is a topological order.
class Pending {
 public:
  struct Item {
    Ref<Node> node;
    Grads grads;
    uint64_t arrival;
  };

  Pending() {  // most graphs never hold more at once
    items_.reserve(kFew), heap_.reserve(kFew), free_.reserve(kFew);
  }
  bool empty() const { return heap_.empty(); }
  auto after() const {
    return [this](int a, int b) {
      const uint64_t x = items_[a].node->sequence, y = items_[b].node->sequence;
      return x != y ? x < y : items_[a].arrival > items_[b].arrival;
    };
  }

  void add(const Edge& edge, Tensor grad) {
    Node* node = edge.node.get();
    int at = find(node);
    if (at < 0) {
      if (free_.empty()) {
        at = static_cast<int>(items_.size());
        items_.emplace_back();
      } else {
        at = free_.back();
        free_.pop_back();
      }
      items_[at] = {edge.node, Grads(node->outputs), arrivals_++};
      heap_.push_back(at);
      std::push_heap(heap_.begin(), heap_.end(), after());
      if (indexed_) index_[node] = at;
    }
    Tensor& slot = items_[at].grads[static_cast<int>(edge.output)];
    slot = slot.defined() ? accumulate(std::move(slot), grad) : std::move(grad);
  }

  Item pop() {
    std::pop_heap(heap_.begin(), heap_.end(), after());
    const int at = heap_.back();
    heap_.pop_back();
    Item item = std::move(items_[at]);
    free_.push_back(at);
    if (indexed_) index_.erase(item.node.get());
    return item;
  }

 private:
  static constexpr size_t kFew = 8;
  static constexpr size_t kLinear = 12;  // up to here looking through the few that wait beats a hash

  int find(Node* node) {
    if (indexed_) {
      auto it = index_.find(node);
      return it == index_.end() ? -1 : it->second;
    }
    for (int at : heap_)
      if (items_[at].node.get() == node) return at;
    if (heap_.size() > kLinear) {
      for (int at : heap_) index_[items_[at].node.get()] = at;
      indexed_ = true;
    }
    return -1;
  }

  std::vector<Item> items_;
  std::vector<int> heap_, free_;
  std::unordered_map<Node*, int> index_;
  bool indexed_ = false;
  uint64_t arrivals_ = 0;
};

// The nodes on a path from the roots to a wanted one.
class Wanted {
 public:
  Wanted(const std::vector<Edge>& roots, const std::vector<Edge>& targets) {
    for (const Edge& t : targets)
      if (t) state_[t.node.get()] = true;
    std::vector<std::pair<Node*, int>> stack;
    std::unordered_map<Node*, bool> seen;
    auto visit = [&](Node* n) {
      if (seen.emplace(n, true).second) stack.emplace_back(n, 0);
    };
    for (const Edge& r : roots) {
      if (r) visit(r.node.get());
      while (!stack.empty()) {
        auto& [node, next] = stack.back();
        if (next < node->edges.size()) {
          const Edge& e = node->edges[next++];
          if (e) visit(e.node.get());
          continue;
        }
        bool& mine = state_[node];
        for (const Edge& e : node->edges) {
          if (!e) continue;
          auto it = state_.find(e.node.get());
          if (it != state_.end() && it->second) mine = true;
        }
        if (mine)
          continues_[node] = std::any_of(node->edges.begin(), node->edges.end(),
                                         [&](const Edge& e) { return e && state_[e.node.get()]; });
        stack.pop_back();
      }
    }
  }
  bool contains(Node* n) const {
    auto it = state_.find(n);
    return it != state_.end() && it->second;
  }
  bool goes_on(Node* n) const {
    auto it = continues_.find(n);
    return it != continues_.end() && it->second;
  }

 private:
  std::unordered_map<Node*, bool> state_, continues_;
};

void check_nan(Node* node, const Grads& grads) {
  for (int i = 0; i < grads.size(); ++i) {
    if (!grads[i].defined() || !has_nan(grads[i])) continue;
    const std::string where = node->extras ? node->extras->traceback : std::string();
    throw Error(text("Function '", node->display_name(), "' returned nan values in its ", i,
                     "th output. The operation that it differentiates was called here:\n",
                     where.empty() ? "(made outside of anomaly mode)" : where));
  }
}

void run_hooks_before(Node* node, Grads& grads) {
  if (!node->extras) return;
  auto& extras = *node->extras;
  for (size_t i = 0; i < extras.output_hooks.size(); ++i)
    if (Tensor& g = grads[static_cast<int>(i)]; g.defined()) extras.output_hooks[i].run(g);
  if (!extras.before.empty()) {
    Grads none;
    const auto hooks = extras.before;
    for (const auto& [id, hook] : hooks) hook->call(none, grads, true);
  }
  for (const auto& [output, tensor] : extras.retained) {
    const Tensor& g = grads[static_cast<int>(output)];
    if (!g.defined()) continue;
    Tensor t{tensor};
    Tensor& grad = meta_of(t).grad;
    grad = grad.defined() ? accumulate(grad, g) : clone(g);  // the user's own, to write into
  }
}

// While a node runs it is the thread's current one, and keeps what it has saved.
struct Running : CurrentNode {
  Node* node;
  explicit Running(Node* n) : CurrentNode(n), node(n) { ++node->running; }
  ~Running() { --node->running; }
};

// Runs one node; its gradients to the inputs are returned.
Grads run_node(Node* node, Grads& grads) {
  Grads out(node->edges.size());
  bool any = false;
  for (const Tensor& g : grads) any = any || g.defined();
  if (!any) return out;
  const Running running(node);
  node->backward(grads, out);
  if (node->extras && !node->extras->after.empty()) {
    const auto hooks = node->extras->after;
    for (const auto& [id, hook] : hooks) hook->call(out, grads, false);
  }
  if (anomaly_mode.enabled && anomaly_mode.check_nan) [[unlikely]]
    check_nan(node, out);
  return out;
}

void free_when_idle(Node* node, bool wanted) {
  node->free_later = node->free_later || wanted;
  if (!node->free_later || node->running > 0) return;
  node->free_later = false;
  node->free_saved();
}

void check_root(const Tensor& root, const Tensor& grad) {
  CR_CHECK(root.requires_grad(), "element 0 of tensors does not require grad and does not have a grad_fn");
  if (!grad.defined()) {
    CR_CHECK(root.numel() == 1, "grad can be implicitly created only for scalar outputs, got shape ",
             root.sizes());
    return;
  }
  CR_CHECK(grad.sizes() == root.sizes(), "Mismatch in shape: a gradient of shape ", grad.sizes(),
           " was given for an output of shape ", root.sizes(), "; they must be equal");
  CR_CHECK(grad.is_floating(), "a gradient must be of floating dtype, got ", name_of(grad.dtype()));
}

}  // namespace

TensorList run_backward(const TensorList& roots, const TensorList& grads, const TensorList& inputs,
                        const BackwardOptions& options) {
  for (size_t i = 0; i < roots.size(); ++i) check_root(roots[i], grads[i]);
  std::vector<Edge> root_edges, targets;
  for (const Tensor& r : roots) root_edges.push_back(edge_of(r));
  for (const Tensor& t : inputs) {
    CR_CHECK(t.requires_grad(), "One of the differentiated Tensors does not require grad");
    targets.push_back(edge_of(t));
  }
  TensorList captured(inputs.size());
  std::optional<Wanted> wanted;
  if (!inputs.empty()) wanted.emplace(root_edges, targets);

  GradModeGuard mode(options.create_graph);
  Pending pending;
  for (size_t i = 0; i < roots.size(); ++i) {
    if (wanted && !wanted->contains(root_edges[i].node.get())) continue;
    Tensor g = grads[i];
    if (!g.defined()) {
      g = ones_like(roots[i]);
    } else if (g.dtype() != roots[i].dtype()) {
      g = to_dtype(g, roots[i].dtype());
    }
    pending.add(root_edges[i], std::move(g));
  }
  while (!pending.empty()) {
    Pending::Item item = pending.pop();
    Node* node = item.node.get();
    run_hooks_before(node, item.grads);
    if (wanted) {
      bool captured_leaf = false;
      for (size_t i = 0; i < targets.size(); ++i) {
        if (targets[i].node.get() != node) continue;
        Tensor g = item.grads[static_cast<int>(targets[i].output)];
        const Tensor leaf = node->leaf();
        if (leaf.defined() && !options.accumulate && leaf.impl()->autograd && g.defined())
          leaf.impl()->autograd->hooks.run(g);
        captured[i] = g;
        captured_leaf = leaf.defined();
      }
      if (captured_leaf && options.accumulate) {
        Grads none;
        node->backward(item.grads, none);
      }
      if (!wanted->goes_on(node)) continue;
    }
    Grads out = run_node(node, item.grads);
    free_when_idle(node, !options.retain_graph);
    item.grads = Grads();
    for (int i = 0; i < out.size(); ++i) {
      const Edge& e = node->edges[i];
      if (!e || !out[i].defined()) continue;
      if (wanted && !wanted->contains(e.node.get())) continue;
      pending.add(e, std::move(out[i]));
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    CR_CHECK(
        captured[i].defined() || options.allow_unused || options.accumulate,
        "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if "
        "this is the desired behavior.");
    if (options.accumulate && captured[i].defined() && !is_leaf(inputs[i])) {
      Tensor& grad = meta_of(inputs[i]).grad;
      grad = grad.defined() ? accumulate(grad, captured[i]) : captured[i];
    }
  }
  return captured;
}

}  // namespace chainrule
