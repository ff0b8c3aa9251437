#include "frontend/host-files.h"

#include <limits.h>

#include "base/path.h"
#include "frontend/client-error.h"
#include "schema/privhelper.capnp.h"

namespace warden::frontend {

namespace {

kj::StringPtr text(const std::string& bytes) {
  return kj::StringPtr(bytes.c_str(), bytes.size());
}

void requireTargetDepth(const std::string& target) {
  constexpr uint32_t MOST = schema::CreateContainer::MAX_TARGET_COMPONENTS;
  auto components = countComponents(target);
  if (components <= MOST) return;
  kj::throwFatalException(clientErrorOf("could not create the container: a dst_path has ",
                                        components, " components, and may have ", MOST,
                                        "; choose one that is less deep"));
}

}  // namespace

void requirePath(kj::StringPtr field, const std::string& path, bool absolute) {
  kj::StringPtr wrong;
  if (path.empty()) wrong = "is empty";
  if (absolute && (path.empty() || path[0] != '/')) wrong = "must be an absolute path";
  if (path.size() >= PATH_MAX) wrong = "is longer than 4095 bytes";
  if (path.find('\0') != std::string::npos) wrong = "has a NUL byte";
  if (wrong != nullptr) kj::throwFatalException(clientErrorOf(field, " ", wrong));
}

void requireGrant(kj::StringPtr what, const std::string& path, kj::StringPtr key,
                  const std::vector<HostPrefix>& prefixes, HostUse use,
                  const Requester& requester) {
  if (findPrefix(prefixes, use, path)) return;
  kj::throwFatalException(clientErrorOf(
      PERMISSION_DENIED, what, " ", text(path), " is not permitted to uid ", requester.peer().uid,
      ": ", requester.grant().source, ".", key,
      " of the server's configuration does not grant it; ask whoever runs the server"));
}

HostFiles readHostFiles(const CreateRequest& request, const Requester& requester,
                        const Config& config) {
  constexpr int MOST = schema::CreateContainer::MAX_BIND_MOUNTS;
  auto& grant = requester.grant();
  HostFiles files;
  if (request.has_rootfs() && request.rootfs() != config.server.containerRootfsPath) {
    requirePath("rootfs", request.rootfs(), true);
    requireGrant("rootfs", request.rootfs(), "images", grant.images, HostUse::READ, requester);
    files.rootfs = request.rootfs();
  }
  if (request.bind_mounts_size() > MOST) {
    kj::throwFatalException(clientErrorOf("a container can have ", MOST, " bind_mounts, not ",
                                          request.bind_mounts_size()));
  }
  for (auto& bind : request.bind_mounts()) {
    requirePath("src_path", bind.src_path(), true);
    requirePath("dst_path", bind.dst_path(), true);
    requireTargetDepth(bind.dst_path());
    if (isSystemTarget(bind.dst_path())) {
      kj::throwFatalException(clientErrorOf(
          "dst_path ", text(bind.dst_path()),
          " is in the way of the container's own system: choose one outside of /proc, /sys and "
          "/dev"));
    }
    bool writable = bind.mode() == CreateRequest::BindMount::RW;
    requireGrant(writable ? "a writable bind mount of" : "a bind mount of", bind.src_path(),
                 "bind_mounts", grant.bindMounts, writable ? HostUse::WRITE : HostUse::READ,
                 requester);
    files.bindMounts.add(BindMount{bind.src_path(), bind.dst_path(), writable});
  }
  return files;
}

}  // namespace warden::frontend
