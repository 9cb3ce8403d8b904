#pragma once
#include <cstddef>

namespace lft {

// Tensor memory: 64-byte aligned blocks, rounded up to size classes and kept for the next tensor of about that size, since training steps
// ask for the same sizes again and again. No more is held than was in use at a time.

// Returns nullptr when the system has no memory left. What `stays`, such as an optimizer's state, takes no block that is larger than needed.
void* Allocate(size_t bytes, bool stays = false);
void Free(void* block);

// Bytes handed out, and bytes kept for later.
size_t BytesInUse();
size_t BytesPooled();

// Gives pooled memory back to the system.
void Trim();

// Scratch memory of the calling kernel, reused by the next: valid until the same slot is asked for again.
void* Scratch(int slot, size_t bytes);

}  // namespace lft
