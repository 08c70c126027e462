#include "core/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>

namespace chainrule {
namespace {

std::atomic<int> chosen{0};
std::atomic<bool> pool_started{false};
std::atomic<bool> pool_lost{
    false};  // in a child forked after the pool had started: its threads do not exist here
thread_local bool inside = false;

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
    n = std::max(1,
                 std::min(omp_get_max_threads(), omp_get_num_procs()));  // a container's affinity mask counts
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

void parallel_blocks(int64_t count, void (*body)(void*, int64_t), void* context) {
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), count));
  if (threads <= 1 || inside || pool_lost.load(std::memory_order_relaxed)) {
    for (int64_t i = 0; i < count; ++i) body(context, i);
    return;
  }
#ifdef _OPENMP
  pool_started = true;
#pragma omp parallel num_threads(threads)
  {
    inside = true;
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) body(context, i);
    inside = false;
  }
#endif
}

}  // namespace chainrule
