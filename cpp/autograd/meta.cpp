#include "autograd/meta.h"

#include <algorithm>

#include "autograd/accumulate.h"
#include "autograd/mode.h"
#include "autograd/record.h"
#include "core/pool.h"
#include "ops/views.h"

namespace chainrule {

CR_THREAD_LOCAL bool grad_enabled = true;
CR_THREAD_LOCAL bool inference_mode = false;
AnomalyMode anomaly_mode;

void* AutogradMeta::operator new(size_t bytes) { return pool_alloc(bytes); }
void AutogradMeta::operator delete(void* p, size_t bytes) { pool_free(p, bytes); }

namespace {

void forget_retained(AutogradMeta& m, const TensorImpl* t) {
  if (!m.retains_grad || !m.grad_fn || !m.grad_fn->extras) return;
  std::erase_if(m.grad_fn->extras->retained, [&](const auto& r) { return r.second == t; });
}

}  // namespace

void destroy_meta(TensorImpl* t) {
  forget_retained(*t->autograd, t);  // a tensor that goes takes its request for a gradient with it
  delete t->autograd;
  t->autograd = nullptr;
}

AutogradMeta& meta_of(const Tensor& t) {
  if (t.impl()->autograd == nullptr) t.impl()->autograd = new AutogradMeta;
  return *t.impl()->autograd;
}

bool view_requires_grad(const Tensor& view) {
  const AutogradMeta& m = *view.impl()->autograd;
  return m.view->version != view.version() && m.view->base.requires_grad() && view.is_floating();
}

void rename_node(const Tensor& t, const char* name) {
  if (const Ref<Node> node = grad_fn_of(t)) node->name = name;
}

Ref<Node> grad_fn_of(const Tensor& t) {
  AutogradMeta* m = t.impl()->autograd;
  if (m == nullptr) return {};
  if (m->view && m->view->version != t.version() && m->view->base.requires_grad()) {
    GradModeGuard recording_on(true);
    const Tensor again = view_of_base(m->view->base, t);
    m->grad_fn = again.impl()->autograd->grad_fn;
    m->output = 0;
    m->requires_grad = true;
    m->view->version = t.version();
  }
  return m->grad_fn;
}

Edge edge_of(const Tensor& t) {
  if (!t.defined() || !t.requires_grad()) return {};
  if (Ref<Node> fn = grad_fn_of(t)) return {std::move(fn), t.impl()->autograd->output};
  AutogradMeta& m = *t.impl()->autograd;
  if (m.accumulator == nullptr) {
    Ref<Node> node(new AccumulateGrad(t));
    m.accumulator = node.get();
    return {std::move(node), 0};
  }
  return {Ref<Node>(m.accumulator), 0};
}

void set_requires_grad(const Tensor& t, bool value) {
  if (value == t.requires_grad()) return;
  CR_CHECK(!value || t.is_floating(), "only tensors of floating point dtype can require gradients, got ",
           name_of(t.dtype()));
  CR_CHECK(
      value || is_leaf(t),
      "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
      "subgraph that doesn't require differentiation use var_no_grad = var.detach().");
  CR_CHECK(!value || !t.impl()->inference || inference_mode,
           "setting requires_grad=True on an inference tensor outside of inference mode is not allowed");
  meta_of(t).requires_grad = value;
}

void set_history(const Tensor& t, const Ref<Node>& node, uint32_t output) {
  AutogradMeta& m = meta_of(t);
  if (m.retains_grad) {
    forget_retained(m, t.impl());
    node->extra().retained.emplace_back(output, t.impl());
  }
  m.grad_fn = node;
  m.output = output;
  m.requires_grad = true;
}

Tensor grad_of(const Tensor& t) {
  return t.impl()->autograd == nullptr ? Tensor() : t.impl()->autograd->grad;
}

void set_grad(const Tensor& t, const Tensor& grad) {
  if (grad.defined()) {
    CR_CHECK(grad.sizes() == t.sizes(), "grad: assigned a gradient of shape ", grad.sizes(),
             " to a tensor of shape ", t.sizes(), "; they must be equal");
    CR_CHECK(grad.dtype() == t.dtype(), "grad: assigned a gradient of dtype ", name_of(grad.dtype()),
             " to a tensor of dtype ", name_of(t.dtype()), "; they must be equal");
    CR_CHECK(!grad.same(t), "grad: a tensor cannot be its own gradient");
  } else if (t.impl()->autograd == nullptr) {
    return;
  }
  meta_of(t).grad = grad;
}

uint64_t add_hook(const Tensor& t, Ref<Hook> hook) {
  CR_CHECK(t.requires_grad(),
           "register_hook: cannot register a hook on a tensor that doesn't require gradient");
  if (Ref<Node> fn = grad_fn_of(t)) {
    auto& by_output = fn->extra().output_hooks;
    if (by_output.size() < static_cast<size_t>(fn->outputs)) by_output.resize(fn->outputs);
    return by_output[t.impl()->autograd->output].add(std::move(hook));
  }
  return meta_of(t).hooks.add(std::move(hook));
}

bool remove_hook(const Tensor& t, uint64_t id) {
  AutogradMeta* m = t.impl()->autograd;
  if (m == nullptr) return false;
  if (m->hooks.remove(id) || m->after_accumulate.remove(id)) return true;
  if (m->grad_fn && m->grad_fn->extras)
    for (HookList& list : m->grad_fn->extras->output_hooks)
      if (list.remove(id)) return true;
  return false;
}

void retain_grad(const Tensor& t) {
  CR_CHECK(t.requires_grad(), "retain_grad: can't retain_grad on a tensor that has requires_grad=False");
  Ref<Node> fn = grad_fn_of(t);
  AutogradMeta& m = meta_of(t);
  if (!fn || m.retains_grad) return;
  m.retains_grad = true;
  fn->extra().retained.emplace_back(m.output, t.impl());
}

Tensor detach(const Tensor& t) { return alias(t); }

Tensor data_of(const Tensor& t) {
  Tensor d = alias(t);
  d.impl()->untracked = true;
  return d;
}

void detach_(const Tensor& t) {
  AutogradMeta* m = t.impl()->autograd;
  if (m == nullptr) return;
  CR_CHECK(!m->view, "detach_: can't detach views in-place. Use detach() instead.");
  m->grad_fn = {};
  m->requires_grad = false;
  m->output = 0;
}

}  // namespace chainrule
