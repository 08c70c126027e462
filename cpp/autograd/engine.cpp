#include "autograd/engine.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "autograd/accumulate.h"
#include "autograd/meta.h"
#include "autograd/mode.h"
#include "core/pool.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule {
namespace {

using Edges = Small<Edge, 3>;

// Nodes that wait for gradients, the latest made first. Every node was made after those that it uses, so when one is
// popped all that could still add to its gradient have run: the order of creation is a topological order.
class Pending {
 public:
  Pending() {  // most graphs never hold more at once
    slots_.reserve(kFew), heap_.reserve(kFew), free_.reserve(kFew);
  }
  bool empty() const { return heap_.empty(); }

  void add(const Edge& edge, Tensor&& grad) {
    Node* node = edge.node.get();
    int at = find(node);
    if (at < 0) {
      at = free_slot();
      slots_[at].node = edge.node;
      slots_[at].grads.resize(node->outputs);
      heap_.push_back({node->sequence, arrivals_++, node, at});
      std::push_heap(heap_.begin(), heap_.end());
      if (indexed_) index_[node] = at;
    }
    Tensor& sum = slots_[at].grads[static_cast<int>(edge.output)];
    if (sum.defined())
      sum = accumulate(std::move(sum), std::move(grad));
    else
      sum = std::move(grad);
  }

  // What has arrived at the end of an edge, if it has the form of g; nothing is left there.
  Tensor take(const Edge& edge, const Tensor& g) {
    const int at = find(edge.node.get());
    if (at < 0) return {};
    Tensor& sum = slots_[at].grads[static_cast<int>(edge.output)];
    if (!sum.defined() || sum.dtype() != g.dtype() || !(sum.sizes() == g.sizes())) return {};
    return std::exchange(sum, Tensor());
  }

  // The next node, and where its gradients are: until the next call of add, and to be handed back by then.
  Ref<Node> pop(int* slot) {
    std::pop_heap(heap_.begin(), heap_.end());
    *slot = heap_.back().slot;
    heap_.pop_back();
    Ref<Node> node = std::move(slots_[*slot].node);
    if (indexed_) index_.erase(node.get());
    return node;
  }
  Grads& grads(int slot) { return slots_[slot].grads; }
  void hand_back(int slot) {
    slots_[slot].grads.clear();
    free_.push_back(slot);
  }

 private:
  struct Slot {
    Ref<Node> node;
    Grads grads;
  };
  struct Entry {
    uint64_t sequence, arrival;
    Node* node;
    int slot;
    bool operator<(const Entry& o) const {
      return sequence != o.sequence ? sequence < o.sequence : arrival > o.arrival;
    }
  };
  template <class T> using List = std::vector<T, PoolAllocator<T>>;
  static constexpr size_t kFew = 8;
  static constexpr size_t kLinear = 12;  // up to here looking through the few that wait beats a hash

  int free_slot() {
    if (free_.empty()) {
      slots_.emplace_back();
      return static_cast<int>(slots_.size()) - 1;
    }
    const int at = free_.back();
    free_.pop_back();
    return at;
  }
  int find(Node* node) {
    if (indexed_) {
      auto it = index_.find(node);
      return it == index_.end() ? -1 : it->second;
    }
    for (const Entry& e : heap_)
      if (e.node == node) return e.slot;
    if (heap_.size() > kLinear) {
      for (const Entry& e : heap_) index_[e.node] = e.slot;
      indexed_ = true;
    }
    return -1;
  }

  List<Slot> slots_;
  List<Entry> heap_;
  List<int> free_;
  std::unordered_map<Node*, int> index_;
  bool indexed_ = false;
  uint64_t arrivals_ = 0;
};

// Those of the backward pass that this thread is in.
CR_THREAD_LOCAL Pending* current_pending = nullptr;
struct CurrentPending : Pending {
  Pending* const outer = std::exchange(current_pending, this);
  ~CurrentPending() { current_pending = outer; }
};

// The nodes on a path from the roots to a wanted one.
class Wanted {
 public:
  Wanted(const Edges& roots, const Edges& targets) {
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

// Runs one node; `out` takes its gradients to the inputs.
void run_node(Node* node, Grads& grads, Grads& out) {
  out.resize(node->edges.size());
  bool any = false;
  for (const Tensor& g : grads) any = any || g.defined();
  if (!any) return;
  const Running running(node);
  node->backward(grads, out);
  if (node->extras && !node->extras->after.empty()) {
    const auto hooks = node->extras->after;
    for (const auto& [id, hook] : hooks) hook->call(out, grads, false);
  }
  if (anomaly_mode.enabled && anomaly_mode.check_nan) [[unlikely]]
    check_nan(node, out);
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

Tensor take_waiting(const Needs& need, int i, const Tensor& g) {
  const Node& node = need.node();
  if (grad_enabled || &node != current_node || node.extras || current_pending == nullptr) return {};
  return current_pending->take(node.edges[i], g);
}

TensorList run_backward(Tensors roots, Tensors grads, Tensors inputs, const BackwardOptions& options) {
  Edges root_edges, targets;
  for (size_t i = 0; i < roots.size(); ++i) check_root(roots[i], grads[i]);
  for (const Tensor& r : roots) root_edges.push_back(edge_of(r));
  for (const Tensor& t : inputs) {
    CR_CHECK(t.requires_grad(), "One of the differentiated Tensors does not require grad");
    targets.push_back(edge_of(t));
  }
  TensorList captured(inputs.size());
  std::optional<Wanted> wanted;
  if (!inputs.empty()) wanted.emplace(root_edges, targets);

  GradModeGuard mode(options.create_graph);
  CurrentPending pending;
  for (size_t i = 0; i < roots.size(); ++i) {
    const Edge& edge = root_edges[static_cast<int>(i)];
    if (wanted && !wanted->contains(edge.node.get())) continue;
    Tensor g = grads[i];
    if (!g.defined()) {
      g = ones_like(roots[i]);
    } else if (g.dtype() != roots[i].dtype()) {
      g = to_dtype(g, roots[i].dtype());
    }
    pending.add(edge, std::move(g));
  }
  Grads out;
  while (!pending.empty()) {
    int slot;
    const Ref<Node> node = pending.pop(&slot);
    Grads& arrived = pending.grads(slot);
    run_hooks_before(node.get(), arrived);
    bool goes_on = true;
    if (wanted) {
      bool captured_leaf = false;
      for (size_t i = 0; i < captured.size(); ++i) {
        const Edge& target = targets[static_cast<int>(i)];
        if (!(target.node == node)) continue;
        Tensor g = arrived[static_cast<int>(target.output)];
        const Tensor leaf = node->leaf();
        if (leaf.defined() && !options.accumulate && leaf.impl()->autograd && g.defined())
          leaf.impl()->autograd->hooks.run(g);
        captured[i] = g;
        captured_leaf = leaf.defined();
      }
      if (captured_leaf && options.accumulate) {
        Grads none;
        node->backward(arrived, none);
      }
      goes_on = wanted->goes_on(node.get());
    }
    if (goes_on) {
      run_node(node.get(), arrived, out);
      free_when_idle(node.get(), !options.retain_graph);
    }
    pending.hand_back(slot);
    for (int i = 0; i < out.size(); ++i) {
      const Edge& e = node->edges[i];
      if (!e || !out[i].defined()) continue;
      if (wanted && !wanted->contains(e.node.get())) continue;
      pending.add(e, std::move(out[i]));
    }
    out.clear();
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
