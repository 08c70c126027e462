#include "bindings/args.h"

#include <structmember.h>

#include <cstring>
#include <map>

#include "autograd/mode.h"
#include "autograd/record.h"
#include "core/shape_checks.h"
#include "core/unnamed_error.h"
#include "ops/elementwise.h"

namespace chainrule::python {

bool is_generator(PyObject* o);  // random.cpp

namespace {

// ---- reading a signature ----

struct Reader {
  const std::string& text;
  size_t at = 0;

  [[noreturn]] void fail(const char* what) const {
    throw Error(chainrule::text("signature '", text, "': ", what));
  }
  void skip_spaces() {
    while (at < text.size() && text[at] == ' ') ++at;
  }
  std::string word() {
    skip_spaces();
    const size_t start = at;
    while (at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) || text[at] == '_')) ++at;
    if (at == start) fail("a name was expected");
    return text.substr(start, at - start);
  }
  bool take(const char* token) {
    skip_spaces();
    const size_t n = std::strlen(token);
    if (text.compare(at, n, token) != 0) return false;
    at += n;
    return true;
  }
};

Type type_named(Reader& r, const std::string& name) {
  static const std::map<std::string, Type> types = {
      {"Tensor", Type::Tensor},       {"int", Type::Int},       {"float", Type::Float},
      {"bool", Type::Bool},           {"Scalar", Type::Scalar}, {"Operand", Type::Operand},
      {"DType", Type::DType},         {"str", Type::Str},       {"object", Type::Object},
      {"Generator", Type::Generator}, {"Device", Type::Device}};
  auto it = types.find(name);
  if (it == types.end()) r.fail("unknown type");
  if (!r.take("[]")) return it->second;
  if (it->second == Type::Int) return Type::IntList;
  if (it->second == Type::Tensor) return Type::TensorList;
  r.fail("no lists of that type");
}

PyObject* read_default(Reader& r) {
  r.skip_spaces();
  const size_t start = r.at;
  int depth = 0;
  while (r.at < r.text.size()) {
    const char c = r.text[r.at];
    if (depth == 0 && (c == ',' || c == ')')) break;
    depth += (c == '(' || c == '[') - (c == ')' || c == ']');
    ++r.at;
  }
  const std::string expression = r.text.substr(start, r.at - start);
  PyObject* globals = PyEval_GetBuiltins();
  PyObject* value = PyRun_String(expression.c_str(), Py_eval_input, globals, globals);
  if (value == nullptr) throw PythonError();
  return value;
}

Signature read_signature(const char* text) {
  Signature s;
  s.text = text;
  Reader r{s.text};
  s.name = r.word();
  if (!r.take("(")) r.fail("'(' was expected");
  bool keyword_only = false;
  while (!r.take(")")) {
    if (!s.params.empty() || keyword_only) r.take(",");
    Param p;
    if (r.take("*")) {
      r.skip_spaces();
      if (r.text[r.at] == ',' || r.text[r.at] == ')') {
        keyword_only = true;
        continue;
      }
      p.variadic = true;
    }
    p.type = type_named(r, r.word());
    p.optional = r.take("?");
    p.name = r.word();
    p.keyword_only = keyword_only;
    if (r.take("=")) p.default_value = read_default(r);
    p.interned = PyUnicode_InternFromString(p.name.c_str());
    if (!keyword_only) ++s.positional;
    s.params.push_back(std::move(p));
  }
  if (s.params.size() > Args::kMax) r.fail("too many parameters");
  return s;
}

// ---- checking an argument ----

bool is_int(PyObject* o) {
  if (PyLong_CheckExact(o)) return true;
  if (PyFloat_Check(o) || PyBool_Check(o)) return PyBool_Check(o);
  return PyIndex_Check(o) &&
         (!is_tensor(o) || (unwrap_impl(o)->sizes.empty() && is_integral(unwrap_impl(o)->dtype)));
}
bool is_int_sequence(PyObject* o) {
  if (!PyTuple_Check(o) && !PyList_Check(o)) return false;
  PyObject** items = PySequence_Fast_ITEMS(o);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
    if (!is_int(items[i])) return false;
  return true;
}
bool is_tensor_sequence(PyObject* o) {
  if (!PyTuple_Check(o) && !PyList_Check(o)) return false;
  PyObject** items = PySequence_Fast_ITEMS(o);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
    if (!is_tensor(items[i])) return false;
  return true;
}

bool fits(const Param& p, PyObject* o) {
  if (o == Py_None) return p.optional || p.type == Type::Object;
  switch (p.type) {
    case Type::Tensor: return is_tensor(o);
    case Type::TensorList: return is_tensor_sequence(o);
    case Type::Int: return is_int(o);
    case Type::IntList: return is_int(o) || is_int_sequence(o);
    case Type::Float: return is_number(o) || (is_tensor(o) && unwrap_impl(o)->numel == 1);
    case Type::Bool: return PyBool_Check(o);
    case Type::Scalar: return is_number(o) || (is_tensor(o) && unwrap_impl(o)->sizes.empty());
    case Type::Operand: return is_tensor(o) || is_number(o);
    case Type::DType: return is_dtype(o);
    case Type::Str: return PyUnicode_Check(o);
    case Type::Generator: return is_generator(o);
    case Type::Device: return is_device(o);
    case Type::Object: return true;
  }
  return false;
}

const char* type_text(Type t) {
  switch (t) {
    case Type::Tensor: return "Tensor";
    case Type::TensorList: return "tuple of Tensors";
    case Type::Int: return "int";
    case Type::IntList: return "tuple of ints";
    case Type::Float: return "float";
    case Type::Bool: return "bool";
    case Type::Scalar: return "Number";
    case Type::Operand: return "Tensor or Number";
    case Type::DType: return "chainrule.dtype";
    case Type::Str: return "str";
    case Type::Generator: return "chainrule.Generator";
    case Type::Device: return "the device 'cpu'";
    default: return "object";
  }
}

[[noreturn]] void wrong_type(const Signature& s, size_t i, PyObject* o) {
  if (s.params[i].type == Type::Device && PyUnicode_Check(o))
    throw Error(text(s.name, "(): device '", PyUnicode_AsUTF8(o),
                     "' is not available: chainrule runs on 'cpu' only"));
  throw TypeError(text(s.name, "(): argument '", s.params[i].name, "' (position ", i + 1, ") must be ",
                       type_text(s.params[i].type), ", not ", Py_TYPE(o)->tp_name));
}

// ---- the callable ----

struct Op {
  PyObject_HEAD vectorcallfunc vectorcall;
  const Signature* signature;
  Implementation f;
};

PyTypeObject* op_type = nullptr;

}  // namespace

PyObject* call_op(PyObject* callable, PyObject* const* given, size_t flags, PyObject* names) {
  const Op& op = *reinterpret_cast<Op*>(callable);
  const Signature& s = *op.signature;
  try {
    Args args(s);
    const auto total = static_cast<Py_ssize_t>(s.params.size());
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    PyObject** values = args.values;
    Py_ssize_t filled = 0;
    for (; filled < count && filled < s.positional; ++filled) {
      const Param& p = s.params[filled];
      const auto single = [&] {
        return p.type == Type::TensorList ? is_tensor(given[filled]) : is_int(given[filled]);
      };
      if (p.variadic && (count - filled > 1 || single())) {
        Object tuple = Object::steal(PyTuple_New(count - filled));
        for (Py_ssize_t k = filled; k < count; ++k)
          PyTuple_SET_ITEM(tuple.get(), k - filled, Py_NewRef(given[k]));
        values[filled] = tuple.get();
        args.packed_ = std::move(tuple);
        count = ++filled;
        break;
      }
      values[filled] = given[filled];
    }
    if (filled < count)
      throw TypeError(
          text(s.name, "() takes ", s.positional, " positional arguments but ", count, " were given"));
    for (Py_ssize_t i = filled; i < total; ++i) values[i] = nullptr;
    const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t k = 0; k < named; ++k) {
      PyObject* name = PyTuple_GET_ITEM(names, k);
      Py_ssize_t i = 0;
      while (i < total && s.params[i].interned != name) ++i;
      if (i == total)
        for (i = 0; i < total && PyUnicode_Compare(s.params[i].interned, name) != 0;) ++i;
      // NumPy's words for PyTorch's, as PyTorch takes them too.
      if (i == total && PyUnicode_CompareWithASCIIString(name, "axis") == 0)
        for (i = 0; i < total && s.params[i].name != "dim";) ++i;
      if (i == total && PyUnicode_CompareWithASCIIString(name, "keepdims") == 0)
        for (i = 0; i < total && s.params[i].name != "keepdim";) ++i;
      for (const auto& [other, known] : {std::pair{"value", "src"}, {"split_size_or_sections", "split_size"}})
        if (i == total && PyUnicode_CompareWithASCIIString(name, other) == 0)
          for (i = 0; i < total && s.params[i].name != known;) ++i;
      if (i == total && PyUnicode_CompareWithASCIIString(name, "tensor") == 0 && s.params[0].name == "self")
        i = 0;
      if (i == total && PyUnicode_CompareWithASCIIString(name, "x") == 0 && s.params[0].name == "self") i = 0;
      if (i == total && PyUnicode_CompareWithASCIIString(name, "input") == 0 && s.params[0].name == "self")
        i = 0;
      if (i == total)
        throw TypeError(text(s.name, "() got an unexpected keyword argument '", PyUnicode_AsUTF8(name), "'"));
      if (values[i] != nullptr)
        throw TypeError(text(s.name, "() got multiple values for argument '", s.params[i].name, "'"));
      values[i] = given[PyVectorcall_NARGS(flags) + k];
    }
    for (Py_ssize_t i = 0; i < total; ++i) {
      const Param& p = s.params[i];
      if (values[i] == nullptr) {
        if (p.default_value == nullptr)
          throw TypeError(text(s.name, "() missing required argument '", p.name, "' (position ", i + 1, ")"));
        values[i] = p.default_value;
      } else if (!fits(p, values[i])) {
        wrong_type(s, static_cast<size_t>(i), values[i]);
      }
    }
    return op.f(args);
  } catch (const UnnamedError& error) {
    PyErr_SetString(PyExc_RuntimeError, text(s.name, ": ", error.what()).c_str());
    return nullptr;
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

namespace {

PyObject* op_get(PyObject* self, PyObject* instance, PyObject*) {
  if (instance == nullptr || instance == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, instance);
}
PyObject* op_name(PyObject* self, void*) {
  return PyUnicode_FromString(reinterpret_cast<Op*>(self)->signature->name.c_str());
}
PyObject* op_doc(PyObject* self, void*) {
  const Signature& s = *reinterpret_cast<Op*>(self)->signature;
  return PyUnicode_FromString((s.text + (s.doc.empty() ? "" : "\n\n" + s.doc)).c_str());
}
PyObject* op_module(PyObject*, void*) { return PyUnicode_FromString("chainrule._core"); }
PyObject* op_repr(PyObject* self) {
  return PyUnicode_FromFormat("<chainrule function %s>",
                              reinterpret_cast<Op*>(self)->signature->name.c_str());
}
PyObject* op_reduce(PyObject* self, PyObject*) { return op_name(self, nullptr); }
PyObject* op_text_signature(PyObject* self, void*) {
  std::string out = "(";
  bool starred = false;
  for (const Param& p : reinterpret_cast<Op*>(self)->signature->params) {
    if (out.size() > 1) out += ", ";
    if (p.keyword_only && !starred) {
      out += "*, ";
      starred = true;
    }
    starred = starred || p.variadic;
    out += (p.variadic ? "*" : "") + p.name;
    if (p.default_value != nullptr && !p.variadic) {
      Object repr = Object::steal(PyObject_Repr(p.default_value));
      out += std::string("=") + PyUnicode_AsUTF8(repr.get());
    }
  }
  return PyUnicode_FromString((out + ")").c_str());
}

std::map<std::string, std::map<std::string, const Signature*>>& registry() {
  static std::map<std::string, std::map<std::string, const Signature*>> r;
  return r;
}

}  // namespace

void init_op_type() {
  static PyGetSetDef getset[] = {{"__name__", op_name, nullptr, nullptr, nullptr},
                                 {"__qualname__", op_name, nullptr, nullptr, nullptr},
                                 {"__doc__", op_doc, nullptr, nullptr, nullptr},
                                 {"__module__", op_module, nullptr, nullptr, nullptr},
                                 {"__text_signature__", op_text_signature, nullptr, nullptr, nullptr},
                                 {}};
  static PyMethodDef methods[] = {{"__reduce__", op_reduce, METH_NOARGS, nullptr}, {}};
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(Op, vectorcall), READONLY, nullptr}, {}};
  PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                         {Py_tp_descr_get, reinterpret_cast<void*>(op_get)},
                         {Py_tp_repr, reinterpret_cast<void*>(op_repr)},
                         {Py_tp_getset, getset},
                         {Py_tp_methods, methods},
                         {Py_tp_members, members},
                         {0, nullptr}};
  PyType_Spec spec{"chainrule._core.Op", sizeof(Op), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, slots};
  op_type = reinterpret_cast<PyTypeObject*>(Object::steal(PyType_FromSpec(&spec)).release());
}

void Bind::op(const char* signature, Implementation f, Where where, const char* doc) {
  auto* s = new Signature(read_signature(signature));  // lives as long as the module
  s->doc = doc;
  Object object = Object::steal(reinterpret_cast<PyObject*>(PyObject_New(Op, op_type)));
  auto* op = reinterpret_cast<Op*>(object.get());
  op->vectorcall = call_op;
  op->signature = s;
  op->f = f;
  if (where != Where::Method) {
    if (PyModule_AddObjectRef(module_, s->name.c_str(), object.get()) < 0) throw PythonError();
    registry()[PyModule_GetName(module_)][s->name] = s;
  }
  if (where != Where::Function) {
    if (PyObject_SetAttrString(reinterpret_cast<PyObject*>(tensor_type), s->name.c_str(), object.get()) < 0)
      throw PythonError();
    registry()["Tensor"][s->name] = s;
  }
}

void Bind::alias(const char* name, const char* existing) {
  auto* type = reinterpret_cast<PyObject*>(tensor_type);
  for (PyObject* owner : {module_, type}) {
    if (!PyObject_HasAttrString(owner, existing)) continue;
    Object o = Object::steal(PyObject_GetAttrString(owner, existing));
    if (PyObject_SetAttrString(owner, name, o.get()) < 0) throw PythonError();
    registry()[owner == type ? "Tensor" : PyModule_GetName(module_)][name] =
        reinterpret_cast<Op*>(o.get())->signature;
  }
}

PyObject* all_signatures() {
  Object all = Object::steal(PyDict_New());
  for (const auto& [owner, functions] : registry()) {
    Object table = Object::steal(PyDict_New());
    for (const auto& [name, s] : functions) {
      Object text = Object::steal(PyUnicode_FromString(s->text.c_str()));
      PyDict_SetItemString(table.get(), name.c_str(), text.get());
    }
    PyDict_SetItemString(all.get(), owner.c_str(), table.get());
  }
  return all.release();
}

// ---- reading a checked argument ----

int64_t Args::integer(int i) const {
  Object index = Object::steal(PyNumber_Index(values[i]));
  const int64_t v = PyLong_AsLongLong(index.get());
  if (v == -1 && PyErr_Occurred()) throw PythonError();
  return v;
}

std::vector<int64_t> Args::integers(int i) const {
  std::vector<int64_t> out;
  if (!has(i)) return out;
  auto add = [&](PyObject* o) {
    Object index = Object::steal(PyNumber_Index(o));
    out.push_back(PyLong_AsLongLong(index.get()));
    if (out.back() == -1 && PyErr_Occurred()) throw PythonError();
  };
  if (!PyTuple_Check(values[i]) && !PyList_Check(values[i])) {
    add(values[i]);
    return out;
  }
  for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(values[i]); ++k)
    add(PySequence_Fast_ITEMS(values[i])[k]);
  return out;
}

Dims Args::dims(int i) const {
  const auto v = integers(i);
  return Dims(v.data(), static_cast<int>(v.size()));
}

double Args::number(int i) const {
  if (is_tensor(values[i])) return item(unwrap(values[i])).as<double>();
  return unwrap_number(values[i]).as<double>();
}

TensorList Args::tensors(int i) const {
  TensorList out;
  if (!has(i)) return out;
  for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(values[i]); ++k)
    out.push_back(unwrap(PySequence_Fast_ITEMS(values[i])[k]));
  return out;
}

Tensor converted(const Args& a, int dtype) {
  return a.has(dtype) ? to_dtype(a.tensor(0), unwrap_dtype(a.object(dtype))) : a.tensor(0);
}

Tensor Args::operand(int i) const {
  Tensor t;
  if (has(i) && !to_operand(values[i], &t)) throw PythonError();
  return t;
}

std::string Args::string(int i) const {
  if (!has(i)) return {};
  const char* s = PyUnicode_AsUTF8(values[i]);
  if (s == nullptr) throw PythonError();
  return s;
}

PyObject* Args::result(const Tensor& t, int out) const {
  if (!has(out)) return wrap(t);
  write_out(signature.name.c_str(), unwrap(values[out]), t);
  return Py_NewRef(values[out]);
}

void write_out(const char* op, const Tensor& out, const Tensor& result) {
  CR_CHECK(
      !grad_enabled || (!result.requires_grad() && !out.requires_grad()), op,
      "(): functions with out=... arguments don't support automatic differentiation, but one of the arguments "
      "requires grad.");
  CR_CHECK(can_cast(result.dtype(), out.dtype()), op, "(): result type ", name_of(result.dtype()),
           " can't be cast to the desired output type ", name_of(out.dtype()));
  if (!(out.sizes() == result.sizes())) {
    if (out.numel() != 0 &&
        PyErr_WarnFormat(
            PyExc_UserWarning, 1,
            "%s(): an output with one or more elements was resized, since its shape is not that of the "
            "result. Reuse it by resizing it to zero elements first.",
            op) < 0)
      throw PythonError();
    const Tensor room = empty(result.sizes(), out.dtype());
    TensorImpl& o = *out.impl();
    o.storage = room.impl()->storage;
    o.data = room.impl()->data;
    o.numel = room.numel();
    o.sizes = room.sizes();
    o.strides = room.strides();
    o.contiguous = true;
  }
  NoGrad no_grad;
  copy_(out, result);
}

}  // namespace chainrule::python
