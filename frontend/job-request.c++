#include "frontend/job-request.h"

#include <sys/resource.h>

#include <type_traits>

namespace warden::frontend {

namespace {

struct LimitField {
  int resource;
  bool (ResourceLimits::*has)() const;
  uint64_t (ResourceLimits::*get)() const;
};

constexpr LimitField LIMIT_FIELDS[] = {
    {RLIMIT_AS, &ResourceLimits::has_as, &ResourceLimits::as},
    {RLIMIT_CORE, &ResourceLimits::has_core, &ResourceLimits::core},
    {RLIMIT_CPU, &ResourceLimits::has_cpu, &ResourceLimits::cpu},
    {RLIMIT_DATA, &ResourceLimits::has_data, &ResourceLimits::data},
    {RLIMIT_FSIZE, &ResourceLimits::has_fsize, &ResourceLimits::fsize},
    {RLIMIT_LOCKS, &ResourceLimits::has_locks, &ResourceLimits::locks},
    {RLIMIT_MEMLOCK, &ResourceLimits::has_memlock, &ResourceLimits::memlock},
    {RLIMIT_MSGQUEUE, &ResourceLimits::has_msgqueue, &ResourceLimits::msgqueue},
    {RLIMIT_NICE, &ResourceLimits::has_nice, &ResourceLimits::nice},
    {RLIMIT_NOFILE, &ResourceLimits::has_nofile, &ResourceLimits::nofile},
    {RLIMIT_NPROC, &ResourceLimits::has_nproc, &ResourceLimits::nproc},
    {RLIMIT_RSS, &ResourceLimits::has_rss, &ResourceLimits::rss},
    {RLIMIT_RTPRIO, &ResourceLimits::has_rtprio, &ResourceLimits::rtprio},
    {RLIMIT_SIGPENDING, &ResourceLimits::has_sigpending, &ResourceLimits::sigpending},
    {RLIMIT_STACK, &ResourceLimits::has_stack, &ResourceLimits::stack},
};

constexpr char USER_PATH[] = "/bin:/usr/bin";
constexpr char ROOT_PATH[] = "/sbin:/bin:/usr/sbin:/usr/bin";

}  // namespace

kj::Array<JobLimit> mergeLimits(const Config::Server& config, const ResourceLimits& requested) {
  kj::Vector<JobLimit> limits;
  for (auto& field : LIMIT_FIELDS) {
    auto resource = static_cast<uint8_t>(field.resource);
    if ((requested.*field.has)()) {
      limits.add(JobLimit{resource, (requested.*field.get)(), false});
      continue;
    }
    auto configured = config.containerRlimits.find(field.resource);
    if (configured != config.containerRlimits.end()) {
      limits.add(JobLimit{resource, configured->second, true});
    }
  }
  return limits.releaseAsArray();
}

kj::Array<kj::String> jobEnvironment(const ContainerUser& user, bool privileged,
                                     kj::StringPtr lang) {
  return kj::arr(kj::str("HOME=", user.home), kj::str("USER=", user.name), kj::str("LANG=", lang),
                 kj::str("PATH=", privileged ? ROOT_PATH : USER_PATH));
}

template <typename Request>
JobRequest readJobRequest(const Request& request, const Config::Server& config,
                          ScriptFiles& scripts) {
  OutputOptions output;
  output.discard = request.discard_output();
  if (request.has_log_tag())
    output.logTag = request.log_tag().substr(0, SyslogLines::MAX_TAG_BYTES);
  auto script = kj::arrayPtr(request.script().data(), request.script().size()).asBytes();
  return {scripts.make(script), request.privileged(), kj::mv(output),
          mergeLimits(config, request.rlimits()), std::is_same_v<Request, RunRequest>};
}

template JobRequest readJobRequest(const SpawnRequest&, const Config::Server&, ScriptFiles&);
template JobRequest readJobRequest(const RunRequest&, const Config::Server&, ScriptFiles&);

}  // namespace warden::frontend
