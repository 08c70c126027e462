#include "core/launch.h"

#include "core/thread_local.h"

namespace chainrule {
namespace {

CR_THREAD_LOCAL LaunchObserver* observer = nullptr;
CR_THREAD_LOCAL int holding = 0;

// Elements moved above which the interpreter's lock is worth giving up (about 5 us of work).
constexpr int64_t kLongKernel = 32768;

int64_t elements(const Launch& l) {
  int64_t n = 0;
  // An optional tensor that was not given is undefined.
  for (int i = 0; i < l.out_count; ++i) n += l.outs[i]->defined() ? l.outs[i]->numel() : 0;
  for (int i = 0; i < l.in_count; ++i) n += l.ins[i]->defined() ? l.ins[i]->numel() : 0;
  return n;
}

struct WithoutInterpreter {
  void* state = nullptr;
  explicit WithoutInterpreter(const Launch& l) {
    if (interpreter_lock.release != nullptr && holding == 0 && elements(l) >= kLongKernel)
      state = interpreter_lock.release();
  }
  ~WithoutInterpreter() {
    if (state != nullptr) interpreter_lock.acquire(state);
  }
};

}  // namespace

InterpreterLock interpreter_lock;

HoldInterpreter::HoldInterpreter() { ++holding; }
HoldInterpreter::~HoldInterpreter() { --holding; }

LaunchObserver* set_launch_observer(LaunchObserver* next) { return std::exchange(observer, next); }

void launch(const Launch& l) {
  if (observer != nullptr) [[unlikely]]
    observer->before(l);
  {
    WithoutInterpreter lock(l);
    l.primitive.run(l);
  }
  if (observer != nullptr) [[unlikely]]
    observer->after(l);
}

}  // namespace chainrule
