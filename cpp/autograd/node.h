// A node of the recorded graph: one differentiable operation, with edges to the operations that made its inputs.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/small.h"
#include "core/tensor.h"
#include "core/thread_local.h"

namespace chainrule {

struct Node;
using TensorList = std::vector<Tensor>;
using Grads = Small<Tensor, 3>;

// Where a gradient goes: the `output`-th result of the operation `node`. Empty when nobody asks for it.
struct Edge {
  Ref<Node> node;
  uint32_t output = 0;
  explicit operator bool() const { return static_cast<bool>(node); }
};

// Somebody's function on a gradient on its way: may return a replacement, or an undefined tensor to leave it.
struct Hook : Counted {
  virtual ~Hook() = default;
  virtual Tensor call(const Tensor& grad) = 0;
  virtual void* python() { return nullptr; }  // what the garbage collector should visit
  static void destroy(Hook* h) { delete h; }
};
// A function on all gradients of a node: before it runs (inputs empty) or after.
struct NodeHook : Counted {
  virtual ~NodeHook() = default;
  virtual void call(Grads& grad_inputs, Grads& grad_outputs, bool before) = 0;
  virtual void* python() { return nullptr; }
  static void destroy(NodeHook* h) { delete h; }
};
struct HookList {
  std::vector<std::pair<uint64_t, Ref<Hook>>> hooks;
  static uint64_t next_id();
  uint64_t add(Ref<Hook> h);
  bool remove(uint64_t id);
  void run(Tensor& grad);
};

// Which inputs' gradients are wanted: need[i].
class Needs {
 public:
  explicit Needs(const Node& node) : node_(node) {}
  bool operator[](int i) const;
  const Node& node() const { return node_; }

 private:
  const Node& node_;
};

struct Node : Counted {
  const char* name = "";  // the op's: "mul"; shown as MulBackward0
  union {
    uint64_t sequence;  // grows with creation, so that every node comes after those that it uses
    Node* next_to_go;   // once nobody owns it
  };
  int outputs = 1;     // results of the forward operation, gradients that arrive
  bool freed = false;  // its saved tensors have gone
  // Threads that are in its backward now, perhaps in a kernel without the interpreter's lock: what it has saved is freed
  // after the last of them. Both are changed only under that lock.
  int running = 0;
  bool free_later = false;
  Small<Edge, 3> edges;  // one an input

  // What few nodes have.
  struct Extras {
    std::vector<HookList> output_hooks;                      // by output
    std::vector<std::pair<uint32_t, TensorImpl*>> retained;  // tensors that keep their gradient
    std::vector<std::pair<uint64_t, Ref<NodeHook>>> before, after;
    std::string traceback;   // where it was made, in anomaly mode
    Node* write = nullptr;   // the node that stands in the graph for this one, which wrote into a view
    void* python = nullptr;  // its Python object while one exists
  };
  std::unique_ptr<Extras> extras;
  Extras& extra() {
    if (!extras) extras = std::make_unique<Extras>();
    return *extras;
  }

  Node();
  virtual ~Node() = default;
  // The gradients of the inputs from those of the outputs; an undefined tensor stands for zero on either side.
  virtual void backward(Grads& grad_outputs, Grads& grad_inputs) = 0;
  virtual void free_saved() {}
  virtual std::string display_name() const;
  virtual Tensor leaf() const { return {}; }  // AccumulateGrad's variable
  virtual void* python_context() { return nullptr; }

  // Nodes are freed from a list, not from each other: a chain of a million does not recurse.
  static void destroy(Node* n);
  static void* operator new(size_t bytes);
  static void operator delete(void* p, size_t bytes);
};

inline bool Needs::operator[](int i) const { return static_cast<bool>(node_.edges[i]); }

// The node whose backward runs in this thread.
extern CR_THREAD_LOCAL Node* current_node;
struct CurrentNode {
  Node* outer;
  explicit CurrentNode(Node* n) : outer(std::exchange(current_node, n)) {}
  ~CurrentNode() { current_node = outer; }
  CurrentNode(const CurrentNode&) = delete;
  CurrentNode& operator=(const CurrentNode&) = delete;
};

}  // namespace chainrule
