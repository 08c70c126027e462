#include "autograd/accumulate.h"

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "core/launch.h"
#include "core/shape_checks.h"
#include "ops/elementwise.h"
#include "ops/views.h"

namespace chainrule {

AccumulateGrad::AccumulateGrad(const Tensor& variable) : variable_(variable) {
  name = "accumulate_grad";
  sequence = 0;  // leaves come last, whenever their node was made
}

AccumulateGrad::~AccumulateGrad() {
  if (AutogradMeta* m = variable_.impl()->autograd; m && m->accumulator == this) m->accumulator = nullptr;
}

namespace {

// Two threads may bring gradients to one leaf: neither lets the other in before its own is added.
void add_to_grad(AutogradMeta& m, const Tensor& variable, Tensor g) {
  const HoldInterpreter hold;
  if (m.grad.defined()) {
    // In place, so that everyone who holds .grad sees the sum.
    if (grad_enabled) {
      m.grad = add(m.grad, g);
    } else {
      add_into(m.grad, g);
    }
  } else if (is_sole_owner(g) && g.strides() == variable.strides()) {
    m.grad = std::move(g);
  } else {
    m.grad = clone(grad_enabled ? g : detach(g));
  }
}

}  // namespace

void AccumulateGrad::backward(Grads& grads, Grads&) {
  Tensor g = std::move(grads[0]);
  if (!g.defined()) return;
  AutogradMeta& m = meta_of(variable_);
  m.hooks.run(g);
  add_to_grad(m, variable_, std::move(g));
  if (!m.after_accumulate.hooks.empty()) {
    Tensor variable = variable_;
    m.after_accumulate.run(variable);
  }
}

namespace {
void let_go_of_whole(void* storage) {
  Ref<Storage> whole(static_cast<Storage*>(storage));
  whole->remove_owner();  // the part's
}
}  // namespace

bool is_sole_owner(const Tensor& t) {
  const Storage& s = *t.impl()->storage;
  const bool ours = s.free_owner == nullptr || s.free_owner == let_go_of_whole;
  return t.impl()->owners() == 1 && s.owners() == 1 && ours && t.impl()->python == nullptr;
}

bool may_part(const Tensor& g) {
  // Not of an expanded gradient, whose elements share memory.
  return !grad_enabled && current_node != nullptr && !current_node->extras && is_sole_owner(g) && is_dense(g);
}

Tensor part_of(const Tensor& g, const Dims& sizes, const Dims& strides, int64_t offset) {
  Ref<Storage> whole = g.impl()->storage;
  return wrap_memory(g.bytes() + offset * static_cast<int64_t>(g.item_bytes()), sizes, strides, g.dtype(),
                     true, whole.release(), let_go_of_whole);
}

Tensor room_for(const Tensor& g, const Tensor& like) {
  const bool over = !grad_enabled && current_node != nullptr && !current_node->extras && is_sole_owner(g) &&
                    g.dtype() == like.dtype() && g.sizes() == like.sizes() && g.strides() == like.strides() &&
                    is_dense(g);
  return over ? g : empty_in_layout(like, like.sizes(), like.dtype());
}

Tensor room_for_sum(const Tensor& sum) {
  return is_sole_owner(sum) && is_dense(sum) ? sum : empty_in_layout(sum, sum.sizes(), sum.dtype());
}

Tensor accumulate(Tensor a, Tensor b) {
  if (!grad_enabled && a.dtype() == b.dtype() && a.sizes() == b.sizes()) {
    // Not into an expanded gradient, whose elements share memory.
    if (is_sole_owner(a) && is_dense(a)) {
      add_into(a, b);
      return a;
    }
    if (is_sole_owner(b) && is_dense(b) && a.strides() == b.strides()) {
      add_into(b, a);
      return b;
    }
  }
  return add(a, b);
}

}  // namespace chainrule
