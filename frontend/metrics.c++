#include "frontend/metrics.h"

#include <fmt/format.h>
#include <string.h>

#include <iterator>

namespace warden::frontend {

namespace {

class MetricsText {
  // Writes the text format of Prometheus (its documentation, "Exposition formats"). Label values
  // are the server's own words: they need no escapes.

 public:
  void family(const char* name, const char* type, const char* help) {
    fmt::format_to(std::back_inserter(text), "# HELP {} {}\n# TYPE {} {}\n", name, help, name,
                   type);
  }
  template <typename Value>
  void sample(std::string_view nameAndLabels, Value value) {
    fmt::format_to(std::back_inserter(text), "{} {}\n", nameAndLabels, value);
  }
  template <typename Value>
  void one(const char* name, const char* type, const char* help, Value value) {
    family(name, type, help);
    sample(name, value);
  }
  kj::String take() { return kj::heapString(text.data(), text.size()); }

 private:
  std::string text;
};

constexpr const char* CAUSES[HelperFigures::CAUSES] = {"processes", "cgroup", "directory",
                                                       "network"};

void addContainers(MetricsText& out, const RegistryFigures& figures) {
  out.family("warden_containers", "gauge", "Containers by state.");
  for (size_t i = 0; i < Container::STATES; ++i) {
    auto state = nameOf(static_cast<Container::State>(i));
    out.sample(fmt::format("warden_containers{{state=\"{}\"}}", state.cStr()),
               figures.containers[i]);
  }
  out.one("warden_jobs", "gauge", "Jobs that have not ended.", figures.jobs);
  out.one("warden_silent_wshds", "gauge", "Containers whose first process does not answer.",
          figures.silent);
}

void addHelper(MetricsText& out, const HelperFigures& figures) {
  out.one("warden_helper_answers", "gauge", "Whether the helper answered within two seconds.",
          int(figures.answers));
  out.one("warden_audit_trail_writable", "gauge",
          "Whether the audit trail can be written, as of the helper's last answer.",
          int(figures.trailError == 0));
  out.family("warden_containers_being_removed", "gauge",
             "Containers that are being ended or removed, tried again until they are gone, by what "
             "holds them up.");
  for (size_t i = 0; i < HelperFigures::CAUSES; ++i) {
    out.sample(fmt::format("warden_containers_being_removed{{held_up_by=\"{}\"}}", CAUSES[i]),
               figures.dying[i]);
  }
  out.one("warden_containers_being_removed_oldest_seconds", "gauge",
          "For how long the one that takes longest has been.", figures.oldestSeconds);
}

void addEvents(MetricsText& out, const EventCounts& events) {
  out.family("warden_events_total", "counter", "Events of containers.");
  for (auto& [event, count] : events.all())
    out.sample(fmt::format("warden_events_total{{event=\"{}\"}}", event), count);
}

void addClients(MetricsText& out, const EdgeServer& edge, const RegistryFigures& registry) {
  out.one("warden_connections", "gauge", "Clients' connections.", edge.connectionCount());
  out.one("warden_requests_under_way", "gauge", "Requests that are not answered yet.",
          edge.requestsUnderWay());
  out.one("warden_requests_waiting", "gauge",
          "Creates and destroys of these that wait for their turn.", registry.waiting);
  out.one("warden_unread_response_bytes", "gauge",
          "Memory of responses that clients have not read.", edge.unreadResponseBytes());
  out.one("warden_unfinished_request_bytes", "gauge",
          "Memory of requests that have not arrived whole.", edge.unfinishedRequestBytes());
  out.family("warden_requests_total", "counter", "Requests by type and outcome.");
  edge.requestCounts().forEach([&out](Message::Type type, RequestOutcome outcome, uint64_t count) {
    out.sample(fmt::format("warden_requests_total{{request=\"{}\",outcome=\"{}\"}}",
                           nameOfRequest(type), nameOf(outcome)),
               count);
  });
}

void addProcess(MetricsText& out, const ProcessFigures& figures) {
  out.one("process_resident_memory_bytes", "gauge", "Of the frontend.", figures.residentBytes);
  out.one("process_virtual_memory_bytes", "gauge", "Of the frontend.", figures.virtualBytes);
  out.one("process_open_fds", "gauge", "Of the frontend.", figures.openDescriptors);
  out.one("process_max_fds", "gauge", "Of the frontend.", figures.mostDescriptors);
  out.one("process_cpu_seconds_total", "counter", "Of the frontend.", figures.cpuSeconds);
}

}  // namespace

kj::Promise<kj::Own<Health>> Metrics::look() {
  return core.figures().then([this](CoreFigures figures) {
    auto health = kj::refcounted<Health>();
    health->trouble = troubleOf(figures);
    health->metrics = textOf(figures, health->trouble.size() == 0);
    return health;
  });
}

// Containers whose first process is silent, or that do not end, are no reason: all others are
// served.
kj::String Metrics::troubleOf(const CoreFigures& figures) const {
  if (figures.registry.shuttingDown || edge.isDraining()) {
    return kj::str("the server is ending: it takes no more requests\n");
  }
  if (!figures.helper.answers) {
    return kj::str("the privileged helper does not answer: nothing can be created or destroyed\n");
  }
  if (figures.registry.recovering) {
    return kj::str("containers of the server before this one are being taken over\n");
  }
  if (figures.helper.trailError != 0) {
    return kj::str("the audit trail cannot be written: ", strerror(figures.helper.trailError),
                   ": what has to be on record is refused\n");
  }
  return nullptr;
}

kj::String Metrics::textOf(const CoreFigures& figures, bool healthy) const {
  MetricsText out;
  out.one("warden_healthy", "gauge", "Whether /healthz answers 200.", int(healthy));
  addContainers(out, figures.registry);
  addHelper(out, figures.helper);
  addEvents(out, figures.events);
  addClients(out, edge, figures.registry);
  addProcess(out, process.look());
  return out.take();
}

}  // namespace warden::frontend
