// Elements picked and placed: gather, scatter, index_select, masks and their kin.
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/gather.h"
#include "ops/index.h"
#include "ops/select.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

// Out of place is in place on a copy: one definition of each op.
template <class F> PyObject* on_copy(Args& a, F&& f) {
  const Tensor y = clone(a.tensor(0));
  f(y);
  return wrap(y);
}
template <class F> PyObject* in_place(Args& a, F&& f) {
  f(a.tensor(0));
  return Py_NewRef(a.object(0));
}

// Both forms of `name(Tensor self, <parameters>)`.
#define BOTH_FORMS(name, parameters, ...)                                             \
  bind.op(name "(Tensor self, " parameters ") -> Tensor",                             \
          [](Args& a) { return on_copy(a, [&](const Tensor& x) { __VA_ARGS__; }); }); \
  bind.op(                                                                            \
      name "_(Tensor self, " parameters ") -> Tensor",                                \
      [](Args& a) { return in_place(a, [&](const Tensor& x) { __VA_ARGS__; }); }, Where::Method)

// A tensor as it is, a number as a tensor without dimensions in x's dtype.
Tensor value_for(const Tensor& x, Args& a, int i) {
  return is_tensor(a.object(i)) ? a.tensor(i) : scalar_tensor(a.scalar(i), x.dtype());
}

void do_scatter(const Tensor& x, Args& a) {
  const std::string reduce = a.string(4);
  CR_CHECK(reduce.empty() || reduce == "add" || reduce == "multiply",
           "scatter: reduce argument must be either add or multiply, got '", reduce, "'");
  const Tensor src = value_for(x, a, 3);
  // A src without dimensions stands for one element of a vector; a number goes everywhere.
  const bool bare = is_tensor(a.object(3)) && src.dim() == 0;
  scatter_("scatter", x, a.integer(1), a.tensor(2), bare ? reshape(src, {1}) : src,
           reduce == "add"        ? Scatter::Add
           : reduce == "multiply" ? Scatter::Multiply
                                  : Scatter::Set);
}

void do_scatter_add(const Tensor& x, Args& a) {
  const Tensor src = a.tensor(3);
  scatter_("scatter_add", x, a.integer(1), a.tensor(2), src.dim() == 0 ? reshape(src, {1}) : src,
           Scatter::Add);
}

void do_index_put(const Tensor& x, Args& a) {
  std::vector<Tensor> indices;
  PyObject* list = a.object(1);
  CR_CHECK_TYPE(PyTuple_Check(list) || PyList_Check(list),
                "index_put: indices must be a tuple of Tensors, not ", Py_TYPE(list)->tp_name);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); ++i) {
    PyObject* o = PySequence_Fast_ITEMS(list)[i];
    CR_CHECK_TYPE(o == Py_None || is_tensor(o), "index_put: indices must be a tuple of Tensors, not ",
                  Py_TYPE(o)->tp_name, " at position ", i);
    indices.push_back(o == Py_None ? Tensor() : unwrap(o));
  }
  index_put_(x, indices, a.tensor(2), a.flag(3));
}

PyObject* as_tuple(const Tensor& x) {
  const Tensor rows = nonzero(x.dim() == 0 ? reshape(detach(x), {1}) : x);
  TensorList columns;
  for (int64_t d = 0; d < rows.size(1); ++d) columns.push_back(contiguous(select(rows, 1, d)));
  return wrap(columns);
}

}  // namespace

void bind_moving(Bind& bind) {
  bind.op("gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(gather(a.tensor(0), a.integer(1), a.tensor(2)), 4); });
  BOTH_FORMS("scatter", "int dim, Tensor index, Operand src, str? reduce=None", do_scatter(x, a));
  BOTH_FORMS("scatter_add", "int dim, Tensor index, Tensor src", do_scatter_add(x, a));
  bind.op("take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor", [](Args& a) {
    if (a.has(2)) return wrap(take_along_dim(a.tensor(0), a.tensor(1), a.integer(2)));
    return wrap(take_along_dim(reshape(a.tensor(0), {-1}), reshape(a.tensor(1), {-1}), 0));
  });
  bind.op("take(Tensor self, Tensor index) -> Tensor",
          [](Args& a) { return wrap(take(a.tensor(0), a.tensor(1))); });
  bind.op("index_select(Tensor self, int dim, Tensor index, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(index_select(a.tensor(0), a.integer(1), a.tensor(2)), 3); });
  BOTH_FORMS("index_add", "int dim, Tensor index, Tensor source, *, Scalar alpha=1",
             index_add_(x, a.integer(1), a.tensor(2), a.tensor(3), a.scalar(4)));
  BOTH_FORMS("index_copy", "int dim, Tensor index, Tensor source",
             index_copy_(x, a.integer(1), a.tensor(2), a.tensor(3)));
  BOTH_FORMS("index_fill", "int dim, Tensor index, Operand value",
             index_fill_(x, a.integer(1), a.tensor(2), value_for(x, a, 3)));
  BOTH_FORMS("index_put", "object indices, Tensor values, bool accumulate=False", do_index_put(x, a));
  bind.op("masked_fill(Tensor self, Tensor mask, Operand value) -> Tensor", [](Args& a) {
    const Tensor x = a.tensor(0);
    return wrap(masked_fill(x, a.tensor(1), value_for(x, a, 2)));
  });
  bind.op(
      "masked_fill_(Tensor self, Tensor mask, Operand value) -> Tensor",
      [](Args& a) {
        return in_place(a, [&](const Tensor& x) { masked_fill_(x, a.tensor(1), value_for(x, a, 2)); });
      },
      Where::Method);
  bind.op("masked_select(Tensor self, Tensor mask, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(masked_select(a.tensor(0), a.tensor(1)), 2); });
  bind.op("masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor", [](Args& a) {
    const Tensor x = a.tensor(0), mask = a.tensor(1);
    const Tensor y = clone(expand(x, broadcast_shapes("masked_scatter", x.sizes(), mask.sizes())));
    return wrap(masked_scatter_(contiguous(y), mask, a.tensor(2)));
  });
  bind.op(
      "masked_scatter_(Tensor self, Tensor mask, Tensor source) -> Tensor",
      [](Args& a) {
        return in_place(a, [&](const Tensor& x) { masked_scatter_(x, a.tensor(1), a.tensor(2)); });
      },
      Where::Method);
  bind.op("nonzero(Tensor self, *, bool as_tuple=False) -> object",
          [](Args& a) { return a.flag(1) ? as_tuple(a.tensor(0)) : wrap(nonzero(a.tensor(0))); });
  bind.op("argwhere(Tensor self) -> Tensor", [](Args& a) { return wrap(nonzero(a.tensor(0))); });
  bind.op(
      "where(Tensor condition, Operand? input=None, Operand? other=None, *, Tensor? out=None) -> object",
      [](Args& a) {
        CR_CHECK_TYPE(a.has(1) == a.has(2),
                      "where: takes either the condition alone, or input and other too");
        if (!a.has(1)) return as_tuple(a.tensor(0));
        return a.result(where(a.tensor(0), a.operand(1), a.operand(2), a.tensor(3)), 3);
      },
      Where::Function);
}

}  // namespace chainrule::python
