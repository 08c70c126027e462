// The compiled module chainrule._core.
#include <pybind11/pybind11.h>

#include "bindings/args.h"
#include "bindings/return_types.h"
#include "bindings/topics.h"
#include "core/alloc.h"
#include "core/cpu_quota.h"
#include "core/float_mode.h"
#include "core/launch.h"
#include "core/parallel.h"
#include "ops/elementwise.h"

namespace py = pybind11;

namespace chainrule::python {

void set_python_error() {
  try {
    throw;
  } catch (const PythonError&) {
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const IndexError& e) {
    PyErr_SetString(PyExc_IndexError, e.what());
  } catch (const TypeError& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const ValueError& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "out of memory");
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif
#ifndef CHAINRULE_VERSION
#define CHAINRULE_VERSION "0.0.0"
#endif

py::dict build_info() {
  py::dict d;
  d["version"] = CHAINRULE_VERSION;
  d["compiler"] = kCompiler;
  d["isa"] = isa_name();
  d["levels"] = py::str(isa_levels()).attr("split")();
  d["threads"] = num_threads();
  return d;
}

py::object submodule(py::module_& parent, const char* name) {
  const std::string full = std::string("chainrule._core.") + name;
  py::object m = py::reinterpret_steal<py::object>(PyModule_New(full.c_str()));
  parent.attr(name) = m;
  py::module_::import("sys").attr("modules")[full.c_str()] = m;
  return m;
}

}  // namespace
}  // namespace chainrule::python

PYBIND11_MODULE(_core, m) {
  using namespace chainrule;
  using namespace chainrule::python;
  choose_isa();
  init_elementwise();
  interpreter_lock.release = []() -> void* { return PyGILState_Check() ? PyEval_SaveThread() : nullptr; };
  interpreter_lock.acquire = [](void* state) { PyEval_RestoreThread(static_cast<PyThreadState*>(state)); };

  try {
    init_types(m.ptr());
    init_tensor_type(m.ptr());
    init_node_type(m.ptr());
    init_hook_types(m.ptr());
    init_op_type();
    init_modes(m.ptr());
    init_return_types(m.ptr());
    Bind core(m.ptr());
    Bind nn(submodule(m, "_nn").ptr());
    Bind optim(submodule(m, "_optim").ptr());
    bind_module_base(nn);
    bind_tensor(core);
    bind_elementwise(core);
    bind_activations(core, nn);
    bind_views(core);
    bind_autograd(core);
    bind_moving(core);
    bind_rearrange(core, nn);
    bind_creation(core);
    bind_random(core, nn);
    bind_reduce(core);
    bind_norm(nn);
    bind_loss(nn);
    bind_interop(core);
    bind_function(core);
    bind_optim(optim);
    bind_linalg(core, nn);
    bind_conv(nn);
    init_value_type(m.ptr());
  } catch (const PythonError&) {
    throw py::error_already_set();
  }

  m.def("_build_info", build_info);
  m.def("_signatures", [] { return py::reinterpret_steal<py::object>(all_signatures()); });
  m.def("get_num_threads", &num_threads, "The number of threads that kernels may use.");
  m.def(
      "set_num_threads",
      [](int n) {
        CR_CHECK(n > 0, "set_num_threads: expects a positive integer, got ", n);
        set_num_threads(n);
      },
      py::arg("num_threads"),
      "Sets the number of threads that kernels may use; results do not depend on it.");
  m.def("_cpu_quota", &cpu_quota, py::arg("membership"), py::arg("mounts"));
  m.def(
      "set_flush_denormal", &set_flush_denormal, py::arg("mode"),
      "Whether this thread, and those that work for it, take denormal numbers for zero; True when the processor can.");
  m.def("_memory_stats", [] {
    const MemoryStats s = memory_stats();
    py::dict d;
    d["live"] = s.live, d["cached"] = s.cached, d["peak"] = s.peak;
    return d;
  });
  m.def("_reset_peak", &reset_peak);
  m.def("_empty_cache", &empty_cache);
}
