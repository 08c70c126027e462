#include "autograd/node.h"

#include <atomic>
#include <cctype>
#include <cstring>

#include "autograd/meta.h"
#include "autograd/mode.h"
#include "core/pool.h"

namespace chainrule {

CR_THREAD_LOCAL Node* current_node = nullptr;

namespace {

std::atomic<uint64_t> sequence_counter{1};

uint64_t next_sequence() {
  if (counts_are_shared) [[unlikely]]
    return sequence_counter.fetch_add(1, std::memory_order_relaxed);
  const uint64_t next = sequence_counter.load(std::memory_order_relaxed);
  sequence_counter.store(next + 1, std::memory_order_relaxed);
  return next;
}

}  // namespace

Node::Node() : sequence(next_sequence()) {
  if (anomaly_mode.enabled && anomaly_mode.traceback != nullptr) [[unlikely]]
    extra().traceback = anomaly_mode.traceback();
}

void* Node::operator new(size_t bytes) { return pool_alloc(bytes); }
void Node::operator delete(void* p, size_t bytes) { pool_free(p, bytes); }

void Node::destroy(Node* n) {
  static CR_THREAD_LOCAL bool busy = false;
  static CR_THREAD_LOCAL Node* waiting = nullptr;
  if (busy) {
    n->next_to_go = std::exchange(waiting, n);
    return;
  }
  busy = true;
  for (;;) {
    delete n;
    if (waiting == nullptr) break;
    n = std::exchange(waiting, waiting->next_to_go);
  }
  busy = false;
}

// As PyTorch shows it: "log_softmax" is LogSoftmaxBackward0, "avg_pool2d" AvgPool2DBackward0, and "sum/1", its second
// form of a sum, SumBackward1.
std::string Node::display_name() const {
  static constexpr const char* kOtherwise[][2] = {{"square", "pow"},
                                                  {"pow_number", "pow"},
                                                  {"pow", "pow/1"},
                                                  {"clamp", "clamp/1"},
                                                  {"fill", "fill/2"},
                                                  {"gelu_tanh", "gelu"},
                                                  {"layer_norm", "native_layer_norm"},
                                                  {"batch_norm", "native_batch_norm"},
                                                  {"group_norm", "native_group_norm"}};
  const char* shown = name;
  for (const auto& [ours, theirs] : kOtherwise)
    if (std::strcmp(name, ours) == 0) shown = theirs;
  std::string out;
  bool upper = true;
  const char* c = shown;
  for (; *c && *c != '/'; ++c) {
    if (*c != '_') out += upper ? static_cast<char>(std::toupper(*c)) : *c;
    upper = *c == '_' || std::isdigit(*c);
  }
  return out + "Backward" + (*c ? c + 1 : "0");
}

uint64_t HookList::next_id() {
  static std::atomic<uint64_t> id{1};
  return id++;
}

uint64_t HookList::add(Ref<Hook> h) {
  hooks.emplace_back(next_id(), std::move(h));
  return hooks.back().first;
}

bool HookList::remove(uint64_t id) {
  for (size_t i = 0; i < hooks.size(); ++i)
    if (hooks[i].first == id) {
      hooks.erase(hooks.begin() + static_cast<std::ptrdiff_t>(i));
      return true;
    }
  return false;
}

void HookList::run(Tensor& grad) {
  const auto copy = hooks;  // a hook may remove itself
  for (const auto& [id, hook] : copy)
    if (Tensor replaced = hook->call(grad); replaced.defined()) grad = replaced;
}

}  // namespace chainrule
