#pragma once
// What every part of the core is given by the one above it.

#include <kj/async-unix.h>
#include <kj/timer.h>

#include "base/access.h"
#include "base/config.h"
#include "base/fd.h"
#include "frontend/event-counts.h"
#include "frontend/fair-limit.h"
#include "frontend/helper-client.h"
#include "frontend/pools.h"
#include "frontend/port-pool.h"
#include "frontend/syslog-lines.h"
#include "frontend/user-counts.h"

namespace warden::frontend {

struct Services {
  kj::UnixEventPort& port;
  kj::Timer& timer;
  const Config& config;
  const AccessPolicy& access;
  UserCounts& users;
  HelperClient& helper;
  const SyslogSocket& syslog;
  Budget& descriptors;  // of this process, for containers and jobs
  PortPool& ports;
  int nullDevice;       // /dev/null, for writing
  const Pipe& scratch;  // empty, but within one function
  kj::StringPtr lang;   // LANG of jobs
  FairLimit& requests;  // under way, without those that wait for a job
  EventCounts& events;
};

}  // namespace warden::frontend
