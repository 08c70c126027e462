// What this thread records, and how carefully.
#pragma once
#include <string>

#include "core/thread_local.h"

namespace chainrule {

extern CR_THREAD_LOCAL bool grad_enabled;
extern CR_THREAD_LOCAL bool inference_mode;

struct GradModeGuard {
  bool before = grad_enabled;
  explicit GradModeGuard(bool enabled) { grad_enabled = enabled; }
  ~GradModeGuard() { grad_enabled = before; }
  GradModeGuard(const GradModeGuard&) = delete;
  GradModeGuard& operator=(const GradModeGuard&) = delete;
};
struct NoGrad : GradModeGuard {
  NoGrad() : GradModeGuard(false) {}
};

struct AnomalyMode {
  bool enabled = false;
  bool check_nan = true;
  std::string (*traceback)() = nullptr;  // the Python line, from the bindings
};
extern AnomalyMode anomaly_mode;

}  // namespace chainrule
