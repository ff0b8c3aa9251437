#include "frontend/process-figures.h"

#include <dirent.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace warden::frontend {

namespace {

Fd openOwn(const char* path, int flags) {
  int fd;
  KJ_SYSCALL(fd = open(path, flags | O_RDONLY | O_CLOEXEC), path);
  return Fd(fd);
}

// Names of a directory, but for "." and "..".
uint64_t countNames(int directory) {
  uint64_t count = 0;
  if (lseek(directory, 0, SEEK_SET) != 0) return 0;
  alignas(dirent64) char buffer[32 * 1024];
  for (;;) {
    long n = syscall(SYS_getdents64, directory, buffer, sizeof(buffer));
    if (n <= 0) return count;
    for (long at = 0; at < n;) {
      auto entry = reinterpret_cast<const dirent64*>(buffer + at);
      count += entry->d_name[0] != '.';
      at += entry->d_reclen;
    }
  }
}

// Since Linux 6.2 the size of /proc/PID/fd is the number of its descriptors (proc(5)); counting
// them one by one takes milliseconds where there are thousands.
uint64_t countDescriptors(int directory) {
  struct stat status;
  if (fstat(directory, &status) == 0 && status.st_size > 0) return status.st_size;
  return countNames(directory);
}

}  // namespace

ProcessWatch::ProcessWatch(rlim_t mostDescriptors)
    : memory(openOwn("/proc/self/statm", 0)),
      descriptors(openOwn("/proc/self/fd", O_DIRECTORY)),
      mostDescriptors(mostDescriptors) {}

ProcessFigures ProcessWatch::look() const {
  ProcessFigures result;
  char text[128];
  ssize_t n = pread(memory, text, sizeof(text) - 1, 0);
  unsigned long size, resident;
  if (n > 0) {
    text[n] = '\0';
    if (sscanf(text, "%lu %lu", &size, &resident) == 2) {
      uint64_t page = sysconf(_SC_PAGESIZE);
      result.virtualBytes = size * page;
      result.residentBytes = resident * page;
    }
  }
  result.openDescriptors = countDescriptors(descriptors);
  result.mostDescriptors = mostDescriptors;
  timespec used;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0) {
    result.cpuSeconds = double(used.tv_sec) + used.tv_nsec / 1e9;
  }
  return result;
}

}  // namespace warden::frontend
