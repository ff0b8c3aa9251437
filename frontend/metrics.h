#pragma once
// What /healthz and /metrics say: figures of all parts, in words.

#include "frontend/core.h"
#include "frontend/edge-server.h"
#include "frontend/health-server.h"
#include "frontend/process-figures.h"

namespace warden::frontend {

class Metrics final : public HealthSource {
 public:
  Metrics(Core& core, const EdgeServer& edge, rlim_t descriptors)
      : core(core), edge(edge), process(descriptors) {}
  // Made before the sandbox closes. All are borrowed.

  kj::Promise<kj::Own<Health>> look() override;

 private:
  Core& core;
  const EdgeServer& edge;
  ProcessWatch process;

  kj::String troubleOf(const CoreFigures& figures) const;
  kj::String textOf(const CoreFigures& figures, bool healthy) const;
};

}  // namespace warden::frontend
