#include "core/arena.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#ifndef _WIN32
#include <sys/mman.h>
#endif

namespace chainrule {
namespace {

constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;
constexpr size_t kSplit = 1024;  // a rest from here on becomes a block of its own
constexpr size_t kSmallSegment = size_t{4} << 20, kLargeSegment = size_t{64} << 20;
constexpr size_t kSlack = size_t{1} << 19;  // may stay resident in any case
constexpr int kWindow = 20000;              // allocations after which an old peak is forgotten

// A block of a segment. `bytes` comes first and counts what follows the header.
struct alignas(64) Block {
  size_t bytes;
  Block *before, *after;   // its neighbours in memory; null at a segment's ends
  Block *next, *previous;  // in its list, while it is free
  size_t resident;         // of a free block's bytes, about how many hold pages
  bool free;
};
static_assert(sizeof(Block) == 64);

// Free blocks by size, sixteen lists an octave from 1 KiB on; a bit for each that is not empty.
constexpr int kSteps = 16, kFirstOctave = 10, kLists = kSteps * 38;
Block* lists[kLists];
uint64_t filled[(kLists + 63) / 64];

std::mutex mutex;
Block* top = nullptr;  // the untouched end of the newest segment, in no list
size_t live = 0, resident_free = 0, mapped = 0;
size_t window_peak = 0, old_peak = 0;  // in this window and the one before
int window = 0;

int list_of(size_t bytes) {
  if (bytes < size_t{1} << kFirstOctave) return 0;
  const int octave = 63 - __builtin_clzll(bytes);
  const auto step = static_cast<int>((bytes - (size_t{1} << octave)) >> (octave - 4));
  return std::min((octave - kFirstOctave) * kSteps + step, kLists - 1);
}

void insert(Block* b) {
  const int list = list_of(b->bytes);
  b->free = true;
  b->previous = nullptr;
  b->next = lists[list];
  if (b->next != nullptr) b->next->previous = b;
  lists[list] = b;
  filled[list / 64] |= uint64_t{1} << (list % 64);
  resident_free += b->resident;
}

void remove(Block* b) {
  const int list = list_of(b->bytes);
  (b->previous != nullptr ? b->previous->next : lists[list]) = b->next;
  if (b->next != nullptr) b->next->previous = b->previous;
  if (lists[list] == nullptr) filled[list / 64] &= ~(uint64_t{1} << (list % 64));
  b->free = false;
  resident_free -= b->resident;
}

int next_filled(int list) {
  for (int word = list / 64; word < static_cast<int>(std::size(filled)); ++word) {
    const uint64_t bits = filled[word] & (word == list / 64 ? ~uint64_t{0} << (list % 64) : ~uint64_t{0});
    if (bits != 0) return word * 64 + __builtin_ctzll(bits);
  }
  return -1;
}

// A free block of at least `bytes`: the smallest of some in the list where sizes of this kind are, else any of the next.
Block* find(size_t bytes) {
  Block* best = nullptr;
  const int list = list_of(bytes);
  int looked = 0;
  for (Block* b = lists[list]; b != nullptr && looked < 32; b = b->next, ++looked)
    if (b->bytes >= bytes && (best == nullptr || b->bytes < best->bytes)) best = b;
  if (best != nullptr) return best;
  const int larger = next_filled(list + 1);
  return larger < 0 ? nullptr : lists[larger];
}

// Cuts what is more than `bytes` off the end of a block that is in no list; null when that is too little for a block.
// Pages are taken to be at the block's start.
Block* split(Block* b, size_t bytes) {
  if (b->bytes < bytes + sizeof(Block) + kSplit) return nullptr;
  auto* rest = reinterpret_cast<Block*>(reinterpret_cast<char*>(b + 1) + bytes);
  *rest = {b->bytes - bytes - sizeof(Block), b, b->after, nullptr, nullptr, 0, false};
  rest->resident = b->resident > bytes ? std::min(b->resident - bytes, rest->bytes) : 0;
  if (rest->after != nullptr) rest->after->before = rest;
  b->after = rest;
  b->bytes = bytes;
  b->resident = std::min(b->resident, bytes);
  return rest;
}

// Two neighbours become one; neither is in a list.
Block* join(Block* a, Block* b) {
  a->bytes += sizeof(Block) + b->bytes;
  a->resident += sizeof(Block) + b->resident;
  a->after = b->after;
  if (a->after != nullptr) a->after->before = a;
  return a;
}

// ---- the system's memory ----

// Starts at a huge page, and asks for such: a first touch costs a hundredth of the page faults, later ones fewer misses
// of the address cache.
void* map(size_t size) {
#ifdef _WIN32
  return _aligned_malloc(size, 64);
#else
  const size_t spare = size + kHugePage;
  void* m = mmap(nullptr, spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(m), at = (start + kHugePage - 1) / kHugePage * kHugePage;
  if (at > start) munmap(m, at - start);
  munmap(reinterpret_cast<void*>(at + size), start + spare - at - size);
#ifdef MADV_HUGEPAGE
  madvise(reinterpret_cast<void*>(at), size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return reinterpret_cast<void*>(at);
#endif
}

Block* open_segment(size_t bytes) {
  const size_t size = (bytes + sizeof(Block) + kPage - 1) / kPage * kPage;
  void* memory = map(size);
  if (memory == nullptr) return nullptr;
  mapped += size;
  auto* b = static_cast<Block*>(memory);
  *b = {size - sizeof(Block), nullptr, nullptr, nullptr, nullptr, 0, false};
  return b;
}

void close_segment(Block* b) {
  const size_t size = b->bytes + sizeof(Block);
  mapped -= size;
#ifdef _WIN32
  _aligned_free(b);
#else
  munmap(b, size);
#endif
}

// Gives `bytes` of a free block's pages back, from its end, or its segment when nothing else is in it.
void purge(Block* b, size_t bytes) {
  if (b->before == nullptr && b->after == nullptr && bytes >= b->resident) {
    remove(b);
    close_segment(b);
    return;
  }
  const size_t left = b->resident > bytes ? b->resident - bytes : 0;
#ifndef _WIN32
  const auto start = reinterpret_cast<uintptr_t>(b + 1);
  const auto begin = (start + left + kPage - 1) / kPage * kPage, end = (start + b->bytes) / kPage * kPage;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#endif
  resident_free -= b->resident - left;
  b->resident = left;
}

// The largest first, until no more than `allowed` bytes are resident without use.
void purge_down_to(size_t allowed) {
  for (int list = kLists - 1; list >= 0 && resident_free > allowed; --list)
    for (Block* b = lists[list]; b != nullptr && resident_free > allowed;) {
      Block* next = b->next;
      if (b->resident != 0) purge(b, resident_free - allowed);
      b = next;
    }
}

// What is resident may pass what was live at a time by a twelfth: with the lists before the arena, less than a tenth.
void keep_bound() {
  const size_t peak = std::max(window_peak, old_peak), bound = peak + peak / 12 + kSlack;
  if (live + resident_free > bound) purge_down_to(bound - live);
}

// Counts a block that gets into use; `fresh` of its bytes have no pages yet.
void count(size_t bytes, size_t fresh) {
  live += bytes;
  window_peak = std::max(window_peak, live);
  const bool over = ++window == kWindow;
  if (over) {
    window = 0;
    old_peak = window_peak;
    window_peak = live;
  }
  if (over || fresh != 0) keep_bound();
}

// The end of the newest segment becomes a free block like others.
void give_up_top() {
  if (top == nullptr) return;
  if (Block* before = top->before; before != nullptr && before->free) {
    remove(before);
    top = join(before, top);
  }
  insert(top);
  top = nullptr;
}

void release() {
  give_up_top();
  for (Block*& list : lists)
    for (Block* b = list; b != nullptr;) {
      Block* next = b->next;
      purge(b, b->bytes);
      b = next;
    }
}

// Makes `top` the start of a new segment with room for `bytes`.
bool new_top(size_t bytes) {
  const size_t usual = std::clamp(mapped / 4, kSmallSegment, kLargeSegment);
  Block* segment = open_segment(std::max(bytes + sizeof(Block) + kSplit, usual));
  if (segment == nullptr) {
    release();
    segment = open_segment(bytes);
  }
  if (segment == nullptr) return false;
  give_up_top();
  top = segment;
  return true;
}

}  // namespace

void* arena_alloc(size_t bytes) {
  std::lock_guard lock(mutex);
  Block* b = find(bytes);
  if (b != nullptr) {
    remove(b);
    if (Block* rest = split(b, bytes)) insert(rest);
    count(b->bytes, b->bytes - b->resident);
  } else {
    if ((top == nullptr || top->bytes < bytes) && !new_top(bytes)) return nullptr;
    b = top;
    top = split(b, bytes);
    count(b->bytes, b->bytes);
  }
  return b + 1;
}

void arena_free(void* block) {
  Block* b = static_cast<Block*>(block) - 1;
  std::lock_guard lock(mutex);
  live -= b->bytes;
  b->resident = b->bytes;
  if (b->after != nullptr && b->after->free) {
    remove(b->after);
    join(b, b->after);
  }
  if (b->before != nullptr && b->before->free) {
    remove(b->before);
    b = join(b->before, b);
  }
  insert(b);
}

size_t arena_cached() {
  std::lock_guard lock(mutex);
  return resident_free;
}

void arena_release() {
  std::lock_guard lock(mutex);
  release();
}

}  // namespace chainrule
