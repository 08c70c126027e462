// Large blocks: cut from segments of the system's memory, best fit, joined again when they are free. What is free stays
// mapped and resident, so that a training step finds its pages where the last one left them; how much may stay is
// bounded by what was live lately.
#pragma once
#include <cstddef>

namespace chainrule {

// 64-byte aligned, and preceded by a cache line whose first word is the block's size, `bytes` or a little more; null
// when the system has no memory left. `bytes` is a multiple of 64, at least 1024.
void* arena_alloc(size_t bytes);
void arena_free(void* block);

// Bytes that are resident without use.
size_t arena_cached();
// Gives everything that is free back to the system.
void arena_release();

}  // namespace chainrule
