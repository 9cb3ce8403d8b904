#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <new>
#include <vector>

namespace lft {
namespace {

constexpr size_t kAlignment = 64;
// How many times as large as asked for a pooled block may be that is used for a moment. Steps of unequal length ask for unequal sizes: the
// blocks of a longer one serve a shorter one. What stays, such as an optimizer's state, would waste such a block for good.
constexpr size_t kLargestWaste = 4;

struct Header {
  size_t bytes;
};
static_assert(sizeof(Header) <= kAlignment);

// From this size on a block is the system's own: given back it is gone, and leaves no hole among others.
constexpr size_t kOwnPages = size_t{1} << 20;

Header* New(size_t size) {
  if (size < kOwnPages) return static_cast<Header*>(std::aligned_alloc(kAlignment, (kAlignment + size + 63) / 64 * 64));
  void* pages = mmap(nullptr, kAlignment + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  return static_cast<Header*>(pages);
}

void Delete(Header* header) {
  if (header->bytes < kOwnPages) std::free(header);
  else munmap(header, kAlignment + header->bytes);
}

// Tensors never cross JavaScript threads, so each thread (a worker) has a pool of its own, which ends with it.
struct Pool : std::map<size_t, std::vector<Header*>> {
  ~Pool() {
    for (auto& [size, blocks] : *this)
      for (Header* header : blocks) Delete(header);
  }
};
thread_local Pool pool;
thread_local size_t in_use = 0;
thread_local size_t pooled = 0;
// The most that was in use at a time: all that is held stays below it, as far as pooled blocks can be given back.
thread_local size_t most_in_use = 0;

// Eight classes between powers of two: at most an eighth is wasted.
size_t SizeClass(size_t bytes) {
  if (bytes <= 256) return 256;
  int log = 63 - __builtin_clzll(bytes - 1);
  size_t step = size_t{1} << (log > 3 ? log - 3 : 0);
  return (bytes + step - 1) / step * step;
}

struct Slot {
  void* block = nullptr;
  size_t bytes = 0;
  ~Slot() { std::free(block); }
};
thread_local Slot slots[16];

}  // namespace

// The smallest pooled block that is large enough and not too large.
static Header* Take(size_t size, size_t largest) {
  for (auto entry = pool.lower_bound(size); entry != pool.end() && entry->first <= largest; ++entry) {
    auto& blocks = entry->second;
    if (blocks.empty()) continue;
    Header* header = blocks.back();
    blocks.pop_back();
    pooled -= header->bytes;
    return header;
  }
  return nullptr;
}

// Gives pooled blocks back until `bytes` are: those that were too small for `size` first, the largest of them before the others.
static void GiveBack(size_t bytes, size_t size) {
  size_t enough = pooled > bytes ? pooled - bytes : 0;
  auto above = pool.lower_bound(size);
  auto free = [&](std::vector<Header*>& blocks) {
    for (; !blocks.empty() && pooled > enough; blocks.pop_back()) {
      pooled -= blocks.back()->bytes;
      Delete(blocks.back());
    }
  };
  for (auto entry = above; entry != pool.begin() && pooled > enough;) free((--entry)->second);
  for (auto entry = above; entry != pool.end() && pooled > enough; ++entry) free(entry->second);
}


void* Allocate(size_t bytes, bool stays) {
  size_t size = SizeClass(bytes);
  Header* header = Take(size, stays ? size : kLargestWaste * size);
  if (header == nullptr) {
    size_t held = in_use + pooled + size;
    if (held > most_in_use) GiveBack(held - most_in_use, size);
    header = New(size);
    if (header == nullptr && pooled > 0) {
      Trim();
      header = New(size);
    }
    if (header == nullptr) return nullptr;
    header->bytes = size;
  }
  in_use += header->bytes;
  most_in_use = std::max(most_in_use, in_use);
  return reinterpret_cast<char*>(header) + kAlignment;
}

void Free(void* block) {
  if (block == nullptr) return;
  auto* header = reinterpret_cast<Header*>(static_cast<char*>(block) - kAlignment);
  in_use -= header->bytes;
  pool[header->bytes].push_back(header);
  pooled += header->bytes;
}

size_t BytesInUse() { return in_use; }
size_t BytesPooled() { return pooled; }

void Trim() {
  for (auto& [size, blocks] : pool) {
    for (Header* header : blocks) Delete(header);
    blocks.clear();
  }
  pooled = 0;
}

void* Scratch(int slot, size_t bytes) {
  Slot& entry = slots[slot];
  if (entry.bytes < bytes) {
    std::free(entry.block);
    entry.bytes = SizeClass(bytes);
    entry.block = std::aligned_alloc(kAlignment, (entry.bytes + 63) / 64 * 64);
    if (entry.block == nullptr) {
      entry.bytes = 0;
      throw std::bad_alloc();
    }
  }
  return entry.block;
}

}  // namespace lft
