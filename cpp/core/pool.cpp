#include "core/pool.h"

#include <mutex>

#include "core/alloc.h"
#include "core/parallel.h"
#include "core/ref.h"

namespace chainrule {

CR_THREAD_LOCAL FreeList free_lists[kPooled / 64]{};

namespace {

constexpr int kLists = kPooled / 64;
constexpr size_t kKeeps = size_t{1} << 20;  // bytes a list

size_t rounded(size_t bytes) { return bytes == 0 ? 64 : (bytes + 63) / 64 * 64; }
size_t list_bytes(int i) { return (static_cast<size_t>(i) + 1) * 64; }

// A thread's lists, as the others see them.
struct Pool {
  FreeList* lists;
  std::atomic<int64_t> held;  // bytes that the thread got from the system, less those that it gave back
  bool registered;
  Pool *before, *after;
};
CR_THREAD_LOCAL Pool pool{};
CR_THREAD_LOCAL bool pool_ended = false;

std::mutex pools_mutex;
Pool* pools = nullptr;
std::atomic<int64_t> held_by_none{0};  // what ended threads have left to others, and threads without lists
int python_threads = 0;

void drain() {
  for (int i = 0; i < kLists; ++i) {
    while (FreeBlock* block = free_lists[i].first) {
      free_lists[i].first = block->next;
      system_free(block);
      pool.held.fetch_sub(static_cast<int64_t>(list_bytes(i)), std::memory_order_relaxed);
    }
    free_lists[i].count.store(0, std::memory_order_relaxed);
  }
}

// Gives a thread's blocks back when it ends. What is freed after that goes straight to the system.
struct PoolKeeper {
  ~PoolKeeper() {
    pool_ended = true;
    std::lock_guard lock(pools_mutex);
    drain();
    for (FreeList& list : free_lists) list.room = 0;
    held_by_none += pool.held;
    (pool.before != nullptr ? pool.before->after : pools) = pool.after;
    if (pool.after != nullptr) pool.after->before = pool.before;
    pool.registered = false;
  }
};

bool register_pool() {
#ifdef CR_NO_CACHE
  static CR_THREAD_LOCAL bool counted = false;
  if (!counted && !inside_parallel_region()) {
    counted = true;
    std::lock_guard lock(pools_mutex);
    if (++python_threads > 1) counts_are_shared = true;
  }
  return false;
#else
  if (pool.registered) return true;
  if (pool_ended) return false;
  static thread_local PoolKeeper keeper;
  std::lock_guard lock(pools_mutex);
  pool.lists = free_lists;
  pool.after = pools;
  if (pools != nullptr) pools->before = &pool;
  pools = &pool;
  pool.registered = true;
  for (int i = 0; i < kLists; ++i) free_lists[i].room = static_cast<uint32_t>(kKeeps / list_bytes(i));
  // Threads of a parallel region own no tensors.
  if (!inside_parallel_region() && ++python_threads > 1) counts_are_shared = true;
  return true;
#endif
}

void count_held(int64_t bytes) {
  (pool.registered ? pool.held : held_by_none).fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace

void* pool_alloc_slowly(size_t bytes) {
  if (bytes > kPooled) return system_alloc(bytes);
  register_pool();
  void* block = system_alloc(rounded(bytes));
  count_held(static_cast<int64_t>(rounded(bytes)));
  return block;
}

void pool_free_slowly(void* block, size_t bytes) {
  if (bytes <= kPooled) {
    if (!pool.registered && register_pool()) return pool_free(block, bytes);
    count_held(-static_cast<int64_t>(rounded(bytes)));
  }
  system_free(block);
}

PoolStats pool_stats() {
  std::lock_guard lock(pools_mutex);
  int64_t held = held_by_none, cached = 0;
  for (const Pool* p = pools; p != nullptr; p = p->after) {
    held += p->held;
    for (int i = 0; i < kLists; ++i)
      cached += static_cast<int64_t>(p->lists[i].count.load(std::memory_order_relaxed) * list_bytes(i));
  }
  return {static_cast<size_t>(held < cached ? 0 : held - cached), static_cast<size_t>(cached)};
}

void empty_pool() { drain(); }

}  // namespace chainrule
