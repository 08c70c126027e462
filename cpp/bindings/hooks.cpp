#include "bindings/hooks.h"

#include <pybind11/pybind11.h>

#include <functional>

#include "autograd/meta.h"
#include "bindings/topics.h"

namespace py = pybind11;

namespace chainrule::python {
namespace {

// Kernels and the engine may have been entered without the interpreter's lock.
struct WithInterpreter {
  PyGILState_STATE state = PyGILState_Ensure();
  ~WithInterpreter() { PyGILState_Release(state); }
};

struct TensorHook final : Hook {
  PyObject* f;
  explicit TensorHook(PyObject* callable) : f(Py_NewRef(callable)) {}
  ~TensorHook() override {
    const WithInterpreter lock;
    const KeepError keep;
    Py_CLEAR(f);
  }
  Tensor call(const Tensor& grad) override {
    WithInterpreter lock;
    Object g = Object::steal(wrap(grad));
    Object result = Object::steal(PyObject_CallOneArg(f, g.get()));
    if (result.get() == Py_None) return {};
    CR_CHECK_TYPE(is_tensor(result.get()), "hook: expected the hook to return a Tensor or None, got ",
                  Py_TYPE(result.get())->tp_name);
    Tensor replaced = unwrap(result.get());
    CR_CHECK(replaced.sizes() == grad.sizes(), "hook: the hook '", text_of(f),
             "' has changed the size of value from ", grad.sizes(), " to ", replaced.sizes());
    return replaced;
  }
  void* python() override { return f; }
  static std::string text_of(PyObject* o) {
    Object name = Object::steal(PyObject_Repr(o));
    return PyUnicode_AsUTF8(name.get());
  }
};

// Sees the leaf whose .grad has just been updated.
struct AccumulatedHook final : Hook {
  PyObject* f;
  explicit AccumulatedHook(PyObject* callable) : f(Py_NewRef(callable)) {}
  ~AccumulatedHook() override {
    const WithInterpreter lock;
    const KeepError keep;
    Py_CLEAR(f);
  }
  Tensor call(const Tensor& variable) override {
    WithInterpreter lock;
    Object v = Object::steal(wrap(variable));
    Object::steal(PyObject_CallOneArg(f, v.get()));
    return {};
  }
  void* python() override { return f; }
};

struct PythonNodeHook final : NodeHook {
  PyObject* f;
  explicit PythonNodeHook(PyObject* callable) : f(Py_NewRef(callable)) {}
  ~PythonNodeHook() override {
    const WithInterpreter lock;
    const KeepError keep;
    Py_CLEAR(f);
  }
  void* python() override { return f; }

  static Object as_tuple(const Grads& grads) {
    Object t = Object::steal(PyTuple_New(grads.size()));
    for (int i = 0; i < grads.size(); ++i) PyTuple_SET_ITEM(t.get(), i, wrap(grads[i]));
    return t;
  }
  void call(Grads& grad_inputs, Grads& grad_outputs, bool before) override {
    WithInterpreter lock;
    Object outputs = as_tuple(grad_outputs);
    Object result = before ? Object::steal(PyObject_CallOneArg(f, outputs.get()))
                           : Object::steal(PyObject_CallFunctionObjArgs(f, as_tuple(grad_inputs).get(),
                                                                        outputs.get(), nullptr));
    if (result.get() == Py_None) return;
    Grads& target = before ? grad_outputs : grad_inputs;
    if (is_tensor(result.get()) && target.size() == 1) {
      target[0] = unwrap(result.get());
      return;
    }
    CR_CHECK_TYPE(PyTuple_Check(result.get()) && PyTuple_GET_SIZE(result.get()) == target.size(),
                  "hook: a node's hook must return None or a tuple of ", target.size(), " gradients");
    for (int i = 0; i < target.size(); ++i) {
      PyObject* o = PyTuple_GET_ITEM(result.get(), i);
      target[i] = o == Py_None ? Tensor() : unwrap(o);
    }
  }
};

struct Handle {
  uint64_t id;
  std::function<void(uint64_t)> take_away;
};

PyObject* handle(uint64_t id, std::function<void(uint64_t)> take_away) {
  return py::cast(Handle{id, std::move(take_away)}).release().ptr();
}

}  // namespace

PyObject* add_tensor_hook(const Tensor& t, PyObject* f) {
  const uint64_t id = add_hook(t, Ref<Hook>(new TensorHook(f)));
  // The handle does not keep the tensor; of a result it is the node that has the hook.
  Ref<Node> node = grad_fn_of(t);
  if (node)
    return handle(id, [node](uint64_t i) {
      for (HookList& list : node->extra().output_hooks) list.remove(i);
    });
  Object weak = Object::steal(PyWeakref_NewRef(Object::steal(wrap(t)).get(), nullptr));
  return handle(id, [weak](uint64_t i) {
    py::object o = py::reinterpret_borrow<py::object>(weak.get())();
    if (!o.is_none()) remove_hook(unwrap(o.ptr()), i);
  });
}

PyObject* add_post_accumulate_hook(const Tensor& t, PyObject* f) {
  CR_CHECK(
      t.requires_grad() && is_leaf(t),
      "register_post_accumulate_grad_hook: post accumulate grad hooks can only be registered on leaf tensors that "
      "require gradient");
  const uint64_t id = meta_of(t).after_accumulate.add(Ref<Hook>(new AccumulatedHook(f)));
  Object weak = Object::steal(PyWeakref_NewRef(Object::steal(wrap(t)).get(), nullptr));
  return handle(id, [weak](uint64_t i) {
    py::object o = py::reinterpret_borrow<py::object>(weak.get())();
    if (!o.is_none()) remove_hook(unwrap(o.ptr()), i);
  });
}

PyObject* add_node_hook(const Ref<Node>& node, PyObject* f, bool before) {
  auto& list = before ? node->extra().before : node->extra().after;
  list.emplace_back(HookList::next_id(), Ref<NodeHook>(new PythonNodeHook(f)));
  return handle(list.back().first, [node, before](uint64_t id) {
    auto& hooks = before ? node->extra().before : node->extra().after;
    std::erase_if(hooks, [id](const auto& h) { return h.first == id; });
  });
}

void init_hook_types(PyObject* module) {
  auto m = py::reinterpret_borrow<py::module_>(module);
  py::class_<Handle>(m, "RemovableHandle", "What a registered hook is taken away with.")
      .def_readonly("id", &Handle::id)
      .def("remove", [](Handle& h) { h.take_away(h.id); })
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](Handle& h, py::args) { h.take_away(h.id); });
}

}  // namespace chainrule::python
