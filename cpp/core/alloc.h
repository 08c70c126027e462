// The caching allocator: 64-byte aligned blocks, kept by size class when freed, so that the large temporaries of a
// training step touch fresh pages once and not every step. With the blocks that are kept it holds little more than
// the most that was alive lately: 8 MB and a quarter, large programs 48 MB and a tenth; of each small size, a megabyte a
// thread (core/pool.h).
#pragma once
#include <cstddef>

namespace chainrule {

// Never null; throws Error when the system has no memory left, even after the cache was given back.
void* cr_alloc(size_t bytes);
void cr_free(void* block);

// The system's own, aligned alike; for the pools of small blocks (core/pool.h).
void* system_alloc(size_t bytes);
void system_free(void* block);

struct MemoryStats { size_t live, cached, peak; };  // bytes; small blocks count in the peak as they are now
MemoryStats memory_stats();
void reset_peak();
// Gives cached blocks back to the system: all large ones, and this thread's small ones.
void empty_cache();

}  // namespace chainrule
