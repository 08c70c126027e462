#include "core/alloc.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>

#include "core/parallel.h"
#include "core/ref.h"
#include "core/thread_local.h"
#include "core/unnamed_error.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

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

#if defined(__linux__) && !defined(CR_NO_CACHE)
// Blocks from here on are mapped by themselves, in huge pages: a large tensor's first touch costs a hundredth of the
// page faults, its later ones fewer misses of the address cache, and the memory leaves the process when it is freed.
constexpr size_t kMapped = size_t{4} << 20, kHugePage = size_t{2} << 20, kPage = 4096;

size_t mapped_size(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

void* map_block(size_t bytes) {
  const size_t size = mapped_size(bytes), spare = size + kHugePage;
  void* m = mmap(nullptr, spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(m), at = (start + kHugePage - 1) / kHugePage * kHugePage;
  if (at > start) munmap(m, at - start);
  if (start + spare > at + size) munmap(reinterpret_cast<void*>(at + size), start + spare - at - size);
  auto* block = reinterpret_cast<void*>(at);
  madvise(block, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  return block;
}
#else
constexpr size_t kMapped = SIZE_MAX;
size_t mapped_size(size_t bytes) { return bytes; }
void* map_block(size_t) { return nullptr; }
void munmap(void*, size_t) {}
#endif

void* large_alloc(size_t bytes) { return bytes >= kMapped ? map_block(bytes) : system_alloc(bytes); }
void large_free(void* block, size_t bytes) {
  if (bytes >= kMapped)
    munmap(block, mapped_size(bytes));
  else
    system_free(block);
}

[[noreturn]] void out_of_memory(size_t bytes) {
  throw UnnamedError(text("out of memory: ", bytes, " bytes were asked for"));
}

// ---- large blocks: shared lists ----

// A block is preceded by one cache line that remembers its size; free blocks are chained through it.
struct alignas(64) Header {
  Header* next;
  size_t bytes;
};

// Classes from 1 KiB on, sixteen steps an octave: at most 6.25% is lost to rounding.
constexpr int kSteps = 16, kFirstOctave = 10, kClasses = kSteps * 38;

int class_of(size_t bytes, size_t* rounded) {
  if (bytes <= size_t{1} << kFirstOctave) bytes = (size_t{1} << kFirstOctave) + 1;
  const int octave = 63 - __builtin_clzll(bytes - 1);  // 2^octave < bytes <= 2^(octave + 1)
  const size_t step = (size_t{1} << octave) / kSteps;
  const size_t steps = (bytes - (size_t{1} << octave) + step - 1) / step;
  *rounded = (size_t{1} << octave) + steps * step;
  return (octave - kFirstOctave) * kSteps + static_cast<int>(steps) - 1;
}

std::mutex shared_mutex;
Header* shared_lists[kClasses];
std::atomic<size_t> live{0}, cached{0}, peak{0};
// What was live lately: the peak of this window of allocations and of the one before.
constexpr uint32_t kWindow = 20000;
std::atomic<size_t> window_peak{0}, recent_peak{0};
std::atomic<uint32_t> window_count{0};

// What is held may pass the recent peak of what was live by a tenth, and by this.
constexpr size_t kSlack = size_t{64} << 20;
bool too_much(size_t more) {
  const size_t recent = recent_peak;
  return cached > recent / 10 + kSlack && live + cached + more > recent + recent / 10 + kSlack;
}

void release_shared() {
  std::lock_guard lock(shared_mutex);
  for (Header*& list : shared_lists)
    while (list != nullptr) {
      Header* next = list->next;
      cached -= list->bytes;
      large_free(list, sizeof(Header) + list->bytes);
      list = next;
    }
}

Header* take_shared(int size_class) {
  std::lock_guard lock(shared_mutex);
  Header* h = shared_lists[size_class];
  if (h != nullptr) shared_lists[size_class] = h->next;
  return h;
}

Header* fresh_block(size_t rounded) {
  if (too_much(rounded)) release_shared();  // other sizes' blocks go first
  void* block = large_alloc(sizeof(Header) + rounded);
  if (block == nullptr) {
    release_shared();
    block = large_alloc(sizeof(Header) + rounded);
  }
  if (block == nullptr) out_of_memory(rounded);
  auto* h = static_cast<Header*>(block);
  h->bytes = rounded;
  return h;
}

void raise(std::atomic<size_t>& to, size_t value) {
  if (value > to.load(std::memory_order_relaxed)) to.store(value, std::memory_order_relaxed);
}

void count_live(size_t bytes) {
  const size_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  raise(peak, now);
  raise(window_peak, now);
  raise(recent_peak, now);
  if (window_count.fetch_add(1, std::memory_order_relaxed) + 1 < kWindow) return;
  window_count = 0;
  recent_peak = window_peak.exchange(now);
  if (too_much(0)) release_shared();
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
    release_shared();
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
  Header* h;
  if (bytes + sizeof(Header) <= kPooled) {
    h = static_cast<Header*>(pool_alloc(bytes + sizeof(Header)));
    h->bytes = bytes;
    return h + 1;
  }
  size_t rounded;
  h = take_shared(class_of(bytes, &rounded));
  if (h != nullptr) {
    cached.fetch_sub(rounded, std::memory_order_relaxed);
  } else {
    h = fresh_block(rounded);
  }
  count_live(rounded);
  return h + 1;
}

void cr_free(void* block) {
  if (block == nullptr) return;
  Header* h = static_cast<Header*>(block) - 1;
  if (h->bytes + sizeof(Header) <= kPooled) return pool_free(h, h->bytes + sizeof(Header));
  live.fetch_sub(h->bytes, std::memory_order_relaxed);
#ifndef CR_NO_CACHE
  size_t rounded;
  const int c = class_of(h->bytes, &rounded);
  std::lock_guard lock(shared_mutex);
  h->next = shared_lists[c];
  shared_lists[c] = h;
  cached.fetch_add(rounded, std::memory_order_relaxed);
#else
  large_free(h, sizeof(Header) + h->bytes);
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
  return {now, cached + static_cast<size_t>(small_cached), peak > now ? peak.load() : now};
}

void reset_peak() { peak = live.load(); }

void empty_cache() {
  release_shared();
  drain(pool);
}

}  // namespace chainrule
