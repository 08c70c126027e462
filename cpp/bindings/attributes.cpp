// What a tensor tells about itself: attributes, sizes, and its place in the graph.
#include <cstring>

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "bindings/grad_fn.h"
#include "bindings/tensor_slots.h"
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

template <class F> PyObject* get(PyObject* self, F&& f) {
  return guarded<PyObject*>(nullptr, [&] { return f(unwrap(self)); });
}
#define GET(expression)                                                            \
  [](PyObject* self, void*) -> PyObject* {                                         \
    return get(self, []([[maybe_unused]] const Tensor& t) { return expression; }); \
  }

int set_requires_grad_attribute(PyObject* self, PyObject* value, void*) {
  return guarded(-1, [&] {
    CR_CHECK_TYPE(value != nullptr && PyBool_Check(value), "requires_grad must be a bool");
    set_requires_grad(unwrap(self), value == Py_True);
    return 0;
  });
}
PyObject* get_grad_attribute(PyObject* self, void*) {
  return guarded<PyObject*>(nullptr, [&]() -> PyObject* {
    const Tensor t = unwrap(self), g = grad_of(t);
    if (!g.defined() && t.requires_grad() && !is_leaf(t) && !t.impl()->autograd->retains_grad &&
        PyErr_WarnEx(PyExc_UserWarning,
                     "the .grad of a non-leaf Tensor is not filled by backward(); call .retain_grad() on it "
                     "before, or read the .grad of a leaf",
                     1) < 0)
      throw PythonError();
    return wrap(g);
  });
}
int set_grad_attribute(PyObject* self, PyObject* value, void*) {
  return guarded(-1, [&] {
    CR_CHECK_TYPE(value == nullptr || value == Py_None || is_tensor(value),
                  "assigned grad must be a Tensor or None, not ", Py_TYPE(value)->tp_name);
    set_grad(unwrap(self), value == nullptr || value == Py_None ? Tensor() : unwrap(value));
    return 0;
  });
}
// Another tensor's elements under the same object: what p.data = ... does.
int set_data_attribute(PyObject* self, PyObject* value, void*) {
  return guarded(-1, [&] {
    CR_CHECK_TYPE(value != nullptr && is_tensor(value), "data must be a Tensor");
    const Tensor t = unwrap(self), v = unwrap(value);
    CR_CHECK(!t.requires_grad() || v.is_floating(),
             "data: a tensor that requires grad must stay floating, got ", name_of(v.dtype()));
    TensorImpl &to = *t.impl(), &from = *v.impl();
    to.storage = from.storage;
    to.data = from.data;
    to.numel = from.numel;
    to.dtype = from.dtype;
    to.sizes = from.sizes;
    to.strides = from.strides;
    to.contiguous = from.contiguous;
    return 0;
  });
}

PyObject* base_of(const Tensor& t) {
  const AutogradMeta* m = t.impl()->autograd;
  return wrap(m && m->view ? m->view->base : Tensor());
}

Tensor swap_last_two(const Tensor& t) {
  CR_CHECK(t.dim() >= 2, "mT: only supported on tensors of at least 2 dimensions, got ", t.dim());
  return transpose(t, -2, -1);
}
Tensor reversed(const Tensor& t) {
  Dims order;
  for (int d = t.dim() - 1; d >= 0; --d) order.push_back(d);
  return permute(t, order);
}

template <DType to> void bind_cast(Bind& bind, const char* signature) {
  bind.op(signature, [](Args& a) { return wrap(to_dtype(a.tensor(0), to)); }, Where::Method);
}

// to(dtype), to(device), to(other), to(device, dtype), with copy=.
PyObject* to(Args& a) {
  Tensor t = a.tensor(0);
  DType dtype = t.dtype();
  for (int i : {1, 2, 3}) {
    PyObject* o = a.object(i);
    if (o == Py_None) continue;
    if (i == 1 && is_tensor(o))
      dtype = unwrap_impl(o)->dtype;
    else if (i != 3 && is_dtype(o))
      dtype = unwrap_dtype(o);
    else if (i == 2 || !is_device(o)) {
      if (i != 2 && PyUnicode_Check(o))
        throw Error(
            text("to: device '", PyUnicode_AsUTF8(o), "' is not available: chainrule runs on 'cpu' only"));
      throw TypeError(text("to: expected ",
                           i == 1   ? "a dtype, a device or a tensor"
                           : i == 2 ? "a dtype"
                                    : "a device",
                           ", not ", Py_TYPE(o)->tp_name));
    }
  }
  const Tensor y = to_dtype(t, dtype);
  return wrap(y.same(t) && a.flag(5) ? clone(t) : y);
}

}  // namespace

PyGetSetDef tensor_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {"dtype", GET(wrap(t.dtype())), nullptr, "The element type.", nullptr},
    {"shape", GET(wrap_size(t.sizes())), nullptr, "The sizes, as chainrule.Size.", nullptr},
    {"ndim", GET(PyLong_FromLong(t.dim())), nullptr, "The number of dimensions.", nullptr},
    {"device", GET(wrap_device()), nullptr, "device(type='cpu').", nullptr},
    {"itemsize", GET(PyLong_FromSize_t(t.item_bytes())), nullptr, "Bytes an element.", nullptr},
    {"nbytes", GET(PyLong_FromLongLong(t.numel() * static_cast<int64_t>(t.item_bytes()))), nullptr,
     "Bytes of all elements.", nullptr},
    {"requires_grad", GET(PyBool_FromLong(t.requires_grad())), set_requires_grad_attribute,
     "Whether gradients are computed for it.", nullptr},
    {"is_leaf", GET(PyBool_FromLong(is_leaf(t))), nullptr, "Whether no recorded operation made it.", nullptr},
    {"grad", get_grad_attribute, set_grad_attribute, "The gradient that backward() has accumulated, or None.",
     nullptr},
    {"grad_fn", GET(wrap_node(grad_fn_of(t))), nullptr, "The operation that made it, or None for leaves.",
     nullptr},
    {"output_nr",
     GET(PyLong_FromLong(t.impl()->autograd ? static_cast<long>(t.impl()->autograd->output) : 0)), nullptr,
     "Which result of grad_fn it is.", nullptr},
    {"retains_grad", GET(PyBool_FromLong(t.impl()->autograd && t.impl()->autograd->retains_grad)), nullptr,
     "Whether retain_grad() was called on a result.", nullptr},
    {"data", GET(wrap(data_of(t))), set_data_attribute,
     "The same elements outside of the graph; writes are not tracked.", nullptr},
    {"_version", GET(PyLong_FromUnsignedLong(t.version())), nullptr, "How often the memory was written.",
     nullptr},
    {"_base", GET(base_of(t)), nullptr, "The tensor that this is a view of, or None.", nullptr},
    {"T", GET(wrap(reversed(t))), nullptr, "Dimensions in reverse order.", nullptr},
    {"mT", GET(wrap(swap_last_two(t))), nullptr, "The last two dimensions exchanged.", nullptr},
    {"is_cpu", GET(PyBool_FromLong(1)), nullptr, "Always true.", nullptr},
    {"is_cuda", GET(PyBool_FromLong(0)), nullptr, "Always false.", nullptr},
    {}};

void bind_tensor(Bind& bind) {
  bind.op(
      "size(Tensor self, int? dim=None) -> object",
      [](Args& a) {
        const Tensor t = a.tensor(0);
        return a.has(1) ? PyLong_FromLongLong(t.size(check_dim("size", a.integer(1), t.dim())))
                        : wrap_size(t.sizes());
      },
      Where::Method);
  bind.op(
      "stride(Tensor self, int? dim=None) -> object",
      [](Args& a) {
        const Tensor t = a.tensor(0);
        if (a.has(1)) return PyLong_FromLongLong(t.stride(check_dim("stride", a.integer(1), t.dim())));
        Object all = Object::steal(PyTuple_New(t.dim()));
        for (int i = 0; i < t.dim(); ++i) PyTuple_SET_ITEM(all.get(), i, PyLong_FromLongLong(t.stride(i)));
        return all.release();
      },
      Where::Method);
  bind.op(
      "dim(Tensor self) -> int", [](Args& a) { return PyLong_FromLong(a.tensor(0).dim()); }, Where::Method);
  bind.alias("ndimension", "dim");
  bind.op("numel(Tensor self) -> int", [](Args& a) { return PyLong_FromLongLong(a.tensor(0).numel()); });
  bind.op(
      "nelement(Tensor self) -> int", [](Args& a) { return PyLong_FromLongLong(a.tensor(0).numel()); },
      Where::Method);
  bind.op(
      "element_size(Tensor self) -> int", [](Args& a) { return PyLong_FromSize_t(a.tensor(0).item_bytes()); },
      Where::Method);
  bind.op(
      "storage_offset(Tensor self) -> int",
      [](Args& a) { return PyLong_FromLongLong(a.tensor(0).storage_offset()); }, Where::Method);
  bind.op(
      "data_ptr(Tensor self) -> int", [](Args& a) { return PyLong_FromVoidPtr(a.tensor(0).bytes()); },
      Where::Method);
  bind.op(
      "is_contiguous(Tensor self) -> bool",
      [](Args& a) { return PyBool_FromLong(a.tensor(0).is_contiguous()); }, Where::Method);
  bind.op("is_floating_point(Tensor self) -> bool",
          [](Args& a) { return PyBool_FromLong(a.tensor(0).is_floating()); });
  bind.op(
      "is_tensor(object obj) -> bool", [](Args& a) { return PyBool_FromLong(is_tensor(a.object(0))); },
      Where::Function);
  bind.op(
      "is_inference(Tensor self) -> bool",
      [](Args& a) { return PyBool_FromLong(a.tensor(0).impl()->inference); }, Where::Method);
  bind.op("item(Tensor self) -> object", [](Args& a) { return wrap(item(a.tensor(0))); }, Where::Method);
  bind.op(
      "requires_grad_(Tensor self, bool requires_grad=True) -> Tensor",
      [](Args& a) {
        set_requires_grad(a.tensor(0), a.flag(1));
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op("detach(Tensor self) -> Tensor", [](Args& a) { return wrap(detach(a.tensor(0))); });
  bind.op("detach_(Tensor self) -> Tensor", [](Args& a) {
    detach_(a.tensor(0));
    return Py_NewRef(a.object(0));
  });
  bind.op("clone(Tensor self) -> Tensor", [](Args& a) { return wrap(clone(a.tensor(0))); });
  bind.op(
      "contiguous(Tensor self) -> Tensor", [](Args& a) { return wrap(contiguous(a.tensor(0))); },
      Where::Method);
  bind.op(
      "copy_(Tensor self, Operand src, bool non_blocking=False) -> Tensor",
      [](Args& a) {
        copy_(a.tensor(0), a.operand(1));
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op(
      "fill_(Tensor self, Operand value) -> Tensor",
      [](Args& a) {
        const Tensor v = a.operand(1);
        CR_CHECK(v.dim() == 0, "fill_: only supports a 0-dimensional value tensor, but got one with ",
                 v.dim(), " dimensions");
        if (is_tensor(a.object(1)))
          copy_(a.tensor(0), v);
        else
          fill_(a.tensor(0), unwrap_number(a.object(1)));
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op(
      "zero_(Tensor self) -> Tensor",
      [](Args& a) {
        fill_(a.tensor(0), 0, "zero");
        return Py_NewRef(a.object(0));
      },
      Where::Method);
  bind.op(
      "to(Tensor self, object target=None, object dtype=None, object device=None, bool non_blocking=False, bool copy=False) -> Tensor",
      [](Args& a) { return to(a); }, Where::Method);
  bind.op(
      "type_as(Tensor self, Tensor other) -> Tensor",
      [](Args& a) { return wrap(to_dtype(a.tensor(0), a.tensor(1).dtype())); }, Where::Method);
  bind.op(
      "type(Tensor self, DType? dtype=None) -> object",
      [](Args& a) -> PyObject* {
        static const char* const kinds[] = {"Bool", "Byte", "Int", "Long", "Float", "Double"};
        const Tensor x = a.tensor(0);
        if (a.has(1)) return wrap(to_dtype(x, unwrap_dtype(a.object(1))));
        return PyUnicode_FromFormat("chainrule.%sTensor", kinds[static_cast<int>(x.dtype())]);
      },
      Where::Method, "The tensor in another dtype; without one, the name of its own type.");
  bind.op("cpu(Tensor self) -> Tensor", [](Args& a) { return Py_NewRef(a.object(0)); }, Where::Method);
  bind_cast<DType::Float32>(bind, "float(Tensor self) -> Tensor");
  bind_cast<DType::Float64>(bind, "double(Tensor self) -> Tensor");
  bind_cast<DType::Int32>(bind, "int(Tensor self) -> Tensor");
  bind_cast<DType::Int64>(bind, "long(Tensor self) -> Tensor");
  bind_cast<DType::UInt8>(bind, "byte(Tensor self) -> Tensor");
  bind_cast<DType::Bool>(bind, "bool(Tensor self) -> Tensor");
  bind.op(
      "_make_subclass(object cls, Tensor data, bool require_grad=False) -> Tensor",
      [](Args& a) {
        CR_CHECK_TYPE(PyType_Check(a.object(0)) &&
                          PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(a.object(0)), tensor_type),
                      "_make_subclass: cls must be a subclass of Tensor");
        const Tensor t = detach(a.tensor(1));
        set_requires_grad(t, a.flag(2));
        return wrap_as(t, reinterpret_cast<PyTypeObject*>(a.object(0)));
      },
      Where::Function);
  bind.op(
      "as_subclass(Tensor self, object cls) -> Tensor",
      [](Args& a) {
        CR_CHECK_TYPE(PyType_Check(a.object(1)) &&
                          PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(a.object(1)), tensor_type),
                      "as_subclass: cls must be a subclass of Tensor");
        return wrap_as(view_as_alias(a.tensor(0)), reinterpret_cast<PyTypeObject*>(a.object(1)));
      },
      Where::Method, "The same elements, recorded, as an object of a subclass.");
  bind.op(
      "result_type(Operand tensor1, Operand tensor2) -> DType",
      [](Args& a) { return wrap(result_type(a.operand(0), a.operand(1))); }, Where::Function);
  bind.op(
      "promote_types(DType type1, DType type2) -> DType",
      [](Args& a) { return wrap(promote_types(unwrap_dtype(a.object(0)), unwrap_dtype(a.object(1)))); },
      Where::Function);
  bind.op(
      "can_cast(DType from_, DType to) -> bool",
      [](Args& a) { return PyBool_FromLong(can_cast(unwrap_dtype(a.object(0)), unwrap_dtype(a.object(1)))); },
      Where::Function);
  bind.op("get_default_dtype() -> DType", [](Args&) { return wrap(default_dtype()); }, Where::Function);
  bind.op(
      "set_default_dtype(DType d) -> None",
      [](Args& a) {
        set_default_dtype(unwrap_dtype(a.object(0)));
        Py_RETURN_NONE;
      },
      Where::Function);
}

}  // namespace chainrule::python
