// nn.functional's convolution, pooling and attention.
#include "ops/conv.h"
#include "bindings/topics.h"
#include "ops/attention.h"
#include "ops/pool.h"

namespace chainrule::python {
namespace {

Dims numbers(const char* op, const char* name, PyObject* o) {
  Dims dims;
  auto add = [&](PyObject* v) {
    if (!PyIndex_Check(v) || PyBool_Check(v))
      throw TypeError(
          text(op, "(): argument '", name, "' must be an int or a tuple of ints, not ", Py_TYPE(v)->tp_name));
    dims.push_back(PyLong_AsLongLong(Object::steal(PyNumber_Index(v)).get()));
    if (dims.back() == -1 && PyErr_Occurred()) throw PythonError();
  };
  if (!PyTuple_Check(o) && !PyList_Check(o)) {
    add(o);
    return dims;
  }
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i) add(PySequence_Fast_ITEMS(o)[i]);
  return dims;
}

// The sizes of adaptive pooling: an int for both, or a pair in which None keeps the input's.
Dims adaptive_sizes(PyObject* o, const Tensor& x) {
  if (!PyTuple_Check(o) && !PyList_Check(o)) {
    const Dims one = numbers("adaptive_avg_pool2d", "output_size", o);
    return {one[0], one[0]};
  }
  CR_CHECK(
      PySequence_Fast_GET_SIZE(o) == 2 && x.dim() >= 2,
      "adaptive_avg_pool2d: output_size must be an int or two of them, for an image, but input has shape ",
      x.sizes());
  Dims sizes;
  for (int i = 0; i < 2; ++i) {
    PyObject* v = PySequence_Fast_ITEMS(o)[i];
    sizes.push_back(v == Py_None ? x.size(i - 2) : numbers("adaptive_avg_pool2d", "output_size", v)[0]);
  }
  return sizes;
}

}  // namespace

void bind_conv(Bind& nn) {
  nn.op(
      "conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, object padding=0, int[] dilation=1, "
      "int groups=1) -> Tensor",
      [](Args& a) {
        const bool named = PyUnicode_Check(a.object(4));
        const std::string mode = named ? a.string(4) : "";
        CR_CHECK(!named || mode == "same" || mode == "valid",
                 "conv2d: padding must be 'same', 'valid' or numbers, but is '", mode, "'");
        return wrap(conv2d(a.tensor(0), a.tensor(1), a.tensor(2), a.dims(3),
                           named ? Dims{0} : numbers("conv2d", "padding", a.object(4)), a.dims(5),
                           a.integer(6), mode));
      },
      Where::Function);
  nn.op(
      "max_pool2d(Tensor input, int[] kernel_size, int[]? stride=None, int[] padding=0, int[] dilation=1, "
      "bool ceil_mode=False, bool return_indices=False) -> Tensor",
      [](Args& a) {
        const MaxPool p = max_pool2d(a.tensor(0), a.dims(1), a.dims(2), a.dims(3), a.dims(4), a.flag(5));
        return a.flag(6) ? wrap(TensorList{p.values, p.indices}) : wrap(p.values);
      },
      Where::Function);
  nn.op(
      "avg_pool2d(Tensor input, int[] kernel_size, int[]? stride=None, int[] padding=0, bool ceil_mode=False, "
      "bool count_include_pad=True, int? divisor_override=None) -> Tensor",
      [](Args& a) {
        return wrap(avg_pool2d(a.tensor(0), a.dims(1), a.dims(2), a.dims(3), a.flag(4), a.flag(5),
                               a.has(6) ? std::optional(a.integer(6)) : std::nullopt));
      },
      Where::Function);
  nn.op(
      "adaptive_avg_pool2d(Tensor input, object output_size) -> Tensor",
      [](Args& a) {
        return wrap(adaptive_avg_pool2d(a.tensor(0), adaptive_sizes(a.object(1), a.tensor(0))));
      },
      Where::Function);
  nn.op(
      "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, "
      "float dropout_p=0.0, bool is_causal=False, float? scale=None, bool enable_gqa=False) -> Tensor",
      [](Args& a) {
        return wrap(scaled_dot_product_attention(
            a.tensor(0), a.tensor(1), a.tensor(2), a.tensor(3), a.number(4), a.flag(5),
            a.has(6) ? std::optional(a.number(6)) : std::nullopt, a.flag(7), default_generator()));
      },
      Where::Function);
}

}  // namespace chainrule::python
