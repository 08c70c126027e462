// record: puts a result into the graph, with its derivative as a closure that stands beside the forward.
//
//   Tensor softmax(const Tensor& x, int64_t dim) {
//     ...
//     if (!recording(x)) return y;
//     return record("softmax", y, {&x}, [y = saved_result(y), dim](const Tensor& g) { return softmax_dx(g, *y, dim); });
//   }
//
// The closure takes the gradient of the result, and `Needs need` if it wants to skip what nobody asks for; it returns a
// Tensor (one input), a std::array (several) or a TensorList (any number), in the order of the inputs. It is written in
// differentiable ops, so that higher orders follow; a fused kernel is taken when grad_enabled is off.
#pragma once
#include <array>
#include <optional>

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "core/launch.h"

namespace chainrule {

// Is anything recorded when these are used?
template <class... T> bool recording(const T&... inputs) {
  return grad_enabled && ((inputs.defined() && inputs.requires_grad()) || ...);
}
bool recording(const TensorList& inputs);

// A tensor kept for the backward; *s checks that nobody has written into it since.
class SavedTensor {
 public:
  SavedTensor() = default;
  SavedTensor(Tensor t, bool is_result, uint32_t output = 0);
  Tensor operator*() const;
  bool defined() const { return tensor_.defined(); }

 private:
  [[noreturn]] void throw_overwritten() const;
  Tensor tensor_;
  uint32_t version_ = 0;
  uint32_t output_ = 0;
  bool is_result_ = false;  // kept without its grad_fn, which would be a cycle; it is given back on use
};
inline SavedTensor saved(const Tensor& input) { return {input, false}; }
inline SavedTensor saved_result(const Tensor& result) { return {result, true}; }

namespace detail {

inline void put(Grads& out, Tensor&& g) { out[0] = std::move(g); }
template <size_t N> void put(Grads& out, std::array<Tensor, N>&& g) {
  for (size_t i = 0; i < N; ++i) out[static_cast<int>(i)] = std::move(g[i]);
}
inline void put(Grads& out, TensorList&& g) {
  for (size_t i = 0; i < g.size(); ++i) out[static_cast<int>(i)] = std::move(g[i]);
}

[[noreturn]] void throw_freed();

template <class F> struct ClosureNode final : Node {
  std::optional<F> f;
  explicit ClosureNode(F&& closure) : f(std::move(closure)) {}
  void backward(Grads& gs, Grads& out) override {
    if (!f) throw_freed();
    if constexpr (std::is_invocable_v<F&, const Tensor&, Needs>) {
      put(out, (*f)(gs[0], Needs(*this)));
    } else if constexpr (std::is_invocable_v<F&, const Tensor&>) {
      put(out, (*f)(gs[0]));
    } else {
      put(out, (*f)(static_cast<const Grads&>(gs),
                    Needs(*this)));  // several results: their gradients, some undefined
    }
  }
  void free_saved() override {
    if constexpr (!std::is_trivially_destructible_v<F>) {
      f.reset();
      freed = true;
    }
  }
};

template <class F> Ref<Node> make_node(const char* name, const Tensor* const* ins, int count, F&& f) {
  auto* node = new ClosureNode<std::decay_t<F>>(std::forward<F>(f));
  Ref<Node> ref(node);
  node->name = name;
  node->edges.resize(count);
  for (int i = 0; i < count; ++i) node->edges[i] = edge_of(*ins[i]);
  return ref;
}

}  // namespace detail

template <class F> Tensor record(const char* name, Tensor y, TensorPtrs ins, F&& f) {
  set_history(y, detail::make_node(name, ins.begin(), static_cast<int>(ins.size()), std::forward<F>(f)));
  return y;
}
template <class F> Tensor record(const char* name, Tensor y, const TensorList& ins, F&& f) {
  std::vector<const Tensor*> ptrs;
  for (const Tensor& t : ins) ptrs.push_back(&t);
  set_history(y, detail::make_node(name, ptrs.data(), static_cast<int>(ptrs.size()), std::forward<F>(f)));
  return y;
}
// Several results; the closure takes (const Grads& grads, Needs need). Results that are not floating stay outside.
template <class F> void record_all(const char* name, const TensorList& ys, TensorPtrs ins, F&& f) {
  Ref<Node> node = detail::make_node(name, ins.begin(), static_cast<int>(ins.size()), std::forward<F>(f));
  node->outputs = static_cast<int>(ys.size());
  for (size_t i = 0; i < ys.size(); ++i)
    if (ys[i].is_floating()) set_history(ys[i], node, static_cast<uint32_t>(i));
}

// In-place operations: `before_write` checks that x may be written (not a leaf that is recorded, not read-only, not
// overlapping itself), then the kernel runs, then `record_write` counts the write and puts the closure into the graph;
// the gradient of ins[0] is that of x before. When x is a view its base is updated with it.
void before_write(const char* op, const Tensor& x);
void before_write(const char* op, const Tensor& x, bool recorded);
void record_write_node(const Tensor& x, Ref<Node> node);
template <class F> const Tensor& record_write(const char* name, const Tensor& x, TensorPtrs ins, F&& f) {
  x.count_write();
  record_write_node(x,
                    detail::make_node(name, ins.begin(), static_cast<int>(ins.size()), std::forward<F>(f)));
  return x;
}

// Marks v as a view of x; `f` as for record.
void link_view(const Tensor& v, const Tensor& x);
template <class F> Tensor record_view(const char* name, Tensor v, const Tensor& x, F&& f) {
  if (recording(x))
    set_history(v, [&] {
      const Tensor* in = &x;
      return detail::make_node(name, &in, 1, std::forward<F>(f));
    }());
  link_view(v, x);
  return v;
}

}  // namespace chainrule
