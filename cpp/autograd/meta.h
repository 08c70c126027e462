// What a tensor has only when it takes part in a graph.
#pragma once
#include <optional>

#include "autograd/node.h"

namespace chainrule {

// A view knows its base (never itself a view), so that a write through either is seen by the other's gradient.
struct ViewMeta {
  Tensor base;
  uint32_t version;  // of the storage when grad_fn was right
};

struct AutogradMeta {
  bool requires_grad = false;
  bool retains_grad = false;
  uint32_t output = 0;  // which result of grad_fn this is
  Ref<Node> grad_fn;    // null for leaves
  Tensor grad;
  Node* accumulator = nullptr;  // the leaf's AccumulateGrad node while a graph refers to it; not owned
  std::optional<ViewMeta> view;
  HookList hooks;  // of a leaf; those of results stand on their node
  HookList after_accumulate;
  static void* operator new(size_t bytes);
  static void operator delete(void* p, size_t bytes);
};

void destroy_meta(TensorImpl* t);
AutogradMeta& meta_of(const Tensor& t);  // makes it
bool view_requires_grad(const Tensor& view);

// The operation that made t, or null for a leaf. A view whose storage was written since is reconnected to its base.
Ref<Node> grad_fn_of(const Tensor& t);
// The name under which PyTorch has the operation that made t; nothing where it was not recorded.
void rename_node(const Tensor& t, const char* name);
inline bool is_leaf(const Tensor& t) { return !t.requires_grad() || !grad_fn_of(t); }
// Where t's gradient goes; empty when t does not require one.
Edge edge_of(const Tensor& t);
void set_requires_grad(const Tensor& t, bool value);  // Error for results, and for dtypes without derivatives
void set_history(const Tensor& t, const Ref<Node>& node, uint32_t output = 0);
Tensor grad_of(const Tensor& t);
void set_grad(const Tensor& t, const Tensor& grad);
uint64_t add_hook(const Tensor& t, Ref<Hook> hook);
bool remove_hook(const Tensor& t, uint64_t id);
void retain_grad(const Tensor& t);

// The same elements outside of the graph; shares memory and version.
Tensor detach(const Tensor& t);
// What .data is: writes through it are not counted.
Tensor data_of(const Tensor& t);
void detach_(const Tensor& t);  // t itself becomes a leaf; Error for a view

}  // namespace chainrule
