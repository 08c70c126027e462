#include "bindings/grad_fn.h"

#include <pybind11/pybind11.h>

#include "autograd/meta.h"
#include "bindings/hooks.h"
#include "bindings/topics.h"

namespace py = pybind11;

namespace chainrule::python {
namespace {

// One Python object a node while it lives, so that `y.grad_fn is y.grad_fn`.
struct NodeObject {
  Ref<Node> node;
  ~NodeObject() {
    if (node && node->extras) node->extras->python = nullptr;
  }
};

py::object next_functions(const NodeObject& self) {
  py::tuple out(self.node->edges.size());
  for (int i = 0; i < self.node->edges.size(); ++i) {
    const Edge& e = self.node->edges[i];
    out[i] = py::make_tuple(py::reinterpret_steal<py::object>(wrap_node(e.node)), e.output);
  }
  return out;
}

constexpr const char* kHandle = "chainrule.node_handle";

// A subclass of Node for each operation, so that type(y.grad_fn).__name__ is its name.
py::object type_named(const std::string& name) {
  static py::dict& types = *new py::dict;
  if (!types.contains(name.c_str())) {
    py::dict body;
    body["__slots__"] = py::tuple();
    body["__module__"] = "chainrule";
    types[name.c_str()] = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(&PyType_Type))(
        name, py::make_tuple(py::type::of<NodeObject>()), body);
  }
  return types[name.c_str()];
}

}  // namespace

PyObject* wrap_node(const Ref<Node>& node) {
  if (!node) Py_RETURN_NONE;
  if (PyObject* context = static_cast<PyObject*>(node->python_context())) return Py_NewRef(context);
  if (node->extras && node->extras->python) return Py_NewRef(static_cast<PyObject*>(node->extras->python));
  py::object o = type_named(node->display_name())(py::capsule(node.get(), kHandle));
  node->extra().python = o.ptr();
  return o.release().ptr();
}

void init_node_type(PyObject* module) {
  auto m = py::reinterpret_borrow<py::module_>(module);
  py::class_<NodeObject>(m, "Node", "An operation in the recorded graph.")
      .def(py::init([](const py::capsule& handle) {
        if (std::string(handle.name()) != kHandle) throw py::type_error("a Node cannot be made by hand");
        return new NodeObject{Ref<Node>(handle.get_pointer<Node>())};
      }))
      .def("name", [](const NodeObject& n) { return n.node->display_name(); })
      .def("__repr__", [](const NodeObject& n) { return "<" + n.node->display_name() + ">"; })
      .def_property_readonly("next_functions", next_functions)
      .def_property_readonly("variable",
                             [](const NodeObject& n) -> py::object {
                               const Tensor leaf = n.node->leaf();
                               if (!leaf.defined())
                                 throw py::attribute_error("only AccumulateGrad has a variable");
                               return py::reinterpret_steal<py::object>(wrap(leaf));
                             })
      .def("register_hook",
           [](const NodeObject& n, const py::object& f) {
             return py::reinterpret_steal<py::object>(add_node_hook(n.node, f.ptr(), false));
           })
      .def("register_prehook", [](const NodeObject& n, const py::object& f) {
        return py::reinterpret_steal<py::object>(add_node_hook(n.node, f.ptr(), true));
      });
}

}  // namespace chainrule::python
