#pragma once
// The port of /healthz and /metrics. The helper opens it, so that a port that cannot be had is an
// error of the start, and the port outlives a frontend that is started again.

#include <string>

#include "base/config.h"
#include "base/fd.h"

namespace warden::privhelper {

kj::Maybe<Fd> openHealthListener(const Config& config, const std::string& configName);
// Listens on 127.0.0.1; none where health_check_server.port is not configured. Throws ConfigError
// where the port is in use or not permitted. What the frontend gets with it is a socket of the
// host's network, and it may call connect(2), which makes of a listener, and of what it has
// accepted, a socket that can be connected elsewhere (AF_UNSPEC). So the socket has a filter, which
// accepted ones inherit and nobody can remove (socket(7), SO_LOCK_FILTER): it drops the answer to a
// connection that the socket itself begins.

int tryHealthPort(uint16_t port);
// Whether the port can be had now: 0, or errno. It is bound for a moment, and nobody can connect.

ConfigError healthPortError(uint16_t port, int error);
// What it says to the operator.

}  // namespace warden::privhelper
