// The one point through which every kernel starts: forward, backward and optimizer. Whatever wants to see the work go
// by (profiler, NaN hunt, capture) is an observer here.
#pragma once
#include <initializer_list>

#include "core/tensor.h"

namespace chainrule {

struct Launch;

// A kernel with a name; it knows nothing of derivatives. Attributes are one plain struct, so that a launch can be kept
// and replayed.
struct Primitive {
  const char* name;
  void (*run)(const Launch&);
  size_t attr_bytes = 0;
};

struct Launch {
  const Primitive& primitive;
  const Tensor* const* outs;
  const Tensor* const* ins;
  int out_count, in_count;
  const void* attr_data;

  const Tensor& out(int i) const { return *outs[i]; }
  const Tensor& in(int i) const { return *ins[i]; }
  template <class A> const A& attrs() const { return *static_cast<const A*>(attr_data); }
};

struct LaunchObserver {
  virtual ~LaunchObserver() = default;
  virtual void before(const Launch&) {}
  virtual void after(const Launch&) {}
};
// Per thread; returns the one that was set before.
LaunchObserver* set_launch_observer(LaunchObserver* observer);

// Set by the bindings: a kernel of more than a few microseconds runs without the interpreter's lock.
struct InterpreterLock {
  void* (*release)() = nullptr;
  void (*acquire)(void*) = nullptr;
};
extern InterpreterLock interpreter_lock;

// While one is alive, this thread's kernels keep the interpreter's lock: for updates that two threads could make at once.
struct HoldInterpreter {
  HoldInterpreter();
  ~HoldInterpreter();
  HoldInterpreter(const HoldInterpreter&) = delete;
  HoldInterpreter& operator=(const HoldInterpreter&) = delete;
};

void launch(const Launch& l);

using TensorPtrs = std::initializer_list<const Tensor*>;
inline void launch(const Primitive& p, TensorPtrs outs, TensorPtrs ins) {
  launch(
      {p, outs.begin(), ins.begin(), static_cast<int>(outs.size()), static_cast<int>(ins.size()), nullptr});
}
template <class Attrs> void launch(const Primitive& p, TensorPtrs outs, TensorPtrs ins, const Attrs& attrs) {
  launch({p, outs.begin(), ins.begin(), static_cast<int>(outs.size()), static_cast<int>(ins.size()), &attrs});
}

}  // namespace chainrule
