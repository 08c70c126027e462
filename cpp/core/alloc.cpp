#include "core/alloc.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>

#include "core/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define CR_NO_CACHE 1  // let the sanitizer see every free
#endif

namespace chainrule {
namespace {

// A block is preceded by one cache line that remembers its size class; free blocks are chained through it.
struct alignas(64) Header {
  Header* next;
  size_t bytes;
  int size_class;
};

// Classes are 64-byte steps up to 1 KiB, then eight steps an octave: at most 12.5% is lost to rounding.
constexpr int kSmallClasses = 16, kClasses = kSmallClasses + 8 * 40;

int class_of(size_t bytes, size_t* rounded) {
  if (bytes <= 1024) {
    const int c = bytes == 0 ? 0 : static_cast<int>((bytes - 1) / 64);
    *rounded = (c + 1) * size_t{64};
    return c;
  }
  const int octave = 63 - __builtin_clzll(bytes - 1);  // 2^octave < bytes <= 2^(octave + 1)
  const size_t step = size_t{1} << (octave - 3);
  const size_t steps = (bytes - (size_t{1} << octave) + step - 1) / step;
  *rounded = (size_t{1} << octave) + steps * step;
  return kSmallClasses + (octave - 10) * 8 + static_cast<int>(steps) - 1;
}

std::mutex shared_mutex;
Header* shared_lists[kClasses];
std::atomic<size_t> live{0}, cached{0}, peak{0};

// Small blocks (tensor handles, nodes, scalars) come and go by the million: each thread keeps some without a lock.
struct LocalCache {
  Header* lists[kSmallClasses] = {};
  int counts[kSmallClasses] = {};
  ~LocalCache();
};
constexpr int kLocalLimit = 256;
thread_local bool local_alive = false;
thread_local LocalCache local;

LocalCache* local_cache() {
  if (!local_alive) [[unlikely]] {
    static thread_local bool ended = false;
    if (ended) return nullptr;  // a static destructor after this thread's cache has gone
    (void)local.counts[0];
    local_alive = ended = true;
  }
  return &local;
}

void system_free(Header* h) {
#ifdef _WIN32
  _aligned_free(h);
#else
  std::free(h);
#endif
}

Header* system_alloc(size_t total) {
#ifdef _WIN32
  return static_cast<Header*>(_aligned_malloc(total, 64));
#else
  return static_cast<Header*>(std::aligned_alloc(64, total));
#endif
}

LocalCache::~LocalCache() {
  local_alive = false;
  for (Header* h : lists)
    while (h != nullptr) {
      Header* next = h->next;
      cached -= h->bytes;
      system_free(h);
      h = next;
    }
}

void release_shared() {
  std::lock_guard lock(shared_mutex);
  for (Header*& list : shared_lists)
    while (list != nullptr) {
      Header* next = list->next;
      cached -= list->bytes;
      system_free(list);
      list = next;
    }
}

}  // namespace

void* cr_alloc(size_t bytes) {
  size_t rounded;
  CR_CHECK(bytes < (size_t{1} << 48), "out of memory: ", bytes, " bytes were asked for");
  const int c = class_of(bytes, &rounded);
  Header* h = nullptr;
  if (LocalCache* mine = c < kSmallClasses ? local_cache() : nullptr; mine && mine->lists[c]) {
    h = mine->lists[c];
    mine->lists[c] = h->next;
    --mine->counts[c];
  } else if (c >= kSmallClasses) {
    std::lock_guard lock(shared_mutex);
    h = shared_lists[c];
    if (h != nullptr) shared_lists[c] = h->next;
  }
  if (h != nullptr) {
    cached.fetch_sub(rounded, std::memory_order_relaxed);
  } else {
    // What is held may pass the peak of what was live by a tenth; beyond that other classes' blocks go first.
    if (cached.load(std::memory_order_relaxed) >
            peak.load(std::memory_order_relaxed) / 10 + (size_t{64} << 20) &&
        live + cached + rounded > peak + peak / 10 + (size_t{64} << 20))
      release_shared();
    h = system_alloc(sizeof(Header) + rounded);
    if (h == nullptr) {
      release_shared();
      h = system_alloc(sizeof(Header) + rounded);
    }
    CR_CHECK(h != nullptr, "out of memory: ", bytes, " bytes were asked for");
    h->bytes = rounded;
    h->size_class = c;
  }
  const size_t now = live.fetch_add(rounded, std::memory_order_relaxed) + rounded;
  if (now > peak.load(std::memory_order_relaxed)) peak.store(now, std::memory_order_relaxed);
  return h + 1;
}

void cr_free(void* block) {
  if (block == nullptr) return;
  Header* h = static_cast<Header*>(block) - 1;
  const int c = h->size_class;
  live.fetch_sub(h->bytes, std::memory_order_relaxed);
#ifndef CR_NO_CACHE
  if (c < kSmallClasses) {
    if (LocalCache* mine = local_cache(); mine && mine->counts[c] < kLocalLimit) {
      h->next = mine->lists[c];
      mine->lists[c] = h;
      ++mine->counts[c];
      cached.fetch_add(h->bytes, std::memory_order_relaxed);
      return;
    }
  } else {
    std::lock_guard lock(shared_mutex);
    h->next = shared_lists[c];
    shared_lists[c] = h;
    cached.fetch_add(h->bytes, std::memory_order_relaxed);
    return;
  }
#endif
  system_free(h);
}

MemoryStats memory_stats() { return {live, cached, peak}; }

void empty_cache() { release_shared(); }

}  // namespace chainrule
