// autograd.Function: a node whose backward is Python. The user's ctx is the node's Python object.
#include "autograd/meta.h"
#include "autograd/mode.h"
#include "autograd/record.h"
#include "bindings/grad_fn.h"
#include "bindings/topics.h"
#include "ops/elementwise.h"
#include "ops/fill.h"
#include "ops/views.h"

namespace chainrule::python {
namespace {

struct PythonNode final : Node {
  PyObject* context;
  std::string shown;
  std::vector<SavedTensor> kept;
  struct Shape {
    Dims sizes;
    DType dtype;
  };
  std::vector<Shape> output_shapes, input_shapes;
  bool materialize = true;

  explicit PythonNode(PyObject* ctx) : context(Py_NewRef(ctx)) {}
  ~PythonNode() override {
    if (!Py_IsInitialized()) return;
    const PyGILState_STATE gil = PyGILState_Ensure();
    {
      const KeepError keep;
      if (PyObject_SetAttrString(context, "_node", Py_None) < 0) PyErr_Clear();
      Py_CLEAR(context);
    }
    PyGILState_Release(gil);
  }
  std::string display_name() const override { return shown; }
  void* python_context() override { return context; }
  void free_saved() override {
    if (kept.empty()) return;
    kept.clear();
    freed = true;
  }

  void backward(Grads& gs, Grads& out) override {
    const PyGILState_STATE gil = PyGILState_Ensure();
    struct Release {
      PyGILState_STATE gil;
      ~Release() { PyGILState_Release(gil); }
    } release{gil};
    if (freed) detail::throw_freed();
    Object args = Object::steal(PyTuple_New(gs.size()));
    for (int i = 0; i < gs.size(); ++i) {
      Tensor g = gs[i];
      if (!g.defined() && materialize)
        g = zeros(output_shapes[static_cast<size_t>(i)].sizes, output_shapes[static_cast<size_t>(i)].dtype);
      PyTuple_SET_ITEM(args.get(), i, wrap(g));
    }
    Object run = Object::steal(PyObject_GetAttrString(context, "_run_backward"));
    Object result = Object::steal(PyObject_CallObject(run.get(), args.get()));
    take(result.get(), out);
  }

  void take(PyObject* result, Grads& out) {
    const bool tuple = PyTuple_Check(result);
    const Py_ssize_t n = tuple ? PyTuple_GET_SIZE(result) : 1;
    for (Py_ssize_t i = out.size(); i < n; ++i)
      CR_CHECK(PyTuple_GET_ITEM(result, i) == Py_None, "function ", shown,
               " returned an incorrect number of gradients (expected ", out.size(), ", got ", n, ")");
    CR_CHECK(n >= out.size(), "function ", shown, " returned an incorrect number of gradients (expected ",
             out.size(), ", got ", n, ")");
    for (int i = 0; i < out.size(); ++i) {
      PyObject* o = tuple ? PyTuple_GET_ITEM(result, i) : result;
      if (o == Py_None) continue;
      CR_CHECK_TYPE(is_tensor(o), "function ", shown, ": expected a Tensor or None as gradient ", i, ", got ",
                    Py_TYPE(o)->tp_name);
      if (!edges[i]) continue;
      const Shape& wanted = input_shapes[static_cast<size_t>(i)];
      Tensor g = unwrap(o);
      if (!(g.sizes() == wanted.sizes)) {
        CR_CHECK(broadcastable(wanted.sizes, g.sizes()), "Function ", shown,
                 " returned an invalid gradient at index ", i, " - got ", g.sizes(),
                 " but expected shape compatible with ", wanted.sizes);
        g = g.dim() >= wanted.sizes.size() && numel_of(g.sizes()) >= numel_of(wanted.sizes)
                ? sum_to(g, wanted.sizes)
                : expand(g, wanted.sizes);
      }
      out[i] = to_dtype(g, wanted.dtype);
    }
  }

  static bool broadcastable(const Dims& a, const Dims& b) {
    for (int i = 1; i <= std::min(a.size(), b.size()); ++i) {
      const int64_t x = a[a.size() - i], y = b[b.size() - i];
      if (x != y && x != 1 && y != 1) return false;
    }
    return true;
  }
};

bool contains(const TensorList& list, const Tensor& t, size_t* at = nullptr) {
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].same(t)) {
      if (at != nullptr) *at = i;
      return true;
    }
  return false;
}

// _record_function(ctx, name, args, outputs, saved, dirty, non_differentiable, materialize): puts the results of a
// Function's forward into the graph and returns them.
PyObject* record_function(Args& a) {
  PyObject* ctx = a.object(0);
  Object args = Object::steal(PySequence_Tuple(a.object(2)));
  TensorList outputs = a.tensors(3);
  const TensorList dirty = a.tensors(5), constant = a.tensors(6);
  Object to_save = Object::steal(PySequence_Tuple(a.object(4)));

  TensorList inputs;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args.get()); ++i) {
    PyObject* o = PyTuple_GET_ITEM(args.get(), i);
    inputs.push_back(is_tensor(o) ? unwrap(o) : Tensor());
  }
  for (const Tensor& t : dirty) {
    CR_CHECK(contains(outputs, t), a.string(1),
             ": a tensor that was marked dirty must be returned from forward");
    before_write(a.string(1).c_str(), t, recording(inputs));
  }
  const bool recorded = recording(inputs);
  auto* node = new PythonNode(ctx);
  Ref<Node> ref(node);
  node->name = "python_function";
  node->shown = a.string(1);
  node->materialize = a.flag(7);
  node->outputs = static_cast<int>(outputs.size());
  node->edges.resize(static_cast<int>(inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    node->input_shapes.push_back(inputs[i].defined() ? PythonNode::Shape{inputs[i].sizes(), inputs[i].dtype()}
                                                     : PythonNode::Shape{{}, DType::Float32});
    if (recorded && inputs[i].defined()) node->edges[static_cast<int>(i)] = edge_of(inputs[i]);
  }
  for (Tensor& y : outputs) {
    node->output_shapes.push_back({y.sizes(), y.dtype()});
    const bool written = contains(dirty, y);
    if (!written && contains(inputs, y))
      y = recorded ? alias(y) : view_as_alias(y);  // an input returned as it is
    if (!recorded) {
      if (written) y.count_write();
      continue;
    }
    const auto output = static_cast<uint32_t>(node->output_shapes.size() - 1);
    if (written) {
      y.count_write();
      const AutogradMeta* m = y.impl()->autograd;
      CR_CHECK(!(m && m->view) || outputs.size() == 1, node->shown,
               ": an in-place write to a view is supported in functions with one output only");
      if (m && m->view)
        record_write_node(y, ref);
      else
        set_history(y, ref, output);
    } else if (y.is_floating() && !contains(constant, y)) {
      if (y.requires_grad()) y = alias(y);
      set_history(y, ref, output);
    }
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(to_save.get()); ++i) {
    PyObject* o = PyTuple_GET_ITEM(to_save.get(), i);
    CR_CHECK_TYPE(o == Py_None || is_tensor(o), "save_for_backward can only save variables, but argument ", i,
                  " is of type ", Py_TYPE(o)->tp_name);
    Tensor t = o == Py_None ? Tensor() : unwrap(o);
    size_t at = 0;
    const bool is_result = t.defined() && recorded && contains(outputs, t, &at);
    node->kept.emplace_back(t, is_result, static_cast<uint32_t>(at));
  }
  Object handle = Object::steal(PyCapsule_New(node, "chainrule.node", nullptr));
  if (recorded) {
    if (PyObject_SetAttrString(ctx, "_node", handle.get()) < 0) throw PythonError();
  }
  return wrap(outputs);
}

PythonNode* node_of(PyObject* ctx) {
  Object handle = Object::steal(PyObject_GetAttrString(ctx, "_node"));
  if (handle.get() == Py_None) return nullptr;
  return static_cast<PythonNode*>(PyCapsule_GetPointer(handle.get(), "chainrule.node"));
}

}  // namespace

void bind_function(Bind& bind) {
  bind.op(
      "_record_function(object ctx, str name, object args, Tensor[] outputs, object saved, Tensor[] dirty, Tensor[] non_differentiable, bool materialize) -> Tensor[]",
      [](Args& a) { return record_function(a); }, Where::Function);
  bind.op(
      "_function_saved(object ctx) -> Tensor[]",
      [](Args& a) {
        PythonNode* n = node_of(a.object(0));
        if (n == nullptr) return wrap(TensorList());
        if (n->freed) detail::throw_freed();
        const CurrentNode now(n);
        TensorList out;
        for (const SavedTensor& s : n->kept) out.push_back(*s);
        return wrap(out);
      },
      Where::Function);
  bind.op(
      "_function_edges(object ctx) -> object",
      [](Args& a) {
        PythonNode* n = node_of(a.object(0));
        const int count = n == nullptr ? 0 : n->edges.size();
        Object edges = Object::steal(PyTuple_New(count));
        for (int i = 0; i < count; ++i)
          PyTuple_SET_ITEM(edges.get(), i,
                           Py_BuildValue("(NI)", wrap_node(n->edges[i].node), n->edges[i].output));
        return edges.release();
      },
      Where::Function);
}

}  // namespace chainrule::python
