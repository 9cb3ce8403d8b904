#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace lft {

// Maps `bytes` of an open file from `offset` (any byte) on. Pages come from the system's cache of files, shared by all processes that map
// the file; what is written to them stays in this process. The file may be closed, renamed or deleted afterwards. Where it is cut off
// instead, the first touch of a page that is gone ends the process with status kFileChanged and a line that names `path`.
// Throws std::runtime_error.
void* MapFile(int file, uint64_t offset, size_t bytes, const std::string& path);
void UnmapFile(void* data);
// Gives back the memory of the whole pages of a range of a mapped file, until they are read again. Nothing for other memory.
void ForgetPages(const void* data, size_t bytes);

// EX_IOERR of sysexits.h.
constexpr int kFileChanged = 74;

}  // namespace lft
