#include "frontend/etc-files.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/ipv4.h"
#include "frontend/client-error.h"
#include "schema/privhelper.capnp.h"

namespace warden::frontend {

namespace {

constexpr size_t MAX_BYTES = schema::CreateContainer::MAX_ETC_FILE_BYTES;
constexpr uint32_t MAX_IMAGE_ID = 65535;
constexpr size_t MAX_GROUPS = 64;
constexpr char VCAP_HOME[] = "/home/vcap";

class BoundedText {
  // Whole lines, as many as fit.

 public:
  explicit BoundedText(size_t reserved) : room(MAX_BYTES - reserved) {}

  void addLine(kj::StringPtr line) {
    if (line.size() + 1 > room) return;
    room -= line.size() + 1;
    text.addAll(line);
    text.add('\n');
  }

  void addReserved(kj::StringPtr line) {
    // What the constructor kept room for.
    room += line.size() + 1;
    addLine(line);
  }

  kj::String finish() {
    text.add('\0');
    return kj::String(text.releaseAsArray());
  }

 private:
  size_t room;
  kj::Vector<char> text;
};

const PasswdEntry* findUser(const ImageFacts::Accounts& accounts, kj::StringPtr name) {
  for (auto& entry : accounts.passwd) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

// As initgroups(3) collects them; ids that the container does not have are left out, because
// setgroups(2) would fail on them.
kj::Array<uint32_t> groupsOf(const ImageFacts::Accounts& accounts, kj::StringPtr user,
                             uint32_t ownGid) {
  kj::Vector<uint32_t> groups;
  groups.add(ownGid);
  for (auto& group : accounts.group) {
    if (group.gid > MAX_IMAGE_ID || group.gid == ownGid || groups.size() >= MAX_GROUPS) continue;
    for (auto& member : group.members) {
      if (member == user) {
        groups.add(group.gid);
        break;
      }
    }
  }
  return groups.releaseAsArray();
}

// Users of vcap's name or uid give way to vcap: there is one user with these files.
kj::String makePasswd(const ImageFacts::Accounts& accounts, const ContainerUser& vcap,
                      kj::StringPtr shell) {
  auto own = kj::str("vcap:x:", vcap.uid, ":", vcap.gid, ":vcap:", vcap.home, ":", shell);
  BoundedText text(own.size() + 1);
  if (findUser(accounts, "root") == nullptr) text.addLine("root:x:0:0:root:/root:/bin/sh");
  for (auto& entry : accounts.passwd) {
    if (entry.name != "vcap" && entry.uid != vcap.uid) text.addLine(entry.line);
  }
  text.addReserved(own);
  return text.finish();
}

kj::String makeGroup(const ImageFacts::Accounts& accounts, const ContainerUser& vcap) {
  auto own = kj::str("vcap:x:", vcap.gid, ":");
  BoundedText text(own.size() + 1);
  bool hasRoot = false;
  for (auto& entry : accounts.group)
    hasRoot = hasRoot || entry.name == "root";
  if (!hasRoot) text.addLine("root:x:0:");
  for (auto& entry : accounts.group) {
    if (entry.name != "vcap" && entry.gid != vcap.gid) text.addLine(entry.line);
  }
  text.addReserved(own);
  return text.finish();
}

// resolv.conf(5): the keyword, white space, one address, and maybe a scope.
bool namesTheHostItself(std::string_view line) {
  constexpr std::string_view KEYWORD = "nameserver";
  constexpr uint32_t LOOPBACK_NET = 127;
  if (!line.starts_with(KEYWORD)) return false;
  auto begin = line.find_first_not_of(" \t", KEYWORD.size());
  if (begin == KEYWORD.size() || begin == line.npos) return false;
  auto address = line.substr(begin, line.find_first_of(" \t\r", begin) - begin);
  if (address == "::1") return true;
  KJ_IF_MAYBE (ipv4, parseIpv4(kj::heapString(address.data(), address.size()))) {
    return *ipv4 >> 24 == LOOPBACK_NET;
  }
  return false;
}

void addHostResolvConf(BoundedText& text, std::string_view host, kj::StringPtr ownServer) {
  bool added = false;
  while (!host.empty()) {
    auto line = host.substr(0, host.find('\n'));
    host.remove_prefix(std::min(line.size() + 1, host.size()));
    line = line.substr(0, line.find('\0'));
    if (!namesTheHostItself(line)) {
      text.addLine(kj::heapString(line.data(), line.size()));
    } else if (!std::exchange(added, true)) {
      text.addLine(ownServer);
    }
  }
}

kj::String makeResolvConf(const Config::Network& network, const ContainerAddresses& addresses,
                          const std::string& hostResolvConf) {
  BoundedText text(0);
  if (network.dnsServers.empty()) {
    addHostResolvConf(text, hostResolvConf, kj::str("nameserver ", ipv4Text(addresses.host)));
  }
  for (auto& server : network.dnsServers)
    text.addLine(kj::str("nameserver ", server.c_str()));
  return text.finish();
}

// The helper makes /home/vcap in every container.
kj::String vcapHome(const ImageFacts& image, const PasswdEntry* imageVcap) {
  if (imageVcap != nullptr && isPlainAbsolutePath(imageVcap->home) &&
      imageVcap->home != VCAP_HOME && image.hasDirectory(imageVcap->home)) {
    return kj::str(imageVcap->home);
  }
  return kj::str(VCAP_HOME);
}

kj::String vcapShell(const PasswdEntry* imageVcap) {
  if (imageVcap != nullptr && isPlainAbsolutePath(imageVcap->shell))
    return kj::str(imageVcap->shell);
  return kj::str("/bin/bash");
}

}  // namespace

ContainerUser ContainerUser::copy() const {
  return {kj::str(name), uid, gid, kj::heapArray(groups.asPtr()), kj::str(home)};
}

ContainerSetup setUpContainer(ImageFacts& image, const ContainerId& id, uint32_t vcapId,
                              const ContainerAddresses& addresses, const Config::Network& network,
                              const std::string& hostResolvConf) {
  auto& accounts = image.accounts();
  auto imageVcap = findUser(accounts, "vcap");
  ContainerUser vcap{kj::str("vcap"), vcapId, vcapId, groupsOf(accounts, "vcap", vcapId),
                     vcapHome(image, imageVcap)};
  ContainerUser root{kj::str("root"), 0, 0, groupsOf(accounts, "root", 0),
                     kj::str(image.hasDirectory("/root") ? "/root" : "/")};
  EtcFiles files{
      makePasswd(accounts, vcap, vcapShell(imageVcap)),
      makeGroup(accounts, vcap),
      kj::str("127.0.0.1 localhost\n", ipv4Text(addresses.container), " ", id.text(), "\n"),
      makeResolvConf(network, addresses, hostResolvConf),
      kj::str(id.text(), "\n"),
  };
  ContainerImage used{image.number(), nullptr};
  KJ_IF_MAYBE (found, accounts.vcap) {
    used.vcap = *found;
  }
  return {kj::mv(files), kj::mv(used), kj::mv(vcap), kj::mv(root)};
}

}  // namespace warden::frontend
