#include "privhelper/porter-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/copy-place.h"
#include "base/packet.h"
#include "base/path.h"
#include "base/privilege.h"
#include "base/tree-archive.h"
#include "privhelper/file-owner.h"
#include "privhelper/filters.h"
#include "privhelper/step.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

namespace {

// Of the host's root alone: what lets it read and write files that are not its own.
constexpr int ROOT_READS[] = {CAP_DAC_READ_SEARCH};
constexpr int ROOT_WRITES[] = {CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN};

// A copy that moves no byte for so long has an end that will not move any.
constexpr timeval STREAM_IDLE{.tv_sec = 600};

class PorterWorker {
 public:
  PorterWorker(schema::PorterOrder::Reader order, WorkerDescriptors fds)
      : order(order), fds(kj::mv(fds)) {}

  void becomeClient(pid_t porter);
  void carryOut();
  void fail(kj::StringPtr step, int error, kj::StringPtr detail = nullptr);

 private:
  schema::PorterOrder::Reader order;
  WorkerDescriptors fds;

  bool copies() const { return order.isCopyIn() || order.isCopyOut(); }
  kj::Vector<int> lastingCapabilities() const;
  // All others go: at once, or when a copy has opened its directory.
  void shutInto(int directory);
  Fd open(int flags, const char* what);
  Resolve resolution() const;
  CopyPlace findPlace();
  kj::Maybe<TreeOwner> findOwner();
  void openImage();
  void openSource();
  void copy();
  void answer(capnp::MessageBuilder& message, kj::ArrayPtr<const int> files = nullptr);
};

// Whoever asks must not be able to look into this process, or at what it inherits.
void forgetOrigin(WorkerDescriptors& fds) {
  kj::Vector<int> keep;
  for (int fd : {fds.answers.get(), fds.stream.get(), fds.null})
    if (fd >= 0) keep.add(fd);
  closeAllExcept(keep);
  for (int fd = 0; fd <= 2; ++fd)
    KJ_SYSCALL(dup2(fds.null, fd));
  prctl(PR_SET_NAME, "warden-worker");
}

void PorterWorker::becomeClient(pid_t porter) {
  forgetOrigin(fds);
  auto list = order.getGroups();
  auto groups = kj::heapArray<gid_t>(list.size());
  for (size_t i = 0; i < groups.size(); ++i)
    groups[i] = list[i];
  auto keep = lastingCapabilities();
  if (copies()) keep.add(CAP_SYS_CHROOT);
  emptyBoundingSet();
  if (copies()) {
    KJ_SYSCALL(prctl(PR_SET_KEEPCAPS, 1));
  }
  becomeUser(order.getUid(), order.getGid(), groups);
  limitCapabilities(keep);
  // Both are reset when ids change (prctl(2)).
  KJ_SYSCALL(prctl(PR_SET_DUMPABLE, 0));
  KJ_SYSCALL(prctl(PR_SET_PDEATHSIG, SIGKILL));
  KJ_REQUIRE(getppid() == porter, "the porter has ended");
  umask(022);
  if (!copies()) porterWorkerFilter().install();
}

kj::Vector<int> PorterWorker::lastingCapabilities() const {
  kj::Vector<int> capabilities;
  if (order.getUid() != 0) return capabilities;
  if (order.isCopyOut()) {
    capabilities.addAll(ROOT_WRITES, ROOT_WRITES + kj::size(ROOT_WRITES));
  } else {
    capabilities.addAll(ROOT_READS, ROOT_READS + kj::size(ROOT_READS));
  }
  return capabilities;
}

void PorterWorker::shutInto(int directory) {
  // Before a byte of the container is read. What is done from here on is done to this directory and
  // what is in it, also by somebody who has found a flaw in the unpacking of archives.
  const char* what = "shut the worker in";
  step(what, [&] { return fchdir(directory); });
  step(what, [] { return chroot("."); });
  limitCapabilities(lastingCapabilities());
  porterWorkerFilter().install();
}

void PorterWorker::carryOut() {
  switch (order.which()) {
    case schema::PorterOrder::IMAGE:
      return openImage();
    case schema::PorterOrder::SOURCE:
      return openSource();
    case schema::PorterOrder::COPY_IN:
    case schema::PorterOrder::COPY_OUT:
      return copy();
  }
  throw StepError("read order", EPROTO);
}

kj::String text(capnp::Data::Reader data) {
  return kj::heapString(data.asChars());
}

// The prefix is the configuration's word, and means the directory of exactly this name: whoever
// could put a link in its place could lead somewhere else.
Fd openPrefix(kj::StringPtr prefix) {
  return Fd(step("open the prefix that the configuration grants", [&] {
    return openResolved(AT_FDCWD, prefix.cStr(), O_PATH | O_DIRECTORY, Resolve::NO_LINKS);
  }));
}

Fd PorterWorker::open(int flags, const char* what) {
  auto path = text(order.getPath());
  Fd directory = openPrefix(text(order.getPrefix()));
  const char* beneath = path.size() == 0 ? "." : path.cStr();
  return Fd(step(what, [&] { return openResolved(directory, beneath, flags, resolution()); }));
}

Resolve PorterWorker::resolution() const {
  // From "/" nothing leads out, and absolute links are what they are for everybody else.
  return text(order.getPrefix()) == "/" ? Resolve::IN_ROOT : Resolve::BENEATH;
}

struct stat statusOf(int file, const char* what) {
  struct stat status;
  step(what, [&] { return fstat(file, &status); });
  return status;
}

struct ImageFile {
  Fd opened;
  Fd copy;  // sealed; none: the image has no such regular file
};

// As a process in the image would find it.
ImageFile readImageFile(int image, const char* path) {
  // Not for reading at once: to open a fifo or a device can block, or do something.
  Fd found(openResolved(image, path, O_PATH, Resolve::IN_ROOT));
  struct stat status;
  if (found == nullptr || fstat(found, &status) < 0 || !S_ISREG(status.st_mode)) return {};
  Fd file(openResolved(image, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, Resolve::IN_ROOT));
  if (file == nullptr || fstat(file, &status) < 0 || !S_ISREG(status.st_mode)) return {};
  auto what = kj::str("read the image's ", path);
  constexpr off_t MOST = schema::Image::MAX_FILE_BYTES;
  if (status.st_size > MOST) throw StepError(what, EFBIG);
  kj::Array<kj::byte> content;
  KJ_IF_MAYBE (e, kj::runCatchingExceptions([&] { content = readAll(file, MOST); })) {
    throw StepError(what, 0, e->getDescription());
  }
  return {kj::mv(file), makeSealedMemfd(path, content)};
}

void PorterWorker::openImage() {
  const char* what = "open image";
  Fd image = open(O_PATH | O_DIRECTORY, what);
  struct statfs system;
  step(what, [&] { return fstatfs(image, &system); });
  if (system.f_type == FUSE_SUPER_MAGIC) {
    // The kernel asks an image's file system when a container is made, and there nobody can wait.
    throw StepError(what, EOPNOTSUPP, "an image cannot be on a FUSE file system");
  }
  // Whoever gets these must not wait for a file system of the client's, which can be mounted
  // beneath the image: to close a file of it may take as long as it likes, as reading does. This
  // process closes them when it has answered.
  ImageFile passwd = readImageFile(image, "etc/passwd");
  ImageFile group = readImageFile(image, "etc/group");
  Fd home(openResolved(image, "root", O_PATH | O_DIRECTORY, Resolve::IN_ROOT));
  capnp::MallocMessageBuilder message;
  auto opened = message.initRoot<schema::PorterAnswer>().initOpened();
  opened.setIsDirectory(true);
  opened.setHasPasswd(passwd.copy != nullptr);
  opened.setHasGroup(group.copy != nullptr);
  opened.setHasRootHome(home != nullptr);
  opened.setMayEnterRootHome(home != nullptr && faccessat(home, ".", X_OK, 0) == 0);
  kj::Vector<int> files;
  for (int file : {image.get(), passwd.copy.get(), group.copy.get()})
    if (file >= 0) files.add(file);
  answer(message, files);
}

void PorterWorker::openSource() {
  const char* what = "open source of bind mount";
  Fd source = open(O_PATH, what);
  struct stat status = statusOf(source, what);
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
    throw StepError(what, EINVAL, "it is neither a directory nor a regular file");
  }
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::PorterAnswer>().initOpened().setIsDirectory(S_ISDIR(status.st_mode));
  int file = source;
  answer(message, kj::arrayPtr(&file, 1));
}

CopyPlace PorterWorker::findPlace() {
  std::string prefix = text(order.getPrefix()).cStr();
  std::string path = text(order.getPath()).cStr();
  Fd directory = openPrefix(prefix.c_str());
  GrantedDirectory granted{directory, prefix.substr(prefix.rfind('/') + 1), resolution()};
  auto found = order.isCopyIn() ? findCopySource(granted, path) : findCopyTarget(granted, path);
  if (found.is<CopyPlace>()) return kj::mv(found.get<CopyPlace>());
  auto& failure = found.get<TreeFailure>();
  throw StepError(failure.step, failure.error);
}

kj::Maybe<TreeOwner> PorterWorker::findOwner() {
  if (!order.isCopyOut() || order.getCopyOut().size() == 0) return nullptr;
  FileOwner owner = findFileOwner(order.getCopyOut(), "/etc/passwd", "/etc/group");
  bool ownGroup = owner.gid == order.getGid();
  for (gid_t group : order.getGroups())
    ownGroup |= owner.gid == group;
  if (order.getUid() != 0 && (owner.uid != order.getUid() || !ownGroup)) {
    throw StepError("give the copy to its owner", EPERM,
                    "only root gives files to other users, or to groups that it is not in");
  }
  return TreeOwner{owner.uid, owner.gid};
}

void PorterWorker::copy() {
  const char* what = "prepare stream";
  for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    step(what, [&] {
      return setsockopt(fds.stream, SOL_SOCKET, option, &STREAM_IDLE, sizeof(STREAM_IDLE));
    });
  }
  CopyPlace place = findPlace();
  auto owner = findOwner();
  shutInto(place.directory);
  // What a container has made must not become a program that runs as the client whoever starts it.
  auto failure = order.isCopyIn() ? packTree(place, fds.stream)
                                  : unpackTree(place, fds.stream, owner, NO_SET_ID_PERMISSIONS);
  KJ_IF_MAYBE (why, failure) {
    throw StepError(why->step, why->error);
  }
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::PorterAnswer>().setDone();
  answer(message);
}

void PorterWorker::fail(kj::StringPtr step, int error, kj::StringPtr detail) {
  capnp::MallocMessageBuilder message;
  auto failed = message.initRoot<schema::PorterAnswer>().initFailed();
  failed.setStep(step);
  failed.setErrno(error);
  failed.setDetail(detail);
  answer(message);
}

void PorterWorker::answer(capnp::MessageBuilder& message, kj::ArrayPtr<const int> files) {
  sendPacket(fds.answers, message, files);
}

}  // namespace

void runPorterWorker(schema::PorterOrder::Reader order, WorkerDescriptors fds, pid_t porter) {
  try {
    PorterWorker worker(order, kj::mv(fds));
    try {
      worker.becomeClient(porter);
      worker.carryOut();
    } catch (const StepError& e) {
      worker.fail(e.step(), e.error(), e.detail());
    } catch (const kj::Exception& e) {
      worker.fail("act as the client's user", 0, e.getDescription());
    }
  } catch (...) {
    // The porter has gone, or has ended this already.
  }
  _exit(0);
}

}  // namespace warden::privhelper
