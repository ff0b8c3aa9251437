#include "privhelper/kept-processes.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>

namespace warden::privhelper {

namespace {

constexpr size_t MOST_BYTES = 4096;

pid_t numberOf(int pidfd) {
  // proc(5), /proc/pid/fdinfo. -1: it has ended, or is no pidfd.
  int raw = open(kj::str("/proc/self/fdinfo/", pidfd).cStr(), O_RDONLY | O_CLOEXEC);
  if (raw < 0) return -1;
  Fd file(raw);
  auto bytes = readAll(file, MOST_BYTES);
  auto text = kj::str(bytes.asChars());
  const char* line = strstr(text.cStr(), "\nPid:");
  return line == nullptr ? -1 : static_cast<pid_t>(strtol(line + strlen("\nPid:"), nullptr, 10));
}

}  // namespace

KeptProcesses::KeptProcesses(const ServiceManager& manager, kj::Vector<PassedDescriptor> passed)
    : manager(manager) {
  for (auto& entry : passed) {
    if (entry.fd.get() < 0) continue;
    kept.insert(entry.name);
    stored.emplace(entry.name, kj::mv(entry.fd));
  }
}

kj::Maybe<Pidfd> KeptProcesses::take(const ContainerId& id, pid_t pid) {
  auto found = stored.find(id.text().cStr());
  if (found == stored.end()) return nullptr;
  Fd fd = kj::mv(found->second);
  stored.erase(found);
  if (numberOf(fd) == pid) return Pidfd(pid, kj::mv(fd));
  forget(id);
  return nullptr;
}

void KeptProcesses::keep(const ContainerId& id, const Pidfd& process) {
  if (kept.insert(id.text().cStr()).second) manager.store(id.text(), process.fd());
}

void KeptProcesses::forget(const ContainerId& id) {
  if (kept.erase(id.text().cStr()) != 0) manager.forget(id.text());
}

void KeptProcesses::forgetOthers() {
  for (auto& [name, fd] : stored) {
    kept.erase(name);
    manager.forget(name.c_str());
  }
  stored.clear();
}

}  // namespace warden::privhelper
