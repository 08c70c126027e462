#include "core/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "core/cpu_quota.h"
#include "core/float_mode.h"
#include "core/thread_local.h"

namespace chainrule {
namespace {

std::atomic<int> chosen{0};
std::atomic<bool> pool_started{false};
// In a child forked after the pool had started: its threads do not exist here.
std::atomic<bool> pool_lost{false};
CR_THREAD_LOCAL bool inside = false;

[[maybe_unused]] const bool fork_handler = [] {
#ifndef _WIN32
  pthread_atfork(nullptr, nullptr, [] { pool_lost = pool_started.load(); });
#endif
  return true;
}();

}  // namespace

int num_threads() {
  int n = chosen.load(std::memory_order_relaxed);
  if (n == 0) {
#ifdef _OPENMP
    n = std::min(omp_get_max_threads(), omp_get_num_procs());  // OMP_NUM_THREADS, and the affinity mask
    if (std::getenv("OMP_NUM_THREADS") == nullptr)
      if (const int64_t quota = cpu_quota(); quota > 0) n = static_cast<int>(std::min<int64_t>(n, quota));
    n = std::max(1, n);
#else
    n = 1;
#endif
    chosen = n;
  }
  return n;
}

void set_num_threads(int n) {
#ifdef _OPENMP
  chosen = std::max(1, n);
#else
  (void)n;  // this build has one
#endif
}

bool inside_parallel_region() { return inside; }

void parallel_blocks(int64_t count, void (*body)(void*, int64_t), void* context) {
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), count));
  if (threads <= 1 || inside || pool_lost.load(std::memory_order_relaxed)) {
    for (int64_t i = 0; i < count; ++i) body(context, i);
    return;
  }
#ifdef _OPENMP
  pool_started = true;
  const uint64_t mode = float_mode();  // the caller's holds for everyone who helps
  // A thread begins with a part of its own, the same in every loop over as many blocks, since its cache may still hold
  // what it touched there last; then it helps with what is left of others. It takes a run of neighbouring blocks at a
  // time, half of the rest: long runs let the memory stream, shorter ones towards the end even out unequal work.
  struct alignas(64) Part {
    std::atomic<int64_t> next;
    int64_t end;
  };
  constexpr int kMaxParts = 64;
  const int parts = std::min(threads, kMaxParts);
  Part part[kMaxParts];
  for (int i = 0; i < parts; ++i) {
    part[i].next.store(count * i / parts, std::memory_order_relaxed);
    part[i].end = count * (i + 1) / parts;
  }
#pragma omp parallel num_threads(threads)
  {
    inside = true;
    const uint64_t own = float_mode();
    if (own != mode) set_float_mode(mode);
    for (int k = 0; k < parts; ++k) {
      Part& p = part[(omp_get_thread_num() + k) % parts];
      for (int64_t begin = p.next.load(std::memory_order_relaxed); begin < p.end;) {
        const int64_t end = begin + std::max<int64_t>(1, (p.end - begin) / 2);
        if (!p.next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
        for (int64_t i = begin; i < end; ++i) body(context, i);
        begin = p.next.load(std::memory_order_relaxed);
      }
    }
    if (own != mode) set_float_mode(own);
    inside = false;
  }
#endif
}

}  // namespace chainrule
