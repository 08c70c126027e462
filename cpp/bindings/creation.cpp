// Tensors from sizes and numbers: zeros, full, arange, ..., their *_like and new_* forms.
#include "ops/creation.h"
#include "autograd/meta.h"
#include "bindings/factory.h"
#include "bindings/topics.h"
#include "ops/fill.h"

namespace chainrule::python {

DType Factory::dtype(DType otherwise) const {
  if (out < 0 || !a.has(out)) return a.dtype(first, otherwise);
  const DType given = a.tensor(out).dtype(), wanted = a.dtype(first, given);
  CR_CHECK(wanted == given, a.signature.name, ": dtype ", name_of(wanted),
           " does not match dtype of out parameter (", name_of(given), ")");
  return given;
}

PyObject* Factory::result(const Tensor& t) const {
  Object made = Object::steal(out < 0 ? a.result(t) : a.result(t, out));
  if (a.flag(first + 2)) set_requires_grad(unwrap(made.get()), true);
  return made.release();
}

namespace {

Tensor filled(const Tensor& t, const Scalar& value) {
  fill_raw(t, value);
  return t;
}

// The number that `name` fills with: zeros, ones.
template <int value> PyObject* filled_with(Args& a) {
  const Factory f{a, 2, 1};
  return f.result(full(a.dims(0), value, f.dtype(default_dtype())));
}
template <int value> PyObject* like_filled_with(Args& a) {
  const Factory f{a, 1};
  const Tensor x = a.tensor(0);
  return f.result(filled(empty_as(x, f.dtype(x.dtype())), value));
}
template <int value> PyObject* new_filled_with(Args& a) {
  const Factory f{a, 2};
  return f.result(full(a.dims(1), value, f.dtype(a.tensor(0).dtype())));
}

PyObject* full_of(Args& a) {
  const Factory f{a, 3, 2};
  const Scalar value = a.scalar(1);
  const DType dtype = f.dtype(dtype_of_scalar(value));
  check_fits("full", value, dtype);
  return f.result(full(a.dims(0), value, dtype));
}

PyObject* full_like(Args& a) {
  const Factory f{a, 2};
  const Tensor x = a.tensor(0);
  const DType dtype = f.dtype(x.dtype());
  check_fits("full_like", a.scalar(1), dtype);
  return f.result(filled(empty_as(x, dtype), a.scalar(1)));
}

PyObject* new_full(Args& a) {
  const Factory f{a, 3};
  const DType dtype = f.dtype(a.tensor(0).dtype());
  check_fits("new_full", a.scalar(2), dtype);
  return f.result(full(a.dims(1), a.scalar(2), dtype));
}

PyObject* arange_to(Args& a) {
  const Factory f{a, 4, 3};
  CR_CHECK_TYPE(a.has(0) || a.has(1), "arange() missing required argument 'end' (position 1)");
  // With one number it is the end.
  const Scalar start = a.has(0) && a.has(1) ? a.scalar(0) : Scalar(0);
  const Scalar end = a.scalar(a.has(1) ? 1 : 0), step = a.scalar(2);
  return f.result(arange(start, end, step, f.dtype(arange_dtype(start, end, step))));
}

}  // namespace

void bind_creation(Bind& core) {
  const auto function = Where::Function, method = Where::Method;
  core.op("zeros(*int[] size, *, Tensor? out=None, " CR_FACTORY ") -> Tensor", filled_with<0>, function);
  core.op("ones(*int[] size, *, Tensor? out=None, " CR_FACTORY ") -> Tensor", filled_with<1>, function);
  core.op(
      "empty(*int[] size, *, Tensor? out=None, " CR_FACTORY ") -> Tensor",
      [](Args& a) {
        const Factory f{a, 2, 1};
        return f.result(empty(a.dims(0), f.dtype(default_dtype())));
      },
      function, "Uninitialised.");
  core.op("full(int[] size, Scalar fill_value, *, Tensor? out=None, " CR_FACTORY ") -> Tensor", full_of,
          function);

  core.op("zeros_like(Tensor self, *, " CR_FACTORY ") -> Tensor", like_filled_with<0>, function);
  core.op("ones_like(Tensor self, *, " CR_FACTORY ") -> Tensor", like_filled_with<1>, function);
  core.op(
      "empty_like(Tensor self, *, " CR_FACTORY ") -> Tensor",
      [](Args& a) {
        const Factory f{a, 1};
        return f.result(empty_as(a.tensor(0), f.dtype(a.tensor(0).dtype())));
      },
      function, "Uninitialised.");
  core.op("full_like(Tensor self, Scalar fill_value, *, " CR_FACTORY ") -> Tensor", full_like, function);

  core.op("new_zeros(Tensor self, *int[] size, *, " CR_FACTORY ") -> Tensor", new_filled_with<0>, method);
  core.op("new_ones(Tensor self, *int[] size, *, " CR_FACTORY ") -> Tensor", new_filled_with<1>, method);
  core.op(
      "new_empty(Tensor self, *int[] size, *, " CR_FACTORY ") -> Tensor",
      [](Args& a) {
        const Factory f{a, 2};
        return f.result(empty(a.dims(1), f.dtype(a.tensor(0).dtype())));
      },
      method, "Uninitialised.");
  core.op("new_full(Tensor self, int[] size, Scalar fill_value, *, " CR_FACTORY ") -> Tensor", new_full,
          method);

  core.op("arange(Scalar? start=None, Scalar? end=None, Scalar step=1, *, Tensor? out=None, " CR_FACTORY
          ") -> Tensor",
          arange_to, function,
          "start, start + step, ... up to but without end. One number alone is the end.");
  core.op(
      "linspace(Scalar start, Scalar end, int steps, *, Tensor? out=None, " CR_FACTORY ") -> Tensor",
      [](Args& a) {
        const Factory f{a, 4, 3};
        return f.result(linspace(a.scalar(0), a.scalar(1), a.integer(2), f.dtype(default_dtype())));
      },
      function, "Evenly spaced numbers from start to end, both included.");
  core.op(
      "eye(int n, int? m=None, *, Tensor? out=None, " CR_FACTORY ") -> Tensor",
      [](Args& a) {
        const Factory f{a, 3, 2};
        return f.result(eye(a.integer(0), a.integer(a.has(1) ? 1 : 0), f.dtype(default_dtype())));
      },
      function, "Ones on the diagonal, zeros elsewhere.");
}

}  // namespace chainrule::python
