#include "core/alloc.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "core/pool.h"
#include "core/thread_local.h"
#include "core/unnamed_error.h"

#ifdef __linux__
#include <malloc.h>
#include <sys/mman.h>
#endif

namespace chainrule {

void system_free(void* block) {
#ifdef _WIN32
  _aligned_free(block);
#else
  std::free(block);
#endif
}

namespace {

void* aligned(size_t bytes) {  // null when there is none left
#ifdef _WIN32
  return _aligned_malloc(bytes, 64);
#else
  return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
#endif
}

#if defined(__linux__) && !defined(CR_NO_CACHE)
// Blocks from here on are mapped by themselves, in huge pages: a large tensor's first touch costs a hundredth of the
// page faults, its later ones fewer misses of the address cache, and the memory leaves the process when it is freed.
constexpr size_t kMapped = size_t{2} << 20, kHugePage = size_t{2} << 20,
                 kPage = 65536;  // the largest of any system

// In whole huge pages where that takes at most a sixteenth more.
size_t mapped_size(size_t bytes) {
  const size_t huge = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  return huge - bytes <= bytes / 16 ? huge : (bytes + kPage - 1) / kPage * kPage;
}

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

void* large_alloc(size_t bytes) { return bytes >= kMapped ? map_block(bytes) : aligned(bytes); }
void large_free(void* block, size_t bytes) {
  if (bytes >= kMapped)
    munmap(block, mapped_size(bytes));
  else
    system_free(block);
}

// What was freed between blocks that are alive leaves the process, too.
void trim() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

[[noreturn]] void out_of_memory(size_t bytes) {
  throw UnnamedError(text("out of memory: ", bytes, " bytes were asked for"));
}

// ---- large blocks: shared lists ----

// A block is preceded by one cache line that remembers its size; free blocks are chained through it.
struct alignas(64) Header {
  Header* next;
  size_t bytes;
  size_t used;        // of them, by the tensor that has it
  const void* giver;  // the thread that gave it back
};
// Its address tells threads apart.
CR_THREAD_LOCAL char this_thread = 0;

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

// Held for a few instructions at a time, but for a search when the cache is full: one atomic operation, where a mutex
// and counters of their own would take six.
class Spin {
 public:
  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

Spin shared;  // guards what follows
Header* lists[kClasses];
uint64_t allocations = 0;
uint64_t last_taken[kClasses];  // by that count
MemoryStats stats{};
size_t slack = 0;  // of blocks in use, what their tensors do not use
// What was live lately: the peak of this window of allocations, and of it and the one before.
constexpr uint64_t kWindow = 20000;
size_t window_peak = 0, recent_peak = 0;

// The latest block that this thread gave back, if it is among the first few: what another core wrote last is slow to
// write, and threads that work side by side take and give back alike.
Header* take_cached(int size_class) {
  constexpr int kFew = 8;
  Header** at = &lists[size_class];
  if (*at == nullptr) return nullptr;
  Header** own = at;
  for (int i = 0; i < kFew && *own != nullptr && (*own)->giver != &this_thread; ++i) own = &(*own)->next;
  if (*own != nullptr && (*own)->giver == &this_thread) at = own;
  Header* block = *at;
  *at = block->next;
  stats.cached -= block->bytes;
  return block;
}

void release_all() {
  for (int c = 0; c < kClasses; ++c)
    for (;;) {
      Header* block;
      {
        std::lock_guard lock(shared);
        block = take_cached(c);
      }
      if (block == nullptr) break;
      large_free(block, sizeof(Header) + block->bytes);
    }
}

void count_live(Header* h, size_t bytes) {
  h->used = bytes;
  slack += h->bytes - bytes;
  stats.live += bytes;
  stats.peak = std::max(stats.peak, stats.live);
  if (++allocations % kWindow == 0) {
    recent_peak = window_peak;
    window_peak = 0;
  }
  window_peak = std::max(window_peak, stats.live);
  recent_peak = std::max(recent_peak, stats.live);
}

// What is held may pass what was live at a time by 8 MB and a quarter, large programs by 48 MB and a tenth: the least
// with which no training step of the benchmarks gives back a block that its next step needs.
constexpr size_t kMegabyte = size_t{1} << 20;
bool holds_too_much(size_t more) {
  const size_t room = 8 * kMegabyte + std::min(recent_peak / 4, recent_peak / 10 + 40 * kMegabyte);
  return stats.cached > room && stats.live + slack + stats.cached + more > recent_peak + room;
}

// Gives back blocks of the sizes that were not asked for longest, until `more` bytes fit. All at once would make a
// program whose sizes change start anew again and again.
void make_room(size_t more) {
  for (;;) {
    Header* block;
    {
      std::lock_guard lock(shared);
      if (!holds_too_much(more)) return;
      const auto age = [](int c) { return lists[c] != nullptr ? allocations - last_taken[c] + 1 : 0; };
      int oldest = 0;
      for (int c = 1; c < kClasses; ++c)
        if (age(c) > age(oldest)) oldest = c;
      block = take_cached(oldest);
    }
    large_free(block, sizeof(Header) + block->bytes);
  }
}

struct Taken {
  Header* block;
  bool too_much;  // is held in other blocks since an old peak was forgotten
};
Taken take(int size_class, size_t rounded) {
  std::lock_guard lock(shared);
  last_taken[size_class] = allocations;
  Header* h = take_cached(size_class);
  if (h == nullptr) return {};
  count_live(h, rounded);
  return {h, allocations % kWindow == 0 && holds_too_much(0)};
}

// Where a new block would pass that: one that waits and is up to half as large again, before others go and pages are
// cleared for a new one.
Header* take_larger(int size_class, size_t rounded) {
  std::lock_guard lock(shared);
  if (!holds_too_much(rounded)) return nullptr;
  for (int c = size_class + 1; c <= std::min(size_class + kSteps / 2, kClasses - 1); ++c)
    if (Header* h = take_cached(c)) {
      count_live(h, rounded);
      return h;
    }
  return nullptr;
}

Header* fresh_block(int size_class, size_t rounded) {
  if (Header* h = take_larger(size_class, rounded)) return h;
  make_room(rounded);
  const size_t bytes = sizeof(Header) + rounded;
  void* block = large_alloc(bytes);
  if (block == nullptr) {
    release_all();
    block = large_alloc(bytes);
  }
  if (block == nullptr) out_of_memory(rounded);
  auto* h = static_cast<Header*>(block);
  h->bytes = rounded;
  std::lock_guard lock(shared);
  count_live(h, rounded);
  return h;
}

}  // namespace

void* system_alloc(size_t bytes) {
  void* block = aligned(bytes);
  if (block == nullptr) {
    release_all();
    block = aligned(bytes);
  }
  if (block == nullptr) out_of_memory(bytes);
  return block;
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
  const int size_class = class_of(bytes, &rounded);
  const Taken taken = take(size_class, rounded);
  if (taken.too_much) {
    make_room(0);
    trim();
  }
  return (taken.block != nullptr ? taken.block : fresh_block(size_class, rounded)) + 1;
}

void cr_free(void* block) {
  if (block == nullptr) return;
  Header* h = static_cast<Header*>(block) - 1;
  if (h->bytes + sizeof(Header) <= kPooled) return pool_free(h, h->bytes + sizeof(Header));
#ifndef CR_NO_CACHE
  size_t rounded;
  Header*& list = lists[class_of(h->bytes, &rounded)];
  std::lock_guard lock(shared);
  stats.live -= h->used;
  slack -= h->bytes - h->used;
  stats.cached += h->bytes;
  h->giver = &this_thread;
  h->next = std::exchange(list, h);
#else
  {
    std::lock_guard lock(shared);
    stats.live -= h->used;
    slack -= h->bytes - h->used;
  }
  large_free(h, sizeof(Header) + h->bytes);
#endif
}

MemoryStats memory_stats() {
  const PoolStats small = pool_stats();
  std::lock_guard lock(shared);
  const size_t now = stats.live + small.live;
  return {now, stats.cached + slack + small.cached, stats.peak + small.live};
}

void reset_peak() {
  std::lock_guard lock(shared);
  stats.peak = stats.live;
}

void empty_cache() {
  release_all();
  empty_pool();
  trim();
}

}  // namespace chainrule
