#pragma once
// What a client's Spawn or Run asks for.

#include "frontend/etc-files.h"
#include "frontend/job-output.h"
#include "frontend/script-files.h"
#include "frontend/wshd-client.h"
#include "schema/warden.pb.h"

namespace warden::frontend {

struct JobRequest {
  Fd script;  // sealed memfd
  bool privileged;
  OutputOptions output;
  kj::Array<JobLimit> limits;
  bool answeredAtEnd;  // Run: the client learns nothing of the start
};

template <typename Request>  // SpawnRequest, RunRequest
JobRequest readJobRequest(const Request& request, const Config::Server& config,
                          ScriptFiles& scripts);

kj::Array<JobLimit> mergeLimits(const Config::Server& config, const ResourceLimits& requested);
// The configured ones, lowered where the system's own limit is lower, and those of the request in
// their place, which are kept as asked for or refused.

kj::Array<kj::String> jobEnvironment(const ContainerUser& user, bool privileged,
                                     kj::StringPtr lang);
// Exactly HOME, USER, LANG and PATH.

}  // namespace warden::frontend
