// Elements repeated, turned, padded and put in order.
#include "ops/rearrange.h"
#include "autograd/meta.h"
#include "bindings/return_types.h"
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/sort.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

PyObject* do_repeat_interleave(Args& a) {
  const Tensor x = a.tensor(0);
  if (!a.has(1)) return wrap(repeated_numbers(x));  // repeat_interleave(repeats)
  const bool by_tensor = is_tensor(a.object(1));
  const Tensor flat = a.has(2) ? x : reshape(x, {-1});
  const int64_t dim = a.has(2) ? a.integer(2) : 0;
  const Tensor y = by_tensor ? repeat_interleave(flat, a.tensor(1), dim)
                             : repeat_interleave(flat, a.scalar(1).as<int64_t>(), dim);
  CR_CHECK(!a.has(3) || y.size(static_cast<int>(dim)) == a.integer(3),
           "repeat_interleave: allocated size does not match required size, output_size is ", a.integer(3));
  return wrap(y);
}

PyObject* do_unique(Args& a) {
  const bool inverse = a.flag(2), counts = a.flag(3);
  const Distinct d = a.has(4) ? unique_slices(a.tensor(0), a.integer(4)) : unique(a.tensor(0));
  if (!inverse && !counts) return wrap(d.values);
  TensorList out{d.values};
  if (inverse) out.push_back(d.inverse);
  if (counts) out.push_back(d.counts);
  return wrap(out);
}

PyObject* as_int32(const Tensor& t, bool wanted) { return wrap(wanted ? to_dtype(t, DType::Int32) : t); }

PyObject* pair(const char* name, const std::pair<Tensor, Tensor>& r, Args& a, int out) {
  return values_and_indices(name, r.first, r.second, a, out);
}

bool is_right(Args& a, int right, int side) {
  if (!a.has(side)) return a.flag(right);
  const std::string s = a.string(side);
  CR_CHECK(s == "left" || s == "right", "searchsorted: side can only be 'left' or 'right' but got ", s);
  CR_CHECK(!(a.flag(right) && s == "left"),
           "searchsorted: side and right can't be set to opposites, got side of left while right was True");
  return s == "right";
}

void bind_order(Bind& bind) {
  bind.op(
      "sort(Tensor self, int dim=-1, bool descending=False, *, bool stable=False, Tensor[]? out=None) -> "
      "(Tensor values, Tensor indices)",
      [](Args& a) { return pair("sort", sort(a.tensor(0), a.integer(1), a.flag(2)), a, 4); });
  bind.op("argsort(Tensor self, int dim=-1, bool descending=False, *, bool stable=False) -> Tensor",
          [](Args& a) { return wrap(argsort(a.tensor(0), a.integer(1), a.flag(2))); });
  bind.op("msort(Tensor self) -> Tensor", [](Args& a) { return wrap(sort(a.tensor(0), 0, false).first); });
  bind.op(
      "topk(Tensor self, int k, int dim=-1, bool largest=True, bool sorted=True, *, Tensor[]? out=None) -> "
      "(Tensor values, Tensor indices)",
      [](Args& a) { return pair("topk", topk(a.tensor(0), a.integer(1), a.integer(2), a.flag(3)), a, 5); });
  bind.op(
      "kthvalue(Tensor self, int k, int dim=-1, bool keepdim=False, *, Tensor[]? out=None) -> "
      "(Tensor values, Tensor indices)",
      [](Args& a) {
        return pair("kthvalue", kthvalue(a.tensor(0), a.integer(1), a.integer(2), a.flag(3)), a, 4);
      });
  bind.op(
      "unique(Tensor self, bool sorted=True, bool return_inverse=False, bool return_counts=False, int? dim=None) "
      "-> object",
      do_unique);
  bind.op(
      "searchsorted(Tensor sorted_sequence, Operand input, *, bool out_int32=False, bool right=False, str? side=None) "
      "-> Tensor",
      [](Args& a) {
        const Tensor s = a.tensor(0), v = a.operand(1);
        const Tensor values = is_tensor(a.object(1)) ? v : to_dtype(v, s.dtype());
        return as_int32(searchsorted(s, values, is_right(a, 3, 4)), a.flag(2));
      },
      Where::Function);
  bind.op(
      "bucketize(Operand input, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
      [](Args& a) {
        const Tensor s = a.tensor(1), v = a.operand(0);
        CR_CHECK(s.dim() == 1, "bucketize: boundaries tensor must be 1 dimension, but got dim(", s.dim(),
                 ")");
        const Tensor values = is_tensor(a.object(0)) ? v : to_dtype(v, s.dtype());
        return as_int32(searchsorted(s, values, a.flag(3)), a.flag(2));
      },
      Where::Function);
  bind.op("bincount(Tensor self, Tensor? weights=None, int minlength=0) -> Tensor",
          [](Args& a) { return wrap(bincount(a.tensor(0), a.tensor(1), a.integer(2))); });
}

template <bool upper> void bind_triangle(Bind& bind, const char* name) {
  bind.op((name + std::string("(Tensor self, int diagonal=0, *, Tensor? out=None) -> Tensor")).c_str(),
          [](Args& a) { return a.result(triangle(a.tensor(0), a.integer(1), upper), 2); });
  bind.op((name + std::string("_(Tensor self, int diagonal=0) -> Tensor")).c_str(),
          [](Args& a) {
            triangle_(a.tensor(0), a.integer(1), upper);
            return Py_NewRef(a.object(0));
          },
          Where::Method);
}

}  // namespace

void bind_rearrange(Bind& bind, Bind& nn) {
  bind.op(
      "repeat(Tensor self, *int[] repeats) -> Tensor",
      [](Args& a) { return wrap(repeat(a.tensor(0), a.dims(1))); }, Where::Method);
  bind.op("tile(Tensor self, *int[] dims) -> Tensor",
          [](Args& a) { return wrap(tile(a.tensor(0), a.dims(1))); });
  bind.op(
      "repeat_interleave(Tensor self, Operand? repeats=None, int? dim=None, *, int? output_size=None) -> "
      "Tensor",
      do_repeat_interleave);
  bind.op("flip(Tensor self, *int[] dims) -> Tensor",
          [](Args& a) { return wrap(flip(a.tensor(0), a.dims(1))); });
  bind.op("fliplr(Tensor self) -> Tensor", [](Args& a) {
    CR_CHECK(a.tensor(0).dim() >= 2, "fliplr: input must be >= 2-d");
    return wrap(flip(a.tensor(0), {1}));
  });
  bind.op("flipud(Tensor self) -> Tensor", [](Args& a) {
    CR_CHECK(a.tensor(0).dim() >= 1, "flipud: input must be >= 1-d");
    return wrap(flip(a.tensor(0), {0}));
  });
  bind.op("roll(Tensor self, int[] shifts, int[]? dims=None) -> Tensor", [](Args& a) {
    const Tensor y = roll(a.tensor(0), a.dims(1), a.dims(2));
    rename_node(y, "roll");
    return wrap(y);
  });
  bind.op("rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor", [](Args& a) {
    const Tensor y = rot90(a.tensor(0), a.integer(1), a.dims(2));
    rename_node(y, "rot90");
    return wrap(y);
  });
  bind_triangle<false>(bind, "tril");
  bind_triangle<true>(bind, "triu");
  bind.op("diag(Tensor self, int diagonal=0, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(diag(a.tensor(0), a.integer(1)), 2); });
  bind.op(
      "hstack(Tensor[] tensors, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(stack_along("hstack", a.tensors(0), 1), 1); }, Where::Function);
  bind.op(
      "vstack(Tensor[] tensors, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(stack_along("vstack", a.tensors(0), 2), 1); }, Where::Function);
  bind.op(
      "dstack(Tensor[] tensors, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(stack_along("dstack", a.tensors(0), 3), 1); }, Where::Function);
  bind.op(
      "meshgrid(*Tensor[] tensors, *, str? indexing=None) -> Tensor[]",
      [](Args& a) {
        const std::string indexing = a.string(1);
        CR_CHECK(indexing.empty() || indexing == "ij" || indexing == "xy",
                 "meshgrid: indexing must be one of \"xy\" or \"ij\", but received: ", indexing);
        return wrap(meshgrid(a.tensors(0), indexing == "xy"));
      },
      Where::Function);
  bind_order(bind);
  nn.op(
      "one_hot(Tensor tensor, int num_classes=-1) -> Tensor",
      [](Args& a) { return wrap(one_hot(a.tensor(0), a.integer(1))); }, Where::Function);
  nn.op(
      "pad(Tensor input, int[] pad, str mode='constant', Scalar? value=None) -> Tensor",
      [](Args& a) {
        const std::string mode = a.string(2);
        CR_CHECK(mode == "constant" || !a.has(3), "pad: padding mode \"", mode,
                 "\" doesn't take in value argument");
        return wrap(pad(a.tensor(0), a.dims(1), mode, a.has(3) ? a.scalar(3) : Scalar(0)));
      },
      Where::Function);
}

}  // namespace chainrule::python
