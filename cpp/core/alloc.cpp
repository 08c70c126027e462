#include "core/alloc.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "core/arena.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/ref.h"
#include "core/thread_local.h"

#if defined(__SANITIZE_ADDRESS__)
#define CR_NO_CACHE 1  // let the sanitizer see every free
#endif

namespace chainrule {
namespace {

void* system_alloc(size_t bytes) {
#ifdef _WIN32
  return _aligned_malloc(bytes, 64);
#else
  return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
#endif
}

void system_free(void* block) {
#ifdef _WIN32
  _aligned_free(block);
#else
  std::free(block);
#endif
}

[[noreturn]] void out_of_memory(size_t bytes) {
  throw Error(text("out of memory: ", bytes, " bytes were asked for"));
}

// ---- middle-sized blocks: shared lists in front of the arena ----

// A block is preceded by one cache line that remembers its size: the arena's, from here on. Free blocks are chained
// through what follows.
struct alignas(64) Header {
  size_t bytes;
  Header*& next() { return *reinterpret_cast<Header**>(this + 1); }
};

constexpr size_t kListed = size_t{32} << 10;  // blocks up to here
constexpr size_t kListsKeep = size_t{1} << 20;
// Sixteen sizes an octave from 1 KiB on: at most 6.25% is lost to rounding.
constexpr int kSteps = 16, kFirstOctave = 10, kClasses = kSteps * 5 + 1;

int class_of(size_t bytes) {
  const int octave = 63 - __builtin_clzll(bytes);
  const auto step = static_cast<int>((bytes - (size_t{1} << octave)) >> (octave - 4));
  return (octave - kFirstOctave) * kSteps + step;
}

size_t rounded(size_t bytes) {
  constexpr size_t kLeast = size_t{1} << kFirstOctave;
  if (bytes <= kLeast) return kLeast;
  const size_t step = bytes > kListed ? 1024 : (size_t{1} << (63 - __builtin_clzll(bytes - 1))) / kSteps;
  return (bytes + step - 1) / step * step;
}

std::mutex lists_mutex;
Header* shared_lists[kClasses];
std::atomic<size_t> live{0}, listed{0}, peak{0};

Header* take_listed(size_t bytes) {
  std::lock_guard lock(lists_mutex);
  Header*& list = shared_lists[class_of(bytes)];
  Header* h = list;
  if (h != nullptr) {
    list = h->next();
    listed -= h->bytes;
  }
  return h;
}

bool put_listed(Header* h) {
  std::lock_guard lock(lists_mutex);
  if (listed + h->bytes > kListsKeep) return false;
  Header*& list = shared_lists[class_of(h->bytes)];
  h->next() = list;
  list = h;
  listed += h->bytes;
  return true;
}

void release_shared() {
  {
    std::lock_guard lock(lists_mutex);
    for (Header*& list : shared_lists)
      while (Header* h = list) {
        list = h->next();
        listed -= h->bytes;
        arena_free(h + 1);
      }
  }
  arena_release();
}

// ---- small blocks: a pool a thread ----

constexpr int kPoolClasses = kPooled / 64;
constexpr uint32_t kPoolKeeps = size_t{1}
                                << 20;  // bytes a class and thread; what is more goes back to the system

struct Free { Free* next; };
struct Pool {
  Free* lists[kPoolClasses];
  uint32_t counts[kPoolClasses];
  std::atomic<int64_t> live, cached;  // written by their thread, read by memory_stats
  bool registered;
  Pool *before, *after;
};
CR_THREAD_LOCAL Pool pool{};
CR_THREAD_LOCAL bool pool_ended = false;

std::mutex pools_mutex;
Pool* pools = nullptr;
std::atomic<int64_t> live_of_ended{0};  // what ended threads had allocated and not freed
int python_threads = 0;

void add(std::atomic<int64_t>& counter, int64_t bytes) {
  counter.store(counter.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
}

void drain(Pool& p) {
  for (int c = 0; c < kPoolClasses; ++c) {
    while (Free* f = p.lists[c]) {
      p.lists[c] = f->next;
      system_free(f);
    }
    p.counts[c] = 0;
  }
  p.cached = 0;
}

// Gives a thread's blocks back when it ends. What is freed after that goes straight to the system.
struct PoolKeeper {
  ~PoolKeeper() {
    pool_ended = true;
    std::lock_guard lock(pools_mutex);
    drain(pool);
    live_of_ended += pool.live;
    (pool.before != nullptr ? pool.before->after : pools) = pool.after;
    if (pool.after != nullptr) pool.after->before = pool.before;
    pool.registered = false;
  }
};
bool register_pool() {
  if (pool_ended) return false;
  static thread_local PoolKeeper keeper;
  std::lock_guard lock(pools_mutex);
  pool.after = pools;
  if (pools != nullptr) pools->before = &pool;
  pools = &pool;
  pool.registered = true;
  // Threads of a parallel region own no tensors.
  if (!inside_parallel_region() && ++python_threads > 1) counts_are_shared = true;
  return true;
}

int pool_class(size_t bytes) { return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / 64); }
size_t pool_bytes(int c) { return (static_cast<size_t>(c) + 1) * 64; }

}  // namespace

void* pool_alloc(size_t bytes) {
#ifndef CR_NO_CACHE
  if (bytes <= kPooled) {
    const int c = pool_class(bytes);
    const auto size = static_cast<int64_t>(pool_bytes(c));
    if (pool.registered || register_pool()) add(pool.live, size);
    if (Free* f = pool.lists[c]) {
      pool.lists[c] = f->next;
      --pool.counts[c];
      add(pool.cached, -size);
      return f;
    }
    bytes = static_cast<size_t>(size);
  }
#endif
  void* block = system_alloc(bytes);
  if (block == nullptr) {
    empty_cache();
    block = system_alloc(bytes);
  }
  if (block == nullptr) out_of_memory(bytes);
  return block;
}

void pool_free(void* block, size_t bytes) {
#ifndef CR_NO_CACHE
  if (bytes <= kPooled && (pool.registered || register_pool())) {
    const int c = pool_class(bytes);
    const auto size = static_cast<int64_t>(pool_bytes(c));
    add(pool.live, -size);
    if (pool.counts[c] * static_cast<uint32_t>(size) < kPoolKeeps) {
      auto* f = static_cast<Free*>(block);
      f->next = pool.lists[c];
      pool.lists[c] = f;
      ++pool.counts[c];
      add(pool.cached, size);
      return;
    }
  }
#endif
  system_free(block);
}

void* cr_alloc(size_t bytes) {
  if (bytes >= size_t{1} << 47) out_of_memory(bytes);
  if (bytes + sizeof(Header) <= kPooled) {
    auto* h = static_cast<Header*>(pool_alloc(bytes + sizeof(Header)));
    h->bytes = bytes;
    return h + 1;
  }
  bytes = rounded(bytes);
  Header* h = nullptr;
#ifndef CR_NO_CACHE
  if (bytes <= kListed) h = take_listed(bytes);
  for (int attempt = 0; h == nullptr; ++attempt) {
    if (void* block = arena_alloc(bytes)) {
      h = static_cast<Header*>(block) - 1;
    } else {
      if (attempt != 0) out_of_memory(bytes);
      empty_cache();
    }
  }
#else
  h = static_cast<Header*>(system_alloc(sizeof(Header) + bytes));
  if (h == nullptr) out_of_memory(bytes);
  h->bytes = bytes;
#endif
  const size_t now = live.fetch_add(h->bytes, std::memory_order_relaxed) + h->bytes;
  if (now > peak.load(std::memory_order_relaxed)) peak.store(now, std::memory_order_relaxed);
  return h + 1;
}

void cr_free(void* block) {
  if (block == nullptr) return;
  Header* h = static_cast<Header*>(block) - 1;
  if (h->bytes + sizeof(Header) <= kPooled) return pool_free(h, h->bytes + sizeof(Header));
  live.fetch_sub(h->bytes, std::memory_order_relaxed);
#ifndef CR_NO_CACHE
  if (h->bytes > kListed || !put_listed(h)) arena_free(block);
#else
  system_free(h);
#endif
}

MemoryStats memory_stats() {
  std::lock_guard lock(pools_mutex);
  int64_t small = live_of_ended, small_cached = 0;
  for (const Pool* p = pools; p != nullptr; p = p->after) {
    small += p->live;
    small_cached += p->cached;
  }
  const size_t now = live + static_cast<size_t>(small < 0 ? 0 : small);
  const size_t cached = arena_cached() + listed + static_cast<size_t>(small_cached);
  return {now, cached, peak > now ? peak.load() : now};
}

void reset_peak() { peak = live.load(); }

void empty_cache() {
  release_shared();
  drain(pool);
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace chainrule
