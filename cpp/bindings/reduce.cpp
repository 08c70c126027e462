// Reductions, running sums and products.
#include "ops/reduce.h"

#include "bindings/return_types.h"
#include "bindings/topics.h"
#include "ops/elementwise.h"

namespace chainrule::python {
namespace {

// An argument that an overload allows to be a dimension or several.
Dims dims_of(const char* op, PyObject* o) {
  Dims dims;
  if (o == Py_None) return dims;
  const auto one = [&](PyObject* item) {
    CR_CHECK_TYPE(PyIndex_Check(item) && !PyBool_Check(item), op,
                  "(): dim must be int or tuple of ints, not ", Py_TYPE(item)->tp_name);
    const Object number = Object::steal(PyNumber_Index(item));
    const int64_t value = PyLong_AsLongLong(number.get());
    if (value == -1 && PyErr_Occurred()) throw PythonError();
    dims.push_back(value);
  };
  if (!PyTuple_Check(o) && !PyList_Check(o)) {
    one(o);
    return dims;
  }
  const Object items = Object::steal(PySequence_Fast(o, "dim"));
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
    one(PySequence_Fast_GET_ITEM(items.get(), i));
  return dims;
}

// Sums and products of integers are int64 unless dtype says otherwise.
PyObject* total(const Args& a, const Tensor& y, int dtype, int out) {
  return a.result(a.has(dtype) ? to_dtype(y, unwrap_dtype(a.object(dtype))) : y, out);
}

void bind_sums(Bind& bind) {
  bind.op(
      "sum(Tensor self, int[]? dim=None, bool keepdim=False, *, DType? dtype=None, Tensor? out=None) -> Tensor",
      [](Args& a) { return total(a, sum(converted(a, 3), a.dims(1), a.flag(2)), 3, 4); }, Where::Both,
      "The sum over all dimensions or those in dim; of integers and bool in int64.");
  bind.op(
      "mean(Tensor self, int[]? dim=None, bool keepdim=False, *, DType? dtype=None, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(mean(converted(a, 3), a.dims(1), a.flag(2)), 4); }, Where::Both,
      "The mean over all dimensions or those in dim.");
  bind.op(
      "prod(Tensor self, int[]? dim=None, bool keepdim=False, *, DType? dtype=None, Tensor? out=None) -> Tensor",
      [](Args& a) { return total(a, prod(converted(a, 3), a.dims(1), a.flag(2)), 3, 4); }, Where::Both,
      "The product over all dimensions or those in dim; of integers and bool in int64.");
  bind.op(
      "cumsum(Tensor self, int dim, *, DType? dtype=None, Tensor? out=None) -> Tensor",
      [](Args& a) { return total(a, cumsum(converted(a, 2), a.integer(1)), 2, 3); }, Where::Both,
      "The sums of all elements up to each one along dim.");
  bind.op(
      "cumprod(Tensor self, int dim, *, DType? dtype=None, Tensor? out=None) -> Tensor",
      [](Args& a) { return total(a, cumprod(converted(a, 2), a.integer(1)), 2, 3); }, Where::Both,
      "The products of all elements up to each one along dim.");
  bind.op(
      "logsumexp(Tensor self, int[] dim, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(logsumexp(a.tensor(0), a.dims(1), a.flag(2)), 3); }, Where::Both,
      "log(sum(exp(self))) over dim, without overflow.");
  bind.op(
      "all(Tensor self, int[]? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(all(a.tensor(0), a.dims(1), a.flag(2)), 3); }, Where::Both,
      "Whether all elements are true.");
  bind.op(
      "any(Tensor self, int[]? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(any(a.tensor(0), a.dims(1), a.flag(2)), 3); }, Where::Both,
      "Whether any element is true.");
}

// max(x), max(x, dim, keepdim) and max(x, other) share a name.
PyObject* extremum(Args& a, const char* op, Tensor (*whole)(const Tensor&),
                   Extremum (*along)(const Tensor&, int64_t, bool), Binary elementwise) {
  PyObject* second = a.has(3) ? a.object(3) : a.object(1);
  if (is_tensor(second) || second == Py_None) {
    CR_CHECK_TYPE(!a.has(4) || is_tensor(a.object(4)), op, "(): argument 'out' must be Tensor, not ",
                  Py_TYPE(a.object(4))->tp_name);
    const Tensor x = a.tensor(0);
    return a.result(second == Py_None ? whole(x) : apply(elementwise, x, unwrap(second), a.tensor(4)), 4);
  }
  const Dims dims = dims_of(op, second);
  CR_CHECK_TYPE(dims.size() == 1, op, "(): takes one dim or none; amax and amin take several");
  const Extremum e = along(a.tensor(0), dims[0], a.flag(2));
  return values_and_indices(op, e.values, e.indices, a, 4);
}

void bind_extrema(Bind& bind) {
  bind.op(
      "max(Tensor self, object dim=None, bool keepdim=False, *, Tensor? other=None, object out=None) -> object",
      [](Args& a) { return extremum(a, "max", max_all, max_along, Binary::maximum); }, Where::Both,
      "The largest element; with dim the largest along it and their indices (values, indices); with a second tensor "
      "the larger of each pair. NaN counts as the largest.");
  bind.op(
      "min(Tensor self, object dim=None, bool keepdim=False, *, Tensor? other=None, object out=None) -> object",
      [](Args& a) { return extremum(a, "min", min_all, min_along, Binary::minimum); }, Where::Both,
      "The smallest element; with dim the smallest along it and their indices (values, indices); with a second tensor "
      "the smaller of each pair. NaN counts as the smallest.");
  bind.op(
      "amax(Tensor self, int[]? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(amax(a.tensor(0), a.dims(1), a.flag(2)), 3); }, Where::Both,
      "The largest elements over dim; equal ones share the gradient.");
  bind.op(
      "amin(Tensor self, int[]? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) { return a.result(amin(a.tensor(0), a.dims(1), a.flag(2)), 3); }, Where::Both,
      "The smallest elements over dim; equal ones share the gradient.");
  bind.op(
      "argmax(Tensor self, int? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) {
        return a.result(argmax(a.tensor(0), a.has(1) ? std::optional(a.integer(1)) : std::nullopt, a.flag(2)),
                        3);
      },
      Where::Both, "The first index of the largest element, of all or along dim.");
  bind.op(
      "argmin(Tensor self, int? dim=None, bool keepdim=False, *, Tensor? out=None) -> Tensor",
      [](Args& a) {
        return a.result(argmin(a.tensor(0), a.has(1) ? std::optional(a.integer(1)) : std::nullopt, a.flag(2)),
                        3);
      },
      Where::Both, "The first index of the smallest element, of all or along dim.");
}

// var(x, dim, unbiased, keepdim), var(x, unbiased) and var(x, dim, *, correction, keepdim).
struct Spread {
  Dims dims;
  double correction = 1;
  Spread(const Args& a, const char* op) {
    PyObject *dim = a.object(1), *unbiased = a.object(2);
    if (PyBool_Check(dim)) std::swap(dim, unbiased), dim = Py_None;
    dims = dims_of(op, dim);
    if (PyBool_Check(unbiased))
      correction = unbiased == Py_True ? 1 : 0;
    else
      CR_CHECK_TYPE(unbiased == Py_None, op, "(): unbiased must be bool, not ", Py_TYPE(unbiased)->tp_name);
    if (a.has(4)) correction = a.scalar(4).as<double>();
  }
};

double order_of_norm(PyObject* p) {
  if (p == Py_None) return 2;
  if (PyUnicode_Check(p)) {
    CR_CHECK(PyUnicode_CompareWithASCIIString(p, "fro") == 0,
             "norm: order must be a number, inf, -inf or 'fro'");
    return 2;
  }
  CR_CHECK_TYPE(is_number(p), "norm(): p must be a number or str, not ", Py_TYPE(p)->tp_name);
  return unwrap_number(p).as<double>();
}

void bind_statistics(Bind& bind) {
  bind.op(
      "var(Tensor self, object dim=None, object unbiased=None, bool keepdim=False, *, Scalar? correction=None, "
      "Tensor? out=None) -> Tensor",
      [](Args& a) {
        const Spread s(a, "var");
        return a.result(var(a.tensor(0), s.dims, s.correction, a.flag(3)), 5);
      },
      Where::Both, "The variance over dim: squared distances from the mean, divided by n - correction.");
  bind.op(
      "std(Tensor self, object dim=None, object unbiased=None, bool keepdim=False, *, Scalar? correction=None, "
      "Tensor? out=None) -> Tensor",
      [](Args& a) {
        const Spread s(a, "std");
        return a.result(standard_deviation(a.tensor(0), s.dims, s.correction, a.flag(3)), 5);
      },
      Where::Both, "The square root of the variance over dim.");
  bind.op(
      "var_mean(Tensor self, object dim=None, object unbiased=None, bool keepdim=False, *, Scalar? correction=None) "
      "-> Tensor[]",
      [](Args& a) {
        const Spread s(a, "var_mean");
        return wrap(TensorList{var(a.tensor(0), s.dims, s.correction, a.flag(3)),
                               mean(a.tensor(0), s.dims, a.flag(3))});
      },
      Where::Function, "The variance and the mean over dim.");
  bind.op(
      "norm(Tensor self, object p='fro', int[]? dim=None, bool keepdim=False, Tensor? out=None, "
      "DType? dtype=None) -> Tensor",
      [](Args& a) {
        return a.result(norm(converted(a, 5), order_of_norm(a.object(1)), a.dims(2), a.flag(3)), 4);
      },
      Where::Function, "The p-norm of all elements or over dim: sum(|x|^p)^(1/p).");
  bind.op(
      "norm(Tensor self, object p='fro', int[]? dim=None, bool keepdim=False, DType? dtype=None) -> Tensor",
      [](Args& a) { return wrap(norm(converted(a, 4), order_of_norm(a.object(1)), a.dims(2), a.flag(3))); },
      Where::Method, "The p-norm of all elements or over dim: sum(|x|^p)^(1/p).");
}

}  // namespace

void bind_reduce(Bind& core) {
  bind_sums(core);
  bind_extrema(core);
  bind_statistics(core);
}

}  // namespace chainrule::python
