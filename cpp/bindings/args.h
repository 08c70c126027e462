// One typed signature a function, in PyTorch's style:
//
//   bind.op("sum(Tensor self, int[]? dim=None, bool keepdim=False, *, DType? dtype=None, Tensor? out=None) -> Tensor",
//           [](Args& a) { return a.result(sum(a.tensor(0), a.dims(1), a.flag(2), a.dtype(3)), 4); });
//
// makes the function chainrule.sum and the method Tensor.sum (the same object), parses their arguments, words their
// errors, and is what the type stubs are made of.
//
// Types: Tensor, Tensor[], int, int[] (a single int will do), float, bool, Scalar (a number), Operand (Tensor or
// number), DType, str, Generator, Device, object; `?` after a type admits None; `*int[] size` takes the remaining
// positional arguments, or one sequence.
#pragma once
#include <string>
#include <vector>

#include "bindings/python.h"

namespace chainrule::python {

enum class Type {
  Tensor,
  TensorList,
  Int,
  IntList,
  Float,
  Bool,
  Scalar,
  Operand,
  DType,
  Str,
  Generator,
  Device,
  Object
};

struct Param {
  std::string name;
  Type type;
  bool optional = false, keyword_only = false, variadic = false;
  PyObject* interned = nullptr;       // the name
  PyObject* default_value = nullptr;  // null when the argument is required
};

struct Signature {
  std::string name, text, doc;
  std::vector<Param> params;
  int positional = 0;
};

class Args {
 public:
  static constexpr int kMax = 20;
  explicit Args(const Signature& s) : signature(s) {}

  const Signature& signature;
  PyObject* values[kMax];  // borrowed, checked against their types; Py_None where optional

  bool has(int i) const { return values[i] != Py_None; }
  Tensor tensor(int i) const { return has(i) ? unwrap(values[i]) : Tensor(); }  // undefined for None
  TensorList tensors(int i) const;
  int64_t integer(int i) const;
  Dims dims(int i) const;  // empty for None
  std::vector<int64_t> integers(int i) const;
  double number(int i) const;  // float
  bool flag(int i) const { return values[i] == Py_True; }
  Scalar scalar(int i) const { return unwrap_number(values[i]); }
  Tensor operand(int i) const;
  DType dtype(int i, DType otherwise) const { return has(i) ? unwrap_dtype(values[i]) : otherwise; }
  std::string string(int i) const;
  PyObject* object(int i) const { return values[i]; }

  // The Python object of a result; written into the tensor of argument `out` when that was given.
  PyObject* result(const Tensor& t) const { return wrap(t); }
  PyObject* result(const Tensor& t, int out) const;

 private:
  Object packed_;  // the tuple of variadic arguments
  friend PyObject* call_op(PyObject*, PyObject* const*, size_t, PyObject*);
};

using Implementation = PyObject* (*)(Args&);
enum class Where { Both, Function, Method };

// Puts functions into a module and onto the Tensor type.
class Bind {
 public:
  explicit Bind(PyObject* module) : module_(module) {}
  void op(const char* signature, Implementation f, Where where = Where::Both, const char* doc = "");
  // An existing function or method under a second name.
  void alias(const char* name, const char* existing);
  PyObject* module() const { return module_; }

 private:
  PyObject* module_;
};

// The first argument, converted where argument `dtype` was given.
Tensor converted(const Args& a, int dtype);

// Writes `result` into `out` as out= does: resized when it is empty, with a warning when it has another shape.
void write_out(const char* op, const Tensor& out, const Tensor& result);

void init_op_type();
PyObject* all_signatures();  // {"name": ["signature", ...]} a module, for the stubs

}  // namespace chainrule::python
