#include "frontend/core.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <stdlib.h>

#include "frontend/core-session.h"
#include "frontend/helper-probe.h"

namespace warden::frontend {

namespace {

Fd openNullDevice() {
  int fd;
  KJ_SYSCALL(fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC));
  return Fd(fd);
}

kj::String jobLang() {
  const char* own = getenv("LANG");
  return kj::str(own == nullptr || *own == '\0' ? "en_US.UTF-8" : own);
}

}  // namespace

struct Core::Impl {
  AccessPolicy access;
  UserCounts users;
  HelperClient helper;
  SyslogSocket syslog;
  Budget descriptors;
  PortPool ports;
  Fd nullDevice;
  Pipe scratch = makePipe();
  kj::String lang;
  FairLimit requests;
  EventCounts events;
  Services services;
  Registry registry;
  HelperProbe probe;

  Impl(kj::UnixEventPort& port, kj::Timer& timer, const Config& config, Fd helperSocket,
       Fd imageDirectory, HostFacts host, uint64_t descriptorCount)
      : access(config.access, "the configuration"),  // whose names the helper has looked up already
        helper(port, timer, kj::mv(helperSocket)),
        syslog(config.server.syslogSocket),
        descriptors(descriptorCount),
        ports(portPoolRange(config, host.localPortRange.c_str())),
        nullDevice(openNullDevice()),
        lang(jobLang()),
        requests(config.frontend.maxRequests),
        services{port,        timer, config,     access,  users, helper,   syslog,
                 descriptors, ports, nullDevice, scratch, lang,  requests, events},
        registry(services, kj::mv(imageDirectory), std::move(host.resolvConf)),
        probe(timer, helper) {}
};

Core::Core(kj::UnixEventPort& port, kj::Timer& timer, const Config& config, Fd helperSocket,
           Fd imageDirectory, HostFacts host, uint64_t descriptors)
    : impl(std::make_unique<Impl>(port, timer, config, kj::mv(helperSocket), kj::mv(imageDirectory),
                                  std::move(host), descriptors)) {}

Core::~Core() noexcept(false) {}

kj::Promise<void> Core::run() {
  return impl->helper.run();
}

void Core::prepareToDrain() {
  impl->registry.holdGraceTimes();
}

kj::Promise<void> Core::shutdown() {
  return impl->registry.shutdown();
}

kj::Promise<CoreFigures> Core::figures() {
  return impl->probe.ask().then([this](HelperFigures helper) {
    return CoreFigures{impl->registry.figures(), helper, impl->events};
  });
}

kj::Own<Session> Core::open(int clientSocket) {
  return kj::heap<CoreSession>(impl->services, impl->registry, clientSocket);
}

}  // namespace warden::frontend
