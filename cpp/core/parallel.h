// Loops split over threads. The split is a function of sizes alone, so no result can depend on the number of threads.
#pragma once
#include <cstdint>

namespace chainrule {

int num_threads();
void set_num_threads(int n);

// Is this thread at work on a parallel loop?
bool inside_parallel_region();

// Calls body(context, i) once for each i in [0, count), on any thread, in any order. Runs serially when the count
// is 1, inside another parallel loop, and in a process forked from one whose thread pool had started.
void parallel_blocks(int64_t count, void (*body)(void* context, int64_t i), void* context);

}  // namespace chainrule
