#include "map_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <unordered_set>

namespace lft {
namespace {

// One mapping. The signal handler walks the list in any thread at any moment, so entries are taken into use again but never freed.
struct Entry {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<const char*> path{nullptr};
  Entry* next = nullptr;
};

std::mutex changes;
std::atomic<Entry*> entries{nullptr};
struct sigaction previous;

// Paths live as long as the process: there are a few, each kept once.
const char* Interned(const std::string& path) {
  static auto* paths = new std::unordered_set<std::string>;
  return paths->insert(path).first->c_str();
}

void Print(const char* text) {
  ssize_t ignored = write(STDERR_FILENO, text, std::strlen(text));
  static_cast<void>(ignored);
}

// Only calls that are safe in a signal handler.
void OnBusError(int signal, siginfo_t* info, void* context) {
  auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Entry* entry = entries; entry != nullptr; entry = entry->next) {
    if (at < entry->begin || at >= entry->end) continue;
    Print("\nerror: ");
    Print(entry->path);
    Print(
        ": was cut off or overwritten while the model was in use (its weights are read where they lie in the file), or the disk failed. "
        "Restore the file and load the model again; a run goes on from its last checkpoint.\n");
    _exit(kFileChanged);
  }
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
  // Not ours: the access is repeated, and the system ends the process.
  sigaction(signal, &previous, nullptr);
}

bool InstallHandler() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, &previous) == 0;
}

uintptr_t PageStart(uintptr_t at) { return at & ~(static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)) - 1); }

}  // namespace

void* MapFile(int file, uint64_t offset, size_t bytes, const std::string& path) {
  static bool installed = InstallHandler();
  static_cast<void>(installed);
  uint64_t first = PageStart(offset);
  size_t length = bytes + (offset - first);
  void* pages = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, static_cast<off_t>(first));
  if (pages == MAP_FAILED) throw std::runtime_error(path + ": cannot be mapped into memory: " + std::strerror(errno));
  // Read into large pages, where the file system has them: with small ones looking up addresses costs a third of the speed of memory. And the
  // disk, where it is needed, begins to read now and not at the first touch of each page.
  madvise(pages, length, MADV_HUGEPAGE);
  madvise(pages, length, MADV_WILLNEED);

  auto begin = reinterpret_cast<uintptr_t>(pages);
  std::lock_guard<std::mutex> lock(changes);
  Entry* entry = entries;
  while (entry != nullptr && entry->end != 0) entry = entry->next;
  bool added = entry == nullptr;
  if (added) entry = new Entry;
  entry->path = Interned(path);
  entry->begin = begin;
  entry->end = begin + length;
  if (added) {
    entry->next = entries;
    entries = entry;
  }
  return static_cast<char*>(pages) + (offset - first);
}

void ForgetPages(const void* data, size_t bytes) {
  std::lock_guard<std::mutex> lock(changes);
  auto begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  for (Entry* entry = entries; entry != nullptr; entry = entry->next) {
    if (begin < entry->begin || end > entry->end) continue;
    uintptr_t first = PageStart(begin - 1) + static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)), last = PageStart(end);
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    return;
  }
}

void UnmapFile(void* data) {
  std::lock_guard<std::mutex> lock(changes);
  uintptr_t begin = PageStart(reinterpret_cast<uintptr_t>(data));
  for (Entry* entry = entries; entry != nullptr; entry = entry->next) {
    if (entry->begin != begin || entry->end == 0) continue;
    size_t length = entry->end - begin;
    entry->end = 0;
    munmap(reinterpret_cast<void*>(begin), length);
    return;
  }
}

}  // namespace lft
