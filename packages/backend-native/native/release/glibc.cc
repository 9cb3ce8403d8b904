// What headers and libraries of a newer glibc ask for and 2.28 does not have.
#include <sys/stat.h>

extern "C" {

// glibc 2.32: whether locks may be left out. There may be threads.
char __libc_single_threaded = 0;

// Functions since 2.33; before, the headers called these with the version of the structure.
int __lxstat(int version, const char* path, struct stat* result);
int lstat(const char* path, struct stat* result) noexcept {
#if defined(__x86_64__)
  return __lxstat(1, path, result);
#else
  return __lxstat(0, path, result);
#endif
}

}
