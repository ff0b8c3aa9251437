// The part of the connection to the helper that concerns images and bind mounts.

#include <errno.h>

#include "frontend/client-error.h"
#include "frontend/helper-client.h"
#include "frontend/helper-failure.h"

namespace warden::frontend {

namespace {

capnp::Data::Reader data(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

kj::StringPtr text(const std::string& bytes) {
  return kj::StringPtr(bytes.c_str(), bytes.size());
}

bool isNotThere(int error) {
  return error == ENOENT || error == ENOTDIR;
}

kj::StringPtr pathAdvice(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return "it is opened with the rights of your own user";
    case EXDEV:
    case ELOOP:
      return "a link in it leads out of what the server's configuration grants; name where it "
             "leads";
    case EFBIG:
      return "make it a file of at most 1 MiB";
    case ETIMEDOUT:
      return "look for a file system that does not answer";
    default:
      return adviceFor(error);
  }
}

}  // namespace

void throwBindMountFailure(schema::Failure::Reader failure,
                           const kj::Vector<BindMount>& bindMounts) {
  auto index = failure.getBindMount();
  if (index < 0 || size_t(index) >= bindMounts.size()) return;
  auto source = text(bindMounts[index].source);
  if (isNotThere(failure.getErrno())) {
    kj::throwFatalException(clientErrorOf("Source path for bind mount does not exist: ", source));
  }
  kj::throwFatalException(clientErrorOf("could not create the container: bind mount of ", source,
                                        ": ", failure.getDetail(), "; ",
                                        pathAdvice(failure.getErrno())));
}

void fillBindMounts(schema::CreateContainer::Builder create,
                    const kj::Vector<BindMount>& bindMounts) {
  auto list = create.initBindMounts(bindMounts.size());
  for (size_t i = 0; i < bindMounts.size(); ++i) {
    list[i].setSource(data(bindMounts[i].source));
    list[i].setTarget(data(bindMounts[i].target));
    list[i].setWritable(bindMounts[i].writable);
  }
}

kj::Promise<OpenedImage> HelperClient::openImage(int client, const std::string& path) {
  auto opened = ask(client, [&](auto root) { root.initOpenImage().setPath(data(path)); });
  return opened.then([path](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (reply.isFailed() && isNotThere(reply.getFailed().getErrno())) {
      kj::throwFatalException(clientErrorOf("rootfs ", text(path), " not found"));
    }
    if (!reply.isImage()) {
      kj::throwFatalException(failureOf(kj::str("open rootfs ", text(path)), reply, pathAdvice));
    }
    auto image = reply.getImage();
    OpenedImage result{image.getImage(), nullptr, nullptr, image.getRootHome()};
    size_t next = 0;
    for (auto file : image.getFiles()) {
      auto& place = file == schema::Image::File::PASSWD ? result.passwd : result.group;
      place = packet.takeFd(next++);
    }
    return result;
  });
}

}  // namespace warden::frontend
