// Tensors from Python data and back: nested lists, NumPy arrays and DLPack without a copy, the buffer protocol.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "bindings/dlpack.h"
#include "bindings/tensor_slots.h"
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/join.h"
#include "ops/views.h"

namespace py = pybind11;

namespace chainrule::python {
namespace {

// ---- NumPy ----

std::optional<DType> dtype_of_array(const py::dtype& d) {
  switch (d.kind()) {
    case 'b': return DType::Bool;
    case 'u': return d.itemsize() == 1 ? std::optional(DType::UInt8) : std::nullopt;
    case 'i':
      return d.itemsize() == 4   ? std::optional(DType::Int32)
             : d.itemsize() == 8 ? std::optional(DType::Int64)
                                 : std::nullopt;
    case 'f':
      return d.itemsize() == 4   ? std::optional(DType::Float32)
             : d.itemsize() == 8 ? std::optional(DType::Float64)
                                 : std::nullopt;
    default: return std::nullopt;
  }
}

DType checked_dtype(const char* op, const py::array& array) {
  const auto dtype = dtype_of_array(array.dtype());
  CR_CHECK_TYPE(dtype.has_value(), op, ": can't convert a numpy array of type ",
                std::string(py::str(array.dtype())),
                "; the supported types are float64, float32, int64, int32, uint8 and bool");
  CR_CHECK_VALUE(
      array.dtype().byteorder() == '=' || array.dtype().byteorder() == '|', op,
      ": given numpy array has byte order different from the native byte order. Conversion between byte "
      "orders is currently not supported.");
  return *dtype;
}

void release_object(void* object) {
  if (!Py_IsInitialized()) return;
  const PyGILState_STATE gil = PyGILState_Ensure();
  Py_DECREF(static_cast<PyObject*>(object));
  PyGILState_Release(gil);
}

Tensor share_array(const char* op, const py::array& array) {
  const DType dtype = checked_dtype(op, array);
  Dims sizes, strides;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    const py::ssize_t stride = array.strides(i);
    CR_CHECK_VALUE(
        stride >= 0 || array.shape(i) <= 1, op,
        ": At least one stride in the given numpy array is negative, and tensors with negative strides are "
        "not supported. (You can probably work around this by making a copy of your array with array.copy().)");
    CR_CHECK_VALUE(
        stride % array.itemsize() == 0 || array.shape(i) <= 1, op,
        ": given numpy array strides are not a multiple of the element byte size. Copy the numpy array to "
        "reallocate the memory.");
    sizes.push_back(array.shape(i));
    strides.push_back(array.shape(i) <= 1 ? std::max<py::ssize_t>(stride / array.itemsize(), 0)
                                          : stride / array.itemsize());
  }
  return wrap_memory(const_cast<void*>(array.data()), sizes, strides, dtype, array.writeable(),
                     Py_NewRef(array.ptr()), release_object);
}

// A copy of any array of those types, whatever its strides.
Tensor copy_array(const char* op, const py::array& array) {
  checked_dtype(op, array);
  const auto c = py::reinterpret_borrow<py::array>(array.attr("copy")(py::arg("order") = "C"));
  return share_array(op, c);
}

py::array as_array(const Tensor& t, py::handle owner) {
  static const char* const names[] = {"?", "u1", "i4", "i8", "f4", "f8"};
  std::vector<py::ssize_t> shape(t.sizes().begin(), t.sizes().end()), strides;
  for (int64_t s : t.strides()) strides.push_back(s * static_cast<py::ssize_t>(t.item_bytes()));
  py::array a(py::dtype(names[static_cast<int>(t.dtype())]), shape, strides, t.bytes(), owner);
  if (!t.storage().writable) a.attr("flags").attr("writeable") = false;
  return a;
}

PyObject* to_numpy(PyObject* self, bool force) {
  Tensor t = unwrap(self);
  CR_CHECK(force || !t.requires_grad(),
           "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.");
  return as_array(t, self).release().ptr();
}

// ---- nested sequences ----

// What the elements of a nested list have in common.
struct Nested {
  Dims sizes;
  std::optional<DType> found;

  void see(DType dtype) { found = found ? promote_types(*found, dtype) : dtype; }

  void shape_of(PyObject* o, int depth = 0) {
    CR_CHECK_VALUE(depth < kMaxDims, "tensor: too many dimensions in the nested sequence");
    if (!PyList_Check(o) && !PyTuple_Check(o)) return;
    sizes.push_back(PySequence_Fast_GET_SIZE(o));
    if (PySequence_Fast_GET_SIZE(o) > 0) shape_of(PySequence_Fast_ITEMS(o)[0], depth + 1);
  }
  void scan(PyObject* o, int depth) {
    if (PyList_Check(o) || PyTuple_Check(o)) {
      CR_CHECK_VALUE(depth < sizes.size(), "tensor: too many dimensions at dim ", depth,
                     ": expected a number");
      CR_CHECK_VALUE(PySequence_Fast_GET_SIZE(o) == sizes[depth], "tensor: expected sequence of length ",
                     sizes[depth], " at dim ", depth, " (got ", PySequence_Fast_GET_SIZE(o), ")");
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
        scan(PySequence_Fast_ITEMS(o)[i], depth + 1);
      return;
    }
    CR_CHECK_VALUE(depth == sizes.size(), "tensor: expected a sequence at dim ", depth, ", got ",
                   Py_TYPE(o)->tp_name);
    if (is_tensor(o)) {
      see(unwrap_impl(o)->dtype);
      return;
    }
    CR_CHECK_TYPE(is_number(o), "tensor: could not make a number of an element of type ",
                  Py_TYPE(o)->tp_name);
    if (PyFloat_CheckExact(o)) return see(default_dtype());
    if (PyLong_Check(o)) return see(PyBool_Check(o) ? DType::Bool : DType::Int64);
    std::optional<DType> own;
    if (PyObject_HasAttrString(o, "dtype"))  // a number of NumPy's
      own = dtype_of_array(py::array::ensure(py::reinterpret_borrow<py::object>(o)).dtype());
    see(own ? *own : dtype_of_scalar(unwrap_number(o)));
  }
  DType dtype() const { return found.value_or(default_dtype()); }
};

template <class T> void fill_from(PyObject* o, T*& out) {
  if (PyList_Check(o) || PyTuple_Check(o)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i) fill_from(PySequence_Fast_ITEMS(o)[i], out);
  } else if (PyFloat_CheckExact(o)) {
    if constexpr (std::is_integral_v<T>) check_fits(PyFloat_AS_DOUBLE(o), dtype_of<T>);
    *out++ = static_cast<T>(PyFloat_AS_DOUBLE(o));
  } else {
    const Scalar s = unwrap_number(o);
    check_fits(s, dtype_of<T>);
    *out++ = s.as<T>();
  }
}

bool holds(PyObject* o, bool (*what)(PyObject*)) {
  if (!PyList_Check(o) && !PyTuple_Check(o)) return what(o);
  return PySequence_Fast_GET_SIZE(o) > 0 && holds(PySequence_Fast_ITEMS(o)[0], what);
}
bool is_array(PyObject* o) { return py::isinstance<py::array>(o); }
bool is_array_with_dims(PyObject* o) {
  return is_array(o) && py::reinterpret_borrow<py::array>(o).ndim() > 0;
}
bool is_tensor_with_dims(PyObject* o) { return is_tensor(o) && !unwrap_impl(o)->sizes.empty(); }

// Any Python data as a fresh tensor.
Tensor from_data(const char* op, PyObject* data, std::optional<DType> dtype) {
  if (is_tensor(data)) return to_dtype(clone(detach(unwrap(data))), dtype.value_or(unwrap_impl(data)->dtype));
  if (is_array(data)) {
    Tensor t = copy_array(op, py::reinterpret_borrow<py::array>(data));
    return to_dtype(t, dtype.value_or(t.dtype()));
  }
  if (PyList_Check(data) || PyTuple_Check(data)) {
    if (holds(data, is_array_with_dims)) {
      const py::array all = py::array::ensure(py::reinterpret_borrow<py::object>(data));
      if (!all) throw py::error_already_set();
      return from_data(op, all.ptr(), dtype);
    }
    if (holds(data, is_tensor_with_dims))
      throw ValueError(text(
          op,
          ": only one element tensors can be converted to Python scalars; use stack or cat to join tensors"));
    Nested n;
    n.shape_of(data);
    n.scan(data, 0);
    Tensor t = empty(n.sizes, dtype.value_or(n.dtype()));
    visit_dtype(t.dtype(), [&](auto v) {
      auto* out = t.data<decltype(v)>();
      fill_from(data, out);
    });
    return t;
  }
  if (is_number(data)) {
    const Scalar s = unwrap_number(data);
    if (!dtype && !PyFloat_CheckExact(data) && PyObject_HasAttrString(data, "dtype"))
      return copy_array(op, py::array::ensure(py::reinterpret_borrow<py::object>(data)));
    return scalar_tensor(s, dtype.value_or(dtype_of_scalar(s)));
  }
  if (PyObject_CheckBuffer(data) || PyObject_HasAttrString(data, "__array__")) {
    const py::array a = py::array::ensure(py::reinterpret_borrow<py::object>(data));
    if (!a) throw py::error_already_set();
    return from_data(op, a.ptr(), dtype);
  }
  if (PySequence_Check(data) && !PyUnicode_Check(data)) {
    Object list = Object::steal(PySequence_List(data));
    return from_data(op, list.get(), dtype);
  }
  throw TypeError(text(op, ": could not make a tensor of an object of type ", Py_TYPE(data)->tp_name));
}

// The same elements without a copy where that can be.
Tensor as_tensor(PyObject* data, std::optional<DType> dtype) {
  if (is_tensor(data)) return to_dtype(unwrap(data), dtype.value_or(unwrap_impl(data)->dtype));
  if (is_array(data)) {
    const auto a = py::reinterpret_borrow<py::array>(data);
    const Tensor t = share_array("as_tensor", a);
    return to_dtype(t, dtype.value_or(t.dtype()));
  }
  return from_data("as_tensor", data, dtype);
}

PyObject* to_list(const Tensor& t, const char* at, int dim) {
  if (dim == t.dim())
    return visit_dtype(t.dtype(), [&](auto v) -> PyObject* {
      using T = decltype(v);
      const T x = *reinterpret_cast<const T*>(at);
      if constexpr (std::is_same_v<T, bool>)
        return PyBool_FromLong(x);
      else if constexpr (std::is_integral_v<T>)
        return PyLong_FromLongLong(x);
      else
        return PyFloat_FromDouble(x);
    });
  Object list = Object::steal(PyList_New(t.size(dim)));
  const int64_t step = t.stride(dim) * static_cast<int64_t>(t.item_bytes());
  for (int64_t i = 0; i < t.size(dim); ++i)
    PyList_SET_ITEM(list.get(), i, to_list(t, at + i * step, dim + 1));
  return list.release();
}

std::optional<DType> wanted_dtype(Args& a, int i) {
  return a.has(i) ? std::optional(unwrap_dtype(a.object(i))) : std::nullopt;
}

// ---- the buffer protocol ----

struct BufferShape { Py_ssize_t shape[kMaxDims], strides[kMaxDims]; };

}  // namespace

Tensor tensor_of_data(const char* op, PyObject* data) { return from_data(op, data, std::nullopt); }

int tensor_get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Tensor t = unwrap(self);
  static const char* const formats[] = {"?", "B", "i", "q", "f", "d"};
  const char* refused = t.requires_grad() ? "the tensor requires grad; use tensor.detach()"
                        : (flags & PyBUF_WRITABLE) && !t.storage().writable
                            ? "the tensor's memory is read-only"
                        : !(flags & PyBUF_STRIDES) && !t.is_contiguous() ? "the tensor is not contiguous"
                                                                         : nullptr;
  if (refused != nullptr) {
    PyErr_SetString(PyExc_BufferError, refused);
    view->obj = nullptr;
    return -1;
  }
  auto* shape = new BufferShape;
  for (int i = 0; i < t.dim(); ++i) {
    shape->shape[i] = t.size(i);
    shape->strides[i] = t.stride(i) * static_cast<Py_ssize_t>(t.item_bytes());
  }
  view->obj = Py_NewRef(self);
  view->buf = t.bytes();
  view->len = t.numel() * static_cast<Py_ssize_t>(t.item_bytes());
  view->readonly = !t.storage().writable;
  view->itemsize = static_cast<Py_ssize_t>(t.item_bytes());
  view->format = (flags & PyBUF_FORMAT) ? const_cast<char*>(formats[static_cast<int>(t.dtype())]) : nullptr;
  view->ndim = t.dim();
  view->shape = (flags & PyBUF_ND) ? shape->shape : nullptr;
  view->strides = (flags & PyBUF_STRIDES) ? shape->strides : nullptr;
  view->suboffsets = nullptr;
  view->internal = shape;
  return 0;
}
void tensor_release_buffer(PyObject*, Py_buffer* view) { delete static_cast<BufferShape*>(view->internal); }

PyObject* new_legacy_tensor(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  CR_CHECK_TYPE(kwargs == nullptr || PyDict_GET_SIZE(kwargs) == 0,
                "Tensor() takes no keyword arguments; use tensor(data, ...)");
  const Py_ssize_t n = PyTuple_GET_SIZE(args);
  PyObject* first = n > 0 ? PyTuple_GET_ITEM(args, 0) : nullptr;
  Tensor t;
  if (n == 1 && !PyLong_Check(first)) {
    t = is_tensor(first) ? detach(unwrap(first)) : from_data("Tensor", first, default_dtype());
  } else {
    Dims sizes;
    for (Py_ssize_t i = 0; i < n; ++i) {
      const int64_t size = PyLong_AsLongLong(PyTuple_GET_ITEM(args, i));
      if (size == -1 && PyErr_Occurred()) throw PythonError();
      sizes.push_back(size);
    }
    t = empty(n == 0 ? Dims{0} : sizes, default_dtype());
  }
  return wrap_as(t, type);
}

void bind_interop(Bind& bind) {
  bind.op(
      "tensor(object data, *, DType? dtype=None, Device? device=None, bool requires_grad=False) -> Tensor",
      [](Args& a) {
        const Tensor t = from_data("tensor", a.object(0), wanted_dtype(a, 1));
        set_requires_grad(t, a.flag(3));
        return wrap(t);
      },
      Where::Function,
      "A new tensor with a copy of `data`: a number, nested sequences, a NumPy array or a tensor.");
  bind.op(
      "as_tensor(object data, DType? dtype=None, Device? device=None) -> Tensor",
      [](Args& a) { return wrap(as_tensor(a.object(0), wanted_dtype(a, 1))); }, Where::Function,
      "`data` as a tensor, sharing memory with it where that is possible.");
  bind.alias("asarray", "as_tensor");
  bind.op(
      "from_numpy(object ndarray) -> Tensor",
      [](Args& a) {
        CR_CHECK_TYPE(is_array(a.object(0)), "from_numpy: expected np.ndarray (got ",
                      Py_TYPE(a.object(0))->tp_name, ")");
        return wrap(share_array("from_numpy", py::reinterpret_borrow<py::array>(a.object(0))));
      },
      Where::Function,
      "A tensor over the array's own memory. A read-only array gives a tensor that cannot be written.");
  bind.op(
      "numpy(Tensor self, *, bool force=False) -> object",
      [](Args& a) { return to_numpy(a.object(0), a.flag(1)); }, Where::Method,
      "The tensor's own memory as a NumPy array. RuntimeError when it requires grad, unless `force`.");
  bind.op(
      "__array__(Tensor self, object dtype=None, object copy=None) -> object",
      [](Args& a) {
        py::object array = py::reinterpret_steal<py::object>(to_numpy(a.object(0), false));
        if (a.has(1)) array = array.attr("astype")(py::handle(a.object(1)), py::arg("copy") = false);
        if (a.object(2) == Py_True) array = array.attr("copy")();
        return array.release().ptr();
      },
      Where::Method);
  bind.op(
      "tolist(Tensor self) -> object",
      [](Args& a) {
        const Tensor t = a.tensor(0);
        return to_list(t, t.bytes(), 0);
      },
      Where::Method);
  bind.op(
      "__dlpack__(Tensor self, *, object stream=None, object max_version=None, object dl_device=None, object copy=None) -> object",
      [](Args& a) {
        const Tensor t = a.tensor(0);
        CR_CHECK(!t.requires_grad(),
                 "__dlpack__: Can't export tensors that require gradient, use tensor.detach()");
        CR_CHECK(!a.has(1), "__dlpack__: a stream makes no sense on a CPU");
        return to_dlpack(a.object(4) == Py_True ? clone(t) : t);
      },
      Where::Method);
  bind.op(
      "__dlpack_device__(Tensor self) -> object", [](Args&) { return Py_BuildValue("(ii)", 1, 0); },
      Where::Method);
  bind.op(
      "from_dlpack(object ext_tensor) -> Tensor", [](Args& a) { return wrap(from_dlpack(a.object(0))); },
      Where::Function, "A tensor over the memory of any object with __dlpack__, without a copy.");
}

}  // namespace chainrule::python
