#pragma once
// FUSE file systems whose server is the test: what a hostile user mounts, who decides what is
// answered, and when.

#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include "tests/escape/host-files-test.h"

namespace warden::test {

inline bool hasFuse() {
  return access("/dev/fuse", R_OK | W_OK) == 0;
}

class HangingFileSystem {
  // Nobody serves it: whoever looks for a name in it waits.
 public:
  explicit HangingFileSystem(std::string directory) : directory(std::move(directory)) {
    int raw;
    KJ_SYSCALL(raw = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    device = Fd(raw);
    auto options = kj::str("fd=", raw, ",rootmode=40000,user_id=0,group_id=0,allow_other");
    KJ_SYSCALL(mount("test", this->directory.c_str(), "fuse", 0, options.cStr()));
  }
  ~HangingFileSystem() {
    device = nullptr;  // whoever waits gets an error
    umount2(directory.c_str(), MNT_DETACH);
  }
  KJ_DISALLOW_COPY(HangingFileSystem);

 protected:
  std::string directory;
  Fd device;
};

class UnclosableFileSystem : HangingFileSystem {
  // A directory in which any name is a regular file with this content. It can be read; but whoever
  // closes it waits, whatever signal comes.
 public:
  UnclosableFileSystem(std::string directory, std::string content)
      : HangingFileSystem(std::move(directory)), content(std::move(content)), thread([this]() {
          while (!done)
            serve();
        }) {}
  ~UnclosableFileSystem() {
    done = true;
    thread.join();
  }

  size_t closings() const { return flushes; }
  // That wait, or have waited.

 private:
  static constexpr uint64_t FILE = 2;  // FUSE_ROOT_ID, 1, is the directory

  std::string content;
  std::atomic<bool> done{false};
  std::atomic<size_t> flushes{0};
  std::thread thread;

  void serve() {
    alignas(fuse_in_header) char buffer[FUSE_MIN_READ_BUFFER * 32];
    ssize_t size = ::read(device, buffer, sizeof(buffer));
    if (size < ssize_t(sizeof(fuse_in_header))) {
      usleep(1000);
      return;
    }
    auto& request = *reinterpret_cast<fuse_in_header*>(buffer);
    switch (request.opcode) {
      case FUSE_INIT:
        return answer(request, fuse_init_out{.major = FUSE_KERNEL_VERSION,
                                             .minor = FUSE_KERNEL_MINOR_VERSION,
                                             .max_write = 4096});
      case FUSE_LOOKUP:
        return answer(request, fuse_entry_out{.nodeid = FILE, .attr = attributesOf(FILE)});
      case FUSE_GETATTR:
        return answer(request, fuse_attr_out{.attr = attributesOf(request.nodeid)});
      case FUSE_OPEN:
        return answer(request, fuse_open_out{});
      case FUSE_READ:
        return read(request, *reinterpret_cast<fuse_read_in*>(buffer + sizeof(request)));
      case FUSE_FLUSH:
        ++flushes;
        return;
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT:
        return;  // have no answer
      default:
        return answer(request, nullptr, 0, -ENOSYS);
    }
  }

  void read(const fuse_in_header& request, const fuse_read_in& wanted) {
    size_t from = std::min<size_t>(wanted.offset, content.size());
    answer(request, content.data() + from, std::min<size_t>(wanted.size, content.size() - from));
  }

  fuse_attr attributesOf(uint64_t node) const {
    fuse_attr attributes{};
    attributes.ino = node;
    attributes.nlink = 1;
    attributes.mode = node == FILE ? S_IFREG | 0644 : S_IFDIR | 0755;
    attributes.size = node == FILE ? content.size() : 0;
    attributes.blksize = 4096;
    return attributes;
  }

  template <typename Out>
  void answer(const fuse_in_header& request, const Out& out) {
    answer(request, &out, sizeof(out));
  }

  void answer(const fuse_in_header& request, const void* data, size_t size, int error = 0) {
    fuse_out_header header{uint32_t(sizeof(fuse_out_header) + size), error, request.unique};
    iovec parts[] = {{&header, sizeof(header)}, {const_cast<void*>(data), size}};
    // Who has asked may have gone.
    if (writev(device, parts, size == 0 ? 1 : 2) < 0) return;
  }
};

}  // namespace warden::test
