#include "privhelper/client-facts.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sstream>

#include "base/pidfd.h"
#include "base/socket-peer.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace warden::privhelper {

namespace {

// A frontend forgets clients that have gone. A hostile one cannot make this grow.
constexpr size_t MOST_KNOWN = 16384;
constexpr size_t LONGEST_TEXT = 16384;
constexpr size_t LONGEST_UNIT = 256;  // as systemd has it

std::string readText(const std::string& path) {
  int raw = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (raw < 0) return "";
  Fd file(raw);
  std::string text(LONGEST_TEXT, '\0');
  ssize_t n = read(file, text.data(), text.size());
  text.resize(kj::max(n, ssize_t(0)));
  return text;
}

bool belongsTo(pid_t pid, uid_t user) {
  // "Uid:", then real, effective, saved and file system's.
  std::string status = readText("/proc/" + std::to_string(pid) + "/status");
  size_t line = status.find("\nUid:");
  if (line == std::string::npos) return false;
  std::istringstream words(status.substr(line + 5));
  uid_t real, effective;
  return words >> real >> effective && effective == user;
}

kj::Maybe<Pidfd> openPeer(int socket, const PeerCredentials& peer) {
  int raw = -1;
  socklen_t size = sizeof(raw);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &raw, &size) == 0) {
    return Pidfd(peer.pid, Fd(raw));
  }
  // Else the process has been reaped.
  if (errno != ENOPROTOOPT) return nullptr;
  raw = syscall(SYS_pidfd_open, peer.pid, 0);
  if (raw < 0) return nullptr;
  Pidfd process(peer.pid, Fd(raw));
  if (!belongsTo(peer.pid, peer.uid)) return nullptr;
  return kj::mv(process);
}

bool endsWith(const std::string& text, const char* end) {
  return text.ends_with(end) && text.size() > strlen(end);
}

bool isUnit(const std::string& component) {
  for (const char* kind : {".service", ".scope", ".socket", ".mount", ".swap"}) {
    if (endsWith(component, kind)) return component.size() <= LONGEST_UNIT;
  }
  return false;
}

// The first component that is no slice: what is below belongs to the unit itself.
std::string unitIn(const std::string& path) {
  std::istringstream components(path);
  for (std::string component; std::getline(components, component, '/');) {
    if (component.empty() || endsWith(component, ".slice")) continue;
    // Names that the kernel could take for its own files are escaped so.
    if (component[0] == '_') component.erase(0, 1);
    return isUnit(component) ? component : "";
  }
  return "";
}

}  // namespace

std::string unitOf(const std::string& cgroups) {
  // Where version 1 serves systemd, its hierarchy has a name (cgroups(7)).
  for (const char* hierarchy : {":name=systemd:", "0::"}) {
    std::istringstream lines(cgroups);
    for (std::string line; std::getline(lines, line);) {
      size_t at = line.find(hierarchy);
      if (at == std::string::npos || line.find(':') < at) continue;
      auto unit = unitIn(line.substr(at + strlen(hierarchy)));
      if (!unit.empty()) return unit;
    }
  }
  return "";
}

ClientFacts::ClientFacts(const ListenerIdentity& listener, Observer observer)
    : listener(listener), looker(kj::mv(observer)) {}

const AuditPeer& ClientFacts::of(int socket, const PeerCredentials& peer) {
  uint64_t cookie = cookieOf(socket);
  auto found = known.find(cookie);
  if (found != known.end()) return found->second;
  AuditPeer facts = lookAt(socket, peer);
  // The kernel counts upwards, more or less: the first is one of the oldest.
  if (known.size() >= MOST_KNOWN) known.erase(known.begin());
  return known.emplace(cookie, std::move(facts)).first->second;
}

AuditPeer ClientFacts::lookAt(int socket, const PeerCredentials& peer) {
  AuditPeer facts{peer.pid, peer.uid, peer.gid, {}, {}};
  KJ_IF_MAYBE (process, openPeer(socket, peer)) {
    std::string executable = looker.executableOf(peer.pid);
    std::string cgroups = readText("/proc/" + std::to_string(peer.pid) + "/cgroup");
    // Alive after all this: it had its number meanwhile.
    if (process->signal(0)) {
      facts.executable = std::move(executable);
      facts.unit = unitOf(cgroups);
    }
  }
  return facts;
}

void ClientFacts::receive(Packet& packet, AuditLog& log) {
  auto message = packet.getRoot<schema::AuditMessage>();
  switch (message.which()) {
    case schema::AuditMessage::REQUEST: {
      auto found = known.find(message.getRequest().getConnection());
      return log.recordRequest(message.getRequest(),
                               found == known.end() ? nullptr : &found->second);
    }
    case schema::AuditMessage::CLIENT: {
      Fd socket = packet.takeFd(0);
      KJ_REQUIRE(listener.accepted(socket),
                 "the socket was not accepted from the server's listener");
      of(socket, readPeerCredentials(socket));
      return;
    }
    case schema::AuditMessage::GONE:
      known.erase(message.getGone());
      return;
  }
  KJ_FAIL_REQUIRE("there is no such message");
}

}  // namespace warden::privhelper
