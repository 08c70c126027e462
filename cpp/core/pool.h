// Memory for small objects that know their size when they go (handles, nodes, small storages): no header, and a list for
// each size in each thread, so that taking and giving back a block is a few instructions without a lock.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/thread_local.h"

#if defined(__SANITIZE_ADDRESS__)
#define CR_NO_CACHE 1  // let the sanitizer see every free
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CR_NO_CACHE 1
#endif
#endif

namespace chainrule {

inline constexpr size_t kPooled = 1024;  // bytes, in steps of 64; larger blocks come from the system

struct FreeBlock { FreeBlock* next; };
struct FreeList {
  FreeBlock* first;
  std::atomic<uint32_t> count;  // written by its thread, read by pool_stats
  uint32_t room;                // what is more goes back to the system; 0 until the thread is known
};
extern CR_THREAD_LOCAL FreeList free_lists[kPooled / 64];

void* pool_alloc_slowly(size_t bytes);
void pool_free_slowly(void* block, size_t bytes);
inline FreeList& free_list_of(size_t bytes) { return free_lists[bytes == 0 ? 0 : (bytes - 1) / 64]; }

// Never null; throws Error when the system has no memory left.
inline void* pool_alloc(size_t bytes) {
  if (bytes > kPooled) return pool_alloc_slowly(bytes);
  FreeList& list = free_list_of(bytes);
  FreeBlock* block = list.first;
  if (block == nullptr) return pool_alloc_slowly(bytes);
  list.first = block->next;
  list.count.store(list.count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return block;
}

inline void pool_free(void* memory, size_t bytes) {
  if (bytes > kPooled) return pool_free_slowly(memory, bytes);
  FreeList& list = free_list_of(bytes);
  const uint32_t count = list.count.load(std::memory_order_relaxed);
  if (count >= list.room) return pool_free_slowly(memory, bytes);
  auto* block = static_cast<FreeBlock*>(memory);
  block->next = list.first;
  list.first = block;
  list.count.store(count + 1, std::memory_order_relaxed);
}

// For the standard containers of things that live for one call.
template <class T> struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U> PoolAllocator(const PoolAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(pool_alloc(n * sizeof(T))); }
  void deallocate(T* p, size_t n) { pool_free(p, n * sizeof(T)); }
  bool operator==(const PoolAllocator&) const { return true; }
};

struct PoolStats { size_t live, cached; };  // bytes, of all threads
PoolStats pool_stats();
void empty_pool();  // this thread's

}  // namespace chainrule
