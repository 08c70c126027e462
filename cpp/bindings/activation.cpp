// The activations of torch.nn.functional; softmax and log_softmax, which are methods, too.
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/softmax.h"

namespace chainrule::python {
namespace {

// torch.nn.functional's activations: (input, parameters, inplace).
template <Unary f> PyObject* activation(Args& a, const double* p, int inplace) {
  if (!a.flag(inplace)) return wrap(apply(f, a.tensor(0), p));
  apply_in_place(f, a.tensor(0), p);
  return Py_NewRef(a.object(0));
}

void bind_elementwise_activations(Bind& nn) {
  nn.op(
      "relu(Tensor input, bool inplace=False) -> Tensor",
      [](Args& a) { return activation<Unary::relu>(a, nullptr, 1); }, Where::Function);
  nn.op(
      "silu(Tensor input, bool inplace=False) -> Tensor",
      [](Args& a) { return activation<Unary::silu>(a, nullptr, 1); }, Where::Function);
  nn.op(
      "mish(Tensor input, bool inplace=False) -> Tensor",
      [](Args& a) { return activation<Unary::mish>(a, nullptr, 1); }, Where::Function);
  nn.op(
      "sigmoid(Tensor input) -> Tensor", [](Args& a) { return wrap(sigmoid(a.tensor(0))); }, Where::Function);
  nn.op("tanh(Tensor input) -> Tensor", [](Args& a) { return wrap(tanh(a.tensor(0))); }, Where::Function);
  nn.op(
      "leaky_relu(Tensor input, float negative_slope=0.01, bool inplace=False) -> Tensor",
      [](Args& a) {
        const double p[2] = {a.number(1), 0};
        return activation<Unary::leaky_relu>(a, p, 2);
      },
      Where::Function);
  nn.op(
      "elu(Tensor input, float alpha=1.0, bool inplace=False) -> Tensor",
      [](Args& a) {
        const double p[2] = {a.number(1), 0};
        return activation<Unary::elu>(a, p, 2);
      },
      Where::Function);
  nn.op(
      "softplus(Tensor input, float beta=1.0, float threshold=20.0) -> Tensor",
      [](Args& a) {
        const double p[2] = {a.number(1), a.number(2)};
        return wrap(apply(Unary::softplus, a.tensor(0), p));
      },
      Where::Function);
  nn.op(
      "gelu(Tensor input, *, str approximate='none') -> Tensor",
      [](Args& a) {
        const std::string form = a.string(1);
        CR_CHECK(form == "none" || form == "tanh",
                 "gelu: approximate argument must be either none or tanh, got '", form, "'");
        return wrap(form == "none" ? gelu(a.tensor(0)) : gelu_tanh(a.tensor(0)));
      },
      Where::Function);
}

// Without dim: PyTorch's old choice, which it warns about.
int64_t dim_or_implicit(const Args& a, const char* op) {
  if (a.has(1)) return a.integer(1);
  if (PyErr_WarnFormat(
          PyExc_UserWarning, 1,
          "Implicit dimension choice for %s has been deprecated. Change the call to include dim=X as an "
          "argument.",
          op) < 0)
    throw PythonError();
  const int n = a.tensor(0).dim();
  return n == 0 || n == 1 || n == 3 ? 0 : 1;
}

void bind_softmax(Bind& core, Bind& nn) {
  core.op(
      "softmax(Tensor self, int dim, *, DType? dtype=None) -> Tensor",
      [](Args& a) { return wrap(softmax(converted(a, 2), a.integer(1))); }, Where::Both,
      "exp(x) divided by its sum along dim.");
  core.op(
      "log_softmax(Tensor self, int dim, *, DType? dtype=None) -> Tensor",
      [](Args& a) { return wrap(log_softmax(converted(a, 2), a.integer(1))); }, Where::Both,
      "The logarithm of softmax along dim, without overflow.");
  nn.op(
      "softmax(Tensor input, int? dim=None, int _stacklevel=3, DType? dtype=None) -> Tensor",
      [](Args& a) { return wrap(softmax(converted(a, 3), dim_or_implicit(a, "softmax"))); }, Where::Function,
      "exp(x) divided by its sum along dim.");
  nn.op(
      "log_softmax(Tensor input, int? dim=None, int _stacklevel=3, DType? dtype=None) -> Tensor",
      [](Args& a) { return wrap(log_softmax(converted(a, 3), dim_or_implicit(a, "log_softmax"))); },
      Where::Function, "The logarithm of softmax along dim, without overflow.");
}

}  // namespace

void bind_activations(Bind& core, Bind& nn) {
  bind_elementwise_activations(nn);
  bind_softmax(core, nn);
}

}  // namespace chainrule::python
