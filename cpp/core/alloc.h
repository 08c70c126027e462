// The caching allocator: 64-byte aligned blocks, kept by size class when freed, so that the large temporaries of a
// training step touch fresh pages once and not every step.
#pragma once
#include <cstddef>

namespace chainrule {

// Never null; throws Error when the system has no memory left, even after the cache was given back.
void* cr_alloc(size_t bytes);
void cr_free(void* block);

// The same for objects that know their size when they go (handles, nodes, small storages): no header, and, up to
// kPooled bytes, a list of the thread's own.
inline constexpr size_t kPooled = 1024;
void* pool_alloc(size_t bytes);
void pool_free(void* block, size_t bytes);

struct MemoryStats { size_t live, cached, peak; };  // bytes
MemoryStats memory_stats();
void reset_peak();
// Gives all cached blocks back to the system.
void empty_cache();

}  // namespace chainrule
