// Products: matmul, einsum and their relatives, and linear.
#include "autograd/record.h"
#include "bindings/tensor_slots.h"
#include "bindings/topics.h"
#include "ops/einsum.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

// The pair of dimension lists of tensordot: a number, or two lists (of ints, or an int each).
void tensordot_dims(PyObject* given, const Tensor& a, Dims* left, Dims* right) {
  if (PyIndex_Check(given)) {
    const int64_t n = PyLong_AsLongLong(Object::steal(PyNumber_Index(given)).get());
    CR_CHECK(n >= 0 && n <= a.dim(), "tensordot: dims must be between 0 and ", a.dim(),
             ", the dimensions of the first tensor, but is ", n);
    for (int64_t d = 0; d < n; ++d) {
      left->push_back(a.dim() - n + d);
      right->push_back(d);
    }
    return;
  }
  Object pair =
      Object::steal(PySequence_Fast(given, "tensordot(): dims must be an int or a pair of lists of ints"));
  CR_CHECK(PySequence_Fast_GET_SIZE(pair.get()) == 2,
           "tensordot: dims must be an int or a pair of lists of ints");
  for (int side = 0; side < 2; ++side) {
    Dims& dims = side == 0 ? *left : *right;
    PyObject* list = PySequence_Fast_GET_ITEM(pair.get(), side);
    if (PyIndex_Check(list)) {
      dims.push_back(PyLong_AsLongLong(Object::steal(PyNumber_Index(list)).get()));
      continue;
    }
    Object items =
        Object::steal(PySequence_Fast(list, "tensordot(): dims must be an int or a pair of lists of ints"));
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
      dims.push_back(
          PyLong_AsLongLong(Object::steal(PyNumber_Index(PySequence_Fast_GET_ITEM(items.get(), i))).get()));
  }
  if (PyErr_Occurred()) throw PythonError();
}

template <Tensor (*f)(const Tensor&, const Tensor&, const Tensor&, const Scalar&, const Scalar&,
                      const Tensor&)>
void bind_add_product(Bind& bind, const std::string& name, const std::string& operands) {
  const std::string params = "(Tensor self, " + operands + ", *, Scalar beta=1, Scalar alpha=1";
  bind.op((name + params + ", Tensor? out=None) -> Tensor").c_str(), [](Args& a) {
    return a.result(f(a.tensor(0), a.tensor(1), a.tensor(2), a.scalar(3), a.scalar(4), a.tensor(5)), 5);
  });
  bind.op((name + "_" + params + ") -> Tensor").c_str(),
          [](Args& a) {
            const Tensor x = a.tensor(0), left = a.tensor(1), right = a.tensor(2);
            const bool recorded = recording(x, left, right);
            const Tensor y =
                f(recorded ? clone(x) : x, left, right, a.scalar(3), a.scalar(4), recorded ? Tensor() : x);
            CR_CHECK(y.sizes() == x.sizes(), a.signature.name, ": output of shape ", x.sizes(),
                     " cannot hold a result of shape ", y.sizes());
            copy_(x, y);
            return Py_NewRef(a.object(0));
          },
          Where::Method);
}

}  // namespace

PyObject* tensor_matmul(PyObject* a, PyObject* b) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    if (!is_tensor(a) || !is_tensor(b)) return Py_NewRef(Py_NotImplemented);
    return wrap(matmul(unwrap(a), unwrap(b)));
  });
}

void bind_linalg(Bind& bind, Bind& nn) {
  bind.op("matmul(Tensor self, Tensor other, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(matmul(a.tensor(0), a.tensor(1), a.tensor(2)), 2); });
  bind.op("mm(Tensor self, Tensor mat2, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(mm(a.tensor(0), a.tensor(1), a.tensor(2)), 2); });
  bind.op("bmm(Tensor self, Tensor mat2, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(bmm(a.tensor(0), a.tensor(1), a.tensor(2)), 2); });
  bind.op("mv(Tensor self, Tensor vec, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(mv(a.tensor(0), a.tensor(1), a.tensor(2)), 2); });
  bind.op("dot(Tensor self, Tensor tensor, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(dot(a.tensor(0), a.tensor(1), a.tensor(2)), 2); });
  bind.alias("vdot", "dot");
  bind.op("outer(Tensor self, Tensor vec2, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(outer(a.tensor(0), a.tensor(1)), 2); });
  bind.alias("ger", "outer");
  bind.op("inner(Tensor self, Tensor other, *, Tensor? out=None) -> Tensor",
          [](Args& a) { return a.result(inner(a.tensor(0), a.tensor(1)), 2); });
  bind_add_product<addmm>(bind, "addmm", "Tensor mat1, Tensor mat2");
  bind_add_product<addmv>(bind, "addmv", "Tensor mat, Tensor vec");
  bind_add_product<baddbmm>(bind, "baddbmm", "Tensor batch1, Tensor batch2");
  bind.op(
      "einsum(str equation, *Tensor[] operands) -> Tensor",
      [](Args& a) { return wrap(einsum(a.string(0), a.tensors(1))); }, Where::Function,
      "Sums products of the operands over indices, as in 'bij,bjk->bik'.");
  bind.op(
      "tensordot(Tensor a, Tensor b, object dims=2, Tensor? out=None) -> Tensor",
      [](Args& a) {
        const Tensor left = a.tensor(0);
        Dims dims_a, dims_b;
        tensordot_dims(a.object(2), left, &dims_a, &dims_b);
        return a.result(tensordot(left, a.tensor(1), dims_a, dims_b), 3);
      },
      Where::Function);
  nn.op(
      "linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
      [](Args& a) { return wrap(linear(a.tensor(0), a.tensor(1), a.tensor(2))); }, Where::Function);
}

}  // namespace chainrule::python
