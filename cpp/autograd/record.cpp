#include "autograd/record.h"

#include "core/shape_checks.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule {

bool recording(const TensorList& inputs) {
  if (!grad_enabled) return false;
  for (const Tensor& t : inputs)
    if (t.defined() && t.requires_grad()) return true;
  return false;
}

SavedTensor::SavedTensor(Tensor t, bool is_result, uint32_t output) : output_(output) {
  if (!t.defined()) return;
  CR_CHECK(!t.impl()->inference,
           "inference tensors cannot be saved for backward. To work around you can make a clone "
           "to get a normal tensor and use it in autograd.");
  version_ = t.version();
  is_result_ = is_result;
  tensor_ = is_result ? alias(t) : std::move(t);
}

void SavedTensor::throw_overwritten() const {
  const std::string* line = current_node && current_node->extras ? &current_node->extras->traceback : nullptr;
  throw Error(text(
      "one of the variables needed for gradient computation has been modified by an inplace operation: a ",
      name_of(tensor_.dtype()), " tensor of shape ", tensor_.sizes(),
      current_node ? text(", needed by ", current_node->display_name()) : std::string(), ", is at version ",
      tensor_.version(), "; expected version ", version_, " instead. ",
      line && !line->empty()
          ? "It was saved here:\n" + *line
          : "Hint: chainrule.autograd.set_detect_anomaly(True) names the line that saved it."));
}

namespace {

// The history of a base one of whose views was written by `inner`: the gradient of the written part goes through
// inner, the rest passes.
struct WriteSlice final : Node {
  std::string display_name() const override { return "CopySlices"; }
  Ref<Node> inner;
  Tensor base, view;  // geometry only
  ~WriteSlice() override {
    if (inner) inner->extra().write = nullptr;
  }
  void backward(Grads& gs, Grads& out) override {
    if (!gs[0].defined()) return;
    Grads slice(1), inner_out(inner->edges.size());
    slice[0] = slice_of_gradient(gs[0], base, view);
    {
      const CurrentNode now(inner.get());
      inner->backward(slice, inner_out);
    }
    if (edges[0]) out[0] = replace_slice(gs[0], inner_out[0], base, view);
    for (int i = 1; i < inner_out.size(); ++i) out[i] = inner_out[i];
  }
  void free_saved() override { inner->free_saved(); }
};

// A written view as a result of its base's write: the history of what the inner node has saved of its result.
struct ViewOfWrite final : Node {
  Tensor base, view;  // geometry only
  explicit ViewOfWrite(WriteSlice* write) : base(write->base), view(write->view) {
    name = "as_strided";
    edges.resize(1);
    edges[0] = Edge{Ref<Node>(write), 0};
  }
  void backward(Grads& gs, Grads& out) override {
    if (gs[0].defined()) out[0] = replace_slice(zeros(base.sizes(), gs[0].dtype()), gs[0], base, view);
  }
};

Ref<Node> view_of_write(Node* write) { return Ref<Node>(new ViewOfWrite(static_cast<WriteSlice*>(write))); }

}  // namespace

Tensor SavedTensor::operator*() const {
  if (!tensor_.defined()) return {};
  if (!tensor_.impl()->untracked && tensor_.version() != version_) throw_overwritten();
  if (!is_result_ || !grad_enabled || current_node == nullptr) return tensor_;
  Tensor y = alias(tensor_);
  if (current_node->extras && current_node->extras->write)
    set_history(y, view_of_write(current_node->extras->write));
  else
    set_history(y, Ref<Node>(current_node), output_);
  return y;
}

void detail::throw_freed() {
  throw Error(
      "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
      "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
      "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
      "saved tensors after calling backward.");
}

void before_write(const char* op, const Tensor& x, bool recorded) {
  CR_CHECK(x.storage().writable, op,
           ": the tensor shares memory with a read-only array and cannot be written");
  check_no_internal_overlap(op, x);
  CR_CHECK(!x.impl()->inference || inference_mode, op,
           ": in-place update to an inference tensor outside of inference mode is not allowed");
  if (!grad_enabled || !(recorded || x.requires_grad())) return;
  if (x.requires_grad() && is_leaf(x)) {
    throw Error(text(op, ": a leaf Variable that requires grad is being used in an in-place operation."));
  }
  const AutogradMeta* m = x.impl()->autograd;
  CR_CHECK(!(m && m->view && m->view->base.requires_grad() && is_leaf(m->view->base)), op,
           ": a view of a leaf Variable that requires grad is being used in an in-place operation.");
}

void before_write(const char* op, const Tensor& x) { before_write(op, x, false); }

void record_write_node(const Tensor& x, Ref<Node> node) {
  AutogradMeta* m = x.impl()->autograd;
  if (m == nullptr || !m->view) {
    set_history(x, node);
    return;
  }
  const Tensor base = m->view->base;
  auto* slice = new WriteSlice;
  Ref<Node> ref(slice);
  slice->name = "copy_slices";
  slice->edges = node->edges;
  slice->edges[0] = edge_of(base);
  slice->base = alias(base);
  slice->view = alias(x);
  slice->inner = std::move(node);
  slice->inner->extra().write = slice;
  // The inner node must compute the view's own gradient whenever the base wants it.
  if (slice->edges[0]) slice->inner->edges[0] = slice->edges[0];
  set_history(base, ref);
  m->view->version = x.version() - 1;  // the view is reconnected to its base when somebody asks
}

void link_view(const Tensor& v, const Tensor& x) {
  const AutogradMeta* m = x.impl()->autograd;
  // Only when a write could matter to somebody: always while recording, and for what is in a graph already.
  if (!grad_enabled && m == nullptr) return;
  meta_of(v).view = ViewMeta{m && m->view ? m->view->base : x, v.version()};
}

}  // namespace chainrule
