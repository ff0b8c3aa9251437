#pragma once
// The frontend's core: containers and jobs, served to the edge as sessions (frontend/session.h).

#include <kj/async-unix.h>
#include <kj/timer.h>

#include <memory>
#include <string>

#include "base/config.h"
#include "base/fd.h"
#include "frontend/core-figures.h"
#include "frontend/session.h"

namespace warden::frontend {

struct HostFacts {
  // Texts of the host's files, as they are when the server starts.
  std::string resolvConf;      // /etc/resolv.conf, used where network.dns_servers is empty
  std::string localPortRange;  // /proc/sys/net/ipv4/ip_local_port_range
};

class Core final : public SessionFactory {
 public:
  Core(kj::UnixEventPort& port, kj::Timer& timer, const Config& config, Fd helperSocket,
       Fd imageDirectory, HostFacts host, uint64_t descriptors);
  // Opens /dev/null and the syslog socket, so it is made before the sandbox closes, and sends
  // the helper its greeting. `port`, `timer` and `config` are borrowed for life. `imageDirectory`:
  // O_PATH directory of server.container_rootfs_path. `descriptors`: how many containers
  // and jobs may have open; a request that needs more is refused. For, where the limit of the
  // process itself is met, descriptors that the helper or wshd send are lost, and with them the
  // connection.

  ~Core() noexcept(false);
  // All sessions, and all promises of theirs, have to be gone before.
  KJ_DISALLOW_COPY(Core);

  kj::Promise<void> run();
  // Serves the helper's answers. Never resolves; rejects when the helper refuses the
  // greeting or its connection is lost, after every request under way has been failed: the process
  // then has to exit. Sessions may be opened before the greeting is answered. Called once.

  void prepareToDrain();
  // No grace time ends from now on: that connections are closed is not their clients' doing.

  kj::Promise<void> shutdown();
  // Begins no new create. Resolves when the creates and destroys under way are complete, or some
  // seconds later without them, and every container's snapshot is on the disk: the next frontend
  // goes on from there. Called once.

  kj::Promise<CoreFigures> figures();
  // Within seconds, whether or not the helper answers.

  kj::Own<Session> open(int clientSocket) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

}  // namespace warden::frontend
