// The keyword arguments that every function which makes a tensor takes.
#pragma once
#include "bindings/args.h"

namespace chainrule::python {

#define CR_FACTORY "DType? dtype=None, Device? device=None, bool requires_grad=False"

struct Factory {
  const Args& a;
  int first;     // where dtype stands
  int out = -1;  // where out stands, if there is one

  // The dtype asked for, by dtype= or by out=.
  DType dtype(DType otherwise) const;
  PyObject* result(const Tensor& t) const;
};

}  // namespace chainrule::python
