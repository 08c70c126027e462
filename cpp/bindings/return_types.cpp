#include "bindings/return_types.h"

#include <cstring>
#include <string>

namespace chainrule::python {
namespace {

constexpr const char* kNames[] = {"sort", "topk", "kthvalue", "max", "min"};
constexpr int kCount = sizeof(kNames) / sizeof(kNames[0]);
PyTypeObject* types[kCount];

PyStructSequence_Field fields[] = {
    {"values", "what was chosen"}, {"indices", "where it stood"}, {nullptr, nullptr}};

PyObject* repr(PyObject* self) {
  return PyUnicode_FromFormat("%s(\nvalues=%R,\nindices=%R)", Py_TYPE(self)->tp_name,
                              PyStructSequence_GET_ITEM(self, 0), PyStructSequence_GET_ITEM(self, 1));
}

}  // namespace

void init_return_types(PyObject* module) {
  Object types_module = Object::steal(PyModule_New("chainrule._core._return_types"));
  for (int i = 0; i < kCount; ++i) {
    // The type keeps its name's memory.
    const auto* name = new std::string(std::string("chainrule.return_types.") + kNames[i]);
    PyStructSequence_Desc desc{name->c_str(), "The results of a function, by name.", fields, 2};
    types[i] = PyStructSequence_NewType(&desc);
    if (types[i] == nullptr) throw PythonError();
    types[i]->tp_repr = repr;
    if (PyModule_AddObjectRef(types_module.get(), kNames[i], reinterpret_cast<PyObject*>(types[i])) < 0)
      throw PythonError();
  }
  if (PyModule_AddObjectRef(module, "_return_types", types_module.get()) < 0) throw PythonError();
}

PyObject* values_and_indices(const char* op, const Tensor& values, const Tensor& indices) {
  for (int i = 0; i < kCount; ++i) {
    if (std::strcmp(kNames[i], op) != 0) continue;
    Object o = Object::steal(PyStructSequence_New(types[i]));
    PyStructSequence_SET_ITEM(o.get(), 0, wrap(values));
    PyStructSequence_SET_ITEM(o.get(), 1, wrap(indices));
    return o.release();
  }
  throw Error(text("no named results for ", op));
}

PyObject* values_and_indices(const char* op, const Tensor& values, const Tensor& indices, const Args& a,
                             int out) {
  if (!a.has(out)) return values_and_indices(op, values, indices);
  Object pair = Object::steal(PySequence_Fast(a.object(out), "out must be a pair of tensors"));
  CR_CHECK_TYPE(PySequence_Fast_GET_SIZE(pair.get()) == 2, op, "(): out must be a pair of tensors, got ",
                PySequence_Fast_GET_SIZE(pair.get()));
  PyObject* const* outs = PySequence_Fast_ITEMS(pair.get());
  CR_CHECK_TYPE(is_tensor(outs[0]) && is_tensor(outs[1]), op, "(): out must be a pair of tensors");
  const Tensor first = unwrap(outs[0]), second = unwrap(outs[1]);
  CR_CHECK(can_cast(indices.dtype(), second.dtype()), op, "(): result type ", name_of(indices.dtype()),
           " can't be cast to the desired output type ", name_of(second.dtype()));
  write_out(op, first, values);
  write_out(op, second, indices);
  return values_and_indices(op, first, second);
}

}  // namespace chainrule::python
