#include "ops/optim.h"

#include <cmath>

#include "autograd/record.h"
#include "core/error.h"
#include "core/loop.h"
#include "core/pool.h"
#include "kernels/optim.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/join.h"
#include "ops/reduce.h"
#include "ops/views.h"

namespace chainrule {
namespace {

// ---- primitives: outs and ins are lists of equal length, one after the other ----

template <class T> using List = std::vector<T, PoolAllocator<T>>;
using Pointers = List<const Tensor*>;

List<int64_t> sizes_of(const Tensor* const* tensors, int count) {
  List<int64_t> sizes(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) sizes[static_cast<size_t>(i)] = tensors[i]->numel();
  return sizes;
}
List<void*> memory_of(const Tensor* const* tensors, int count) {
  List<void*> memory(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) memory[static_cast<size_t>(i)] = tensors[i]->bytes();
  return memory;
}

void run_sgd(const Launch& l) {  // params, buffers <- grads, first
  const SgdOptions& o = l.attrs<SgdOptions>();
  const int count = l.in_count - 1;
  const auto sizes = sizes_of(l.outs, count);
  const auto outs = memory_of(l.outs, l.out_count), ins = memory_of(l.ins, count);
  kernels::sgd_step({l.out(0).dtype(), count, sizes.data(), outs.data(), ins.data(),
                     l.out_count > count ? outs.data() + count : nullptr, l.in(count).data<bool>(), o.lr,
                     o.momentum, o.dampening, o.weight_decay, o.nesterov, o.maximize});
}

void run_adam(const Launch& l) {  // params, averages, squares, largest <- grads, steps
  const AdamOptions& o = l.attrs<AdamOptions>();
  const int count = l.in_count - 1;
  const auto sizes = sizes_of(l.outs, count);
  const auto outs = memory_of(l.outs, l.out_count), ins = memory_of(l.ins, count);
  kernels::adam_step({l.out(0).dtype(), count, sizes.data(), outs.data(), ins.data(), outs.data() + count,
                      outs.data() + 2 * count, o.amsgrad ? outs.data() + 3 * count : nullptr,
                      l.in(count).data<int64_t>(), o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.maximize,
                      o.decoupled});
}

void run_norm(const Launch& l) {
  const auto sizes = sizes_of(l.ins, l.in_count);
  const auto ins = memory_of(l.ins, l.in_count);
  kernels::multi_norm({l.out(0).dtype(), l.in_count, sizes.data(), ins.data(), l.out(0).bytes()});
}

struct UpdateAttrs {
  MultiUpdateArgs::Kind kind;
  double value;
};
void run_update(const Launch& l) {
  const UpdateAttrs& u = l.attrs<UpdateAttrs>();
  const auto sizes = sizes_of(l.outs, l.out_count);
  const auto outs = memory_of(l.outs, l.out_count);
  kernels::multi_update({u.kind, l.out(0).dtype(), l.out_count, sizes.data(), outs.data(), u.value});
}

const Primitive kSgd{"sgd_", run_sgd, sizeof(SgdOptions)};
const Primitive kAdam{"adam_", run_adam, sizeof(AdamOptions)};
const Primitive kNorm{"multi_norm", run_norm};
const Primitive kUpdate{"multi_update", run_update, sizeof(UpdateAttrs)};

// ---- lists ----

void check_lengths(const char* op, const char* what, const TensorList& list, size_t wanted) {
  CR_CHECK(list.size() == wanted, op, ": ", wanted, " parameters, but ", list.size(), " ", what);
}
void check_floating(const char* op, const Tensor& t) {
  CR_CHECK(t.is_floating(), op, ": expected floating tensors, got ", name_of(t.dtype()));
}
// Each is written beside its parameter or read with it: of one shape and dtype.
void check_like(const char* op, const char* what, const TensorList& params, const TensorList& list) {
  check_lengths(op, what, list, params.size());
  for (size_t i = 0; i < list.size(); ++i) {
    CR_CHECK(list[i].sizes() == params[i].sizes(), op, ": parameter ", i, " has shape ", params[i].sizes(),
             ", its entry in ", what, " ", list[i].sizes());
    CR_CHECK(list[i].dtype() == params[i].dtype(), op, ": parameter ", i, " is ", name_of(params[i].dtype()),
             ", its entry in ", what, " ", name_of(list[i].dtype()));
  }
}
void check_written(const char* op, const TensorList& list) {
  for (const Tensor& t : list) {
    check_floating(op, t);
    before_write(op, t);
  }
}

// The kernels know contiguous memory only: what is not gets a contiguous double, copied back afterwards.
class Dense {
 public:
  Dense(const TensorList& list, DType dtype, const TensorList& select_by) {
    tensors_.reserve(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      if (select_by[i].dtype() != dtype) continue;
      tensors_.push_back(&list[i]);
      if (list[i].is_contiguous()) continue;
      doubles_.reserve(list.size());  // at once: pointers into it must stay
      doubles_.emplace_back(list[i], contiguous(list[i]));
      tensors_.back() = &doubles_.back().second;
    }
  }
  bool empty() const { return tensors_.empty(); }
  void add_to(Pointers& pointers) const { pointers.insert(pointers.end(), tensors_.begin(), tensors_.end()); }
  void written() const {
    for (const Tensor* t : tensors_) t->count_write();
    for (const auto& [original, copy] : doubles_) {
      copy_elements(original, copy);
      original.count_write();
    }
  }

 private:
  Pointers tensors_;
  std::vector<std::pair<Tensor, Tensor>> doubles_;
};

// One entry of `values` for each parameter of this dtype, as a tensor that a launch can take.
template <class T, class Values> Tensor numbers(const Values& values, DType type, DType dtype,
                                                const TensorList& params) {
  Tensor t = empty({static_cast<int64_t>(params.size())}, type);
  T* to = t.data<T>();
  for (size_t i = 0; i < params.size(); ++i)
    if (params[i].dtype() == dtype) *to++ = values.empty() ? T{} : static_cast<T>(values[i]);
  return t;
}

bool has(const TensorList& list, DType dtype) {
  for (const Tensor& t : list)
    if (t.dtype() == dtype) return true;
  return false;
}

template <class Attrs>
void launch_lists(const Primitive& p, const Pointers& outs, const Pointers& ins, const Attrs& attrs) {
  launch({p, outs.data(), ins.data(), static_cast<int>(outs.size()), static_cast<int>(ins.size()), &attrs});
}

constexpr DType kFloating[] = {DType::Float32, DType::Float64};

void update(const TensorList& list, UpdateAttrs attrs) {
  for (const DType dtype : kFloating) {
    const Dense dense(list, dtype, list);
    if (dense.empty()) continue;
    Pointers outs;
    dense.add_to(outs);
    launch_lists(kUpdate, outs, {}, attrs);
    dense.written();
  }
}

// The 2-norm of all of them together.
Tensor two_norm(const TensorList& list) {
  TensorList parts;
  for (const DType dtype : kFloating) {
    const Dense dense(list, dtype, list);
    if (dense.empty()) continue;
    Pointers ins;
    dense.add_to(ins);
    Tensor part = empty({}, dtype);
    const Tensor* out = &part;
    launch({kNorm, &out, ins.data(), 1, static_cast<int>(ins.size()), nullptr});
    parts.push_back(part);
  }
  return parts.size() == 1 ? parts[0] : hypot(parts[0], parts[1]);
}

}  // namespace

void sgd_(const SgdLists& lists, const SgdOptions& options) {
  NoGrad guard;
  const TensorList& params = lists.params;
  check_written("sgd_", params);
  check_like("sgd_", "gradients", params, lists.grads);
  if (options.momentum != 0) {
    check_like("sgd_", "momentum buffers", params, lists.buffers);
    check_written("sgd_", lists.buffers);
  }
  for (const DType dtype : kFloating) {
    if (!has(params, dtype)) continue;
    const Dense written(params, dtype, params), read(lists.grads, dtype, params),
        moving(lists.buffers, dtype, params);
    const Tensor first = numbers<bool>(lists.first, DType::Bool, dtype, params);
    Pointers outs, ins;
    outs.reserve(2 * params.size()), ins.reserve(params.size() + 1);
    written.add_to(outs), moving.add_to(outs), read.add_to(ins);
    ins.push_back(&first);
    launch_lists(kSgd, outs, ins, options);
    written.written(), moving.written();
  }
}

void adam_(AdamLists& lists, const AdamOptions& options) {
  NoGrad guard;
  const TensorList& params = lists.params;
  check_written("adam_", params);
  check_like("adam_", "gradients", params, lists.grads);
  check_like("adam_", "averages", params, lists.averages);
  check_like("adam_", "squares", params, lists.squares);
  check_written("adam_", lists.averages);
  check_written("adam_", lists.squares);
  if (options.amsgrad) {
    check_like("adam_", "largest squares", params, lists.largest);
    check_written("adam_", lists.largest);
  }
  for (int64_t& step : lists.steps) ++step;
  for (const DType dtype : kFloating) {
    if (!has(params, dtype)) continue;
    const Dense written(params, dtype, params), read(lists.grads, dtype, params),
        mean(lists.averages, dtype, params), square(lists.squares, dtype, params),
        top(lists.largest, dtype, params);
    const Tensor counts = numbers<int64_t>(lists.steps, DType::Int64, dtype, params);
    Pointers outs, ins;
    outs.reserve(4 * params.size()), ins.reserve(params.size() + 1);
    written.add_to(outs), mean.add_to(outs), square.add_to(outs), top.add_to(outs), read.add_to(ins);
    ins.push_back(&counts);
    launch_lists(kAdam, outs, ins, options);
    written.written(), mean.written(), square.written(), top.written();
  }
}

Tensor clip_grad_norm_(const TensorList& grads, double max_norm, double norm_type, bool error_if_nonfinite) {
  NoGrad guard;
  if (grads.empty()) return zeros({}, DType::Float32);
  check_written("clip_grad_norm_", grads);
  Tensor total;
  if (norm_type == 2) {
    total = two_norm(grads);
  } else {
    TensorList norms;
    for (const Tensor& g : grads) norms.push_back(norm(g, norm_type));
    total = norm(stack(norms, 0), norm_type);
  }
  const double length =
      total.dtype() == DType::Float32 ? static_cast<double>(*total.data<float>()) : *total.data<double>();
  CR_CHECK(
      !error_if_nonfinite || std::isfinite(length), "The total norm of order ", norm_type,
      " for gradients from `parameters` is non-finite, so it cannot be clipped. To disable this error and "
      "scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`");
  const double factor = max_norm / (length + 1e-6);
  if (!(factor >= 1)) update(grads, {MultiUpdateArgs::Scale, factor});  // also for NaN, which then shows
  return total;
}

void clip_grad_value_(const TensorList& grads, double clip_value) {
  NoGrad guard;
  check_written("clip_grad_value_", grads);
  update(grads, {MultiUpdateArgs::Clamp, clip_value});
}

void zero_grads_(const TensorList& grads) {
  NoGrad guard;
  for (const Tensor& g : grads) {
    if (grad_fn_of(g))
      detach_(g);
    else
      set_requires_grad(g, false);
  }
  check_written("zero_grad", grads);
  update(grads, {MultiUpdateArgs::Fill, 0});
}

}  // namespace chainrule
