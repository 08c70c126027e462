// The Python object of chainrule.Value, shared by its type (value.cpp) and its operators (value_operators.cpp).
//
// A Value is a Python object with its node inside. It owns references to its inputs, so a result keeps its
// graph alive. A graph of numbers has no cycles, so a Value is left out of the cyclic collector until it
// holds something that could close one: a label that is not a string, a rule of the user's, the attributes of
// a subclass, or an input that is in the collector.
#pragma once
#include <cstddef>
#include <vector>

#include "bindings/python.h"
#include "scalar/value.h"

namespace chainrule::python {

// What few Values have.
struct ValueExtras {
  PyObject* label = nullptr;     // null: ''
  PyObject* rule = nullptr;      // what the user assigned to _backward, or null
  PyObject* children = nullptr;  // the tuple of inputs of a Custom node, or null
};

struct Value {
  PyObject_HEAD scalar::Node node;
  ValueExtras* extras;  // null until there are any
};

// In a node's flags.
constexpr uint8_t kTracked = 1;        // in the cyclic collector
constexpr uint8_t kWholeExponent = 2;  // of a Power: '**2' rather than '**2.0'

extern PyTypeObject* value_type;

inline bool is_value(PyObject* o) { return Py_TYPE(o) == value_type || PyObject_TypeCheck(o, value_type); }
inline Value* as_value(PyObject* o) { return reinterpret_cast<Value*>(o); }
inline PyObject* as_object(Value* v) { return reinterpret_cast<PyObject*>(v); }
inline Value* owner_of(scalar::Node* n) {
  return reinterpret_cast<Value*>(reinterpret_cast<char*>(n) - offsetof(Value, node));
}

void track(Value* v);

// A Value of the exact type, outside of the collector; nullptr with an error set when memory is out.
Value* new_value();

// Reads a number: 1 on success, 0 when o is not one, -1 with an error set. Arrays are not numbers, so that
// their own operators see the Value.
int read_number(PyObject* o, double& out);

// Owns one reference; empty after an error.
struct Held {
  Value* v = nullptr;
  Held() = default;
  explicit Held(Value* v) : v(v) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { Py_XDECREF(v); }
  PyObject* give() {
    PyObject* o = as_object(v);
    v = nullptr;
    return o;
  }
};

// value_operators.cpp: arithmetic, order, and exp() to sqrt().
extern const std::vector<PyType_Slot> value_operators;
extern const std::vector<PyMethodDef> value_functions;

}  // namespace chainrule::python
