// dtype, Size and device, and Python numbers.
#include <pybind11/pybind11.h>

#include "bindings/topics.h"

namespace py = pybind11;

namespace chainrule::python {
namespace {

struct DTypeObject { DType value; };
struct DeviceObject { bool indexed = false; };  // 'cpu' or 'cpu:0'

PyObject* dtype_objects[kDTypes];
PyTypeObject* dtype_class = nullptr;
PyTypeObject* size_class = nullptr;
PyTypeObject* device_class = nullptr;
PyObject* cpu = nullptr;
PyTypeObject* numpy_number = nullptr;  // numpy.generic: its scalars

}  // namespace

PyObject* wrap(DType t) { return Py_NewRef(dtype_objects[static_cast<int>(t)]); }
bool is_dtype(PyObject* o) {
  return Py_TYPE(o) == dtype_class || o == reinterpret_cast<PyObject*>(&PyFloat_Type) ||
         o == reinterpret_cast<PyObject*>(&PyLong_Type) || o == reinterpret_cast<PyObject*>(&PyBool_Type);
}
DType unwrap_dtype(PyObject* o) {
  if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return DType::Float64;
  if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::Int64;
  if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::Bool;
  for (int i = 0; i < kDTypes; ++i)
    if (dtype_objects[i] == o) return static_cast<DType>(i);
  throw TypeError("not a dtype");
}

bool is_device(PyObject* o) {
  if (Py_TYPE(o) == device_class) return true;
  if (!PyUnicode_Check(o)) return false;
  return PyUnicode_CompareWithASCIIString(o, "cpu") == 0 || PyUnicode_CompareWithASCIIString(o, "cpu:0") == 0;
}

PyObject* wrap_device() { return Py_NewRef(cpu); }

PyObject* wrap_size(const Dims& sizes) {
  Object o = Object::steal(size_class->tp_alloc(size_class, sizes.size()));
  for (int i = 0; i < sizes.size(); ++i) PyTuple_SET_ITEM(o.get(), i, PyLong_FromLongLong(sizes[i]));
  return o.release();
}

PyObject* wrap(const Scalar& s) {
  switch (s.kind) {
    case Scalar::Kind::Bool: return PyBool_FromLong(s.i != 0);
    case Scalar::Kind::Int: return PyLong_FromLongLong(s.i);
    default: return PyFloat_FromDouble(s.d);
  }
}

bool is_number(PyObject* o) {
  return PyFloat_Check(o) || PyLong_Check(o) || PyObject_TypeCheck(o, numpy_number);  // bool is an int
}

Scalar unwrap_number(PyObject* o) {
  if (PyFloat_Check(o)) return Scalar(PyFloat_AS_DOUBLE(o));
  if (PyBool_Check(o)) return Scalar(o == Py_True);
  if (is_tensor(o)) return item(unwrap(o));
  if (PyIndex_Check(o)) {
    Object index = Object::steal(PyNumber_Index(o));
    const long long v = PyLong_AsLongLong(index.get());
    if (v == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      throw Error("value cannot be converted to type int64 without overflow");
    }
    return Scalar(static_cast<int64_t>(v));
  }
  if (PyObject_HasAttrString(o, "item")) {  // numpy.bool, numpy.float32
    Object plain = Object::steal(PyObject_CallMethod(o, "item", nullptr));
    if (PyFloat_Check(plain.get()) || PyLong_Check(plain.get())) return unwrap_number(plain.get());
  }
  Object f = Object::steal(PyNumber_Float(o));
  return Scalar(PyFloat_AS_DOUBLE(f.get()));
}

void init_types(PyObject* module) {
  auto m = py::reinterpret_borrow<py::module_>(module);
  numpy_number = reinterpret_cast<PyTypeObject*>(
      py::object(py::module_::import("numpy").attr("generic")).release().ptr());
  auto cls =
      py::class_<DTypeObject>(m, "dtype", "An element type: chainrule.float32, chainrule.int64, ...")
          .def("__repr__", [](const DTypeObject& d) { return std::string("chainrule.") + name_of(d.value); })
          .def("__reduce__", [](const DTypeObject& d) { return std::string(name_of(d.value)); })
          .def("__copy__", [](py::object self) { return self; })
          .def("__deepcopy__", [](py::object self, py::object) { return self; })
          .def_property_readonly("is_floating_point",
                                 [](const DTypeObject& d) { return is_floating(d.value); })
          .def_property_readonly(
              "is_signed",
              [](const DTypeObject& d) { return d.value != DType::Bool && d.value != DType::UInt8; })
          .def_property_readonly("is_complex", [](const DTypeObject&) { return false; })
          .def_property_readonly("itemsize", [](const DTypeObject& d) { return size_of(d.value); });
  cls.attr("__module__") = "chainrule";
  dtype_class = reinterpret_cast<PyTypeObject*>(cls.ptr());
  for (int i = 0; i < kDTypes; ++i) {
    py::object o = py::cast(DTypeObject{static_cast<DType>(i)});
    m.attr(name_of(static_cast<DType>(i))) = o;
    dtype_objects[i] = o.release().ptr();
  }
  m.attr("float") = m.attr("float32");
  m.attr("double") = m.attr("float64");
  m.attr("int") = m.attr("int32");
  m.attr("long") = m.attr("int64");

  auto device =
      py::class_<DeviceObject>(m, "device", "Where a tensor lives: 'cpu', for all of them.")
          .def(py::init([](const py::object& name, const py::object& index) {
                 const py::str full = index.is_none() ? py::str(name) : py::str("{}:{}").format(name, index);
                 if (!is_device(full.ptr()))
                   throw Error(text("device: '", std::string(full),
                                    "' is not available: chainrule runs on 'cpu' only"));
                 return DeviceObject{std::string(full) == "cpu:0"};
               }),
               py::arg("type"), py::arg("index") = py::none())
          .def("__repr__",
               [](const DeviceObject& d) {
                 return d.indexed ? "device(type='cpu', index=0)" : "device(type='cpu')";
               })
          .def("__str__", [](const DeviceObject& d) { return d.indexed ? "cpu:0" : "cpu"; })
          .def("__reduce__",
               [](const py::object& self) {
                 return py::make_tuple(py::type::of(self), py::make_tuple(py::str(self)));
               })
          .def("__eq__",
               [](const DeviceObject& d, const py::object& o) {
                 return py::isinstance<DeviceObject>(o) && o.cast<DeviceObject>().indexed == d.indexed;
               })
          .def("__hash__", [](const DeviceObject& d) { return static_cast<int>(d.indexed); })
          .def_property_readonly("type", [](const DeviceObject&) { return "cpu"; })
          .def_property_readonly("index", [](const DeviceObject& d) -> py::object {
            return d.indexed ? py::object(py::int_(0)) : py::none();
          });
  device.attr("__module__") = "chainrule";
  device_class = reinterpret_cast<PyTypeObject*>(device.ptr());
  cpu = device(py::str("cpu")).release().ptr();

  m.attr("Size") = py::module_::import("chainrule._size").attr("Size");
  size_class = reinterpret_cast<PyTypeObject*>(m.attr("Size").ptr());
}

}  // namespace chainrule::python
