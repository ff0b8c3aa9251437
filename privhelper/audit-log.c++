#include "privhelper/audit-log.h"

#include <kj/debug.h>

namespace warden::privhelper {

namespace {

using Json = nlohmann::ordered_json;

// Of what a hostile frontend gave as an id, or as the name of a request.
constexpr size_t LONGEST_ID = 64;
constexpr size_t LONGEST_CAUSE = 4096;

const char* nameOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::DONE:
      return "done";
    case Outcome::REFUSED:
      return "refused";
    case Outcome::FAILED:
      return "failed";
  }
  return "";
}

const char* nameOf(schema::RequestRecord::Outcome outcome) {
  switch (outcome) {
    case schema::RequestRecord::Outcome::DONE:
      return "done";
    case schema::RequestRecord::Outcome::REFUSED:
      return "refused";
    case schema::RequestRecord::Outcome::FAILED:
      return "failed";
  }
  return "unknown";
}

std::string_view view(kj::ArrayPtr<const char> text) {
  return {text.begin(), text.size()};
}

std::string_view view(kj::ArrayPtr<const kj::byte> bytes) {
  return view(bytes.asChars());
}

Json describe(const AuditPeer& peer) {
  Json object = {{"pid", peer.pid}, {"uid", peer.uid}, {"gid", peer.gid}};
  if (!peer.executable.empty()) object["executable"] = auditText(peer.executable);
  if (!peer.unit.empty()) object["unit"] = auditText(peer.unit);
  return object;
}

Json peerOf(schema::RequestRecord::Reader request, const AuditPeer* known) {
  if (known != nullptr) return describe(*known);
  Json told = describe({request.getPid(), request.getUid(), request.getGid(), {}, {}});
  told["attested"] = false;
  return told;
}

}  // namespace

AuditLog::AuditLog(Fd output)
    : operations(output == nullptr ? Fd() : duplicate(output)),
      requests(kj::mv(output)),
      whenUnwritable(AuditOptions::WhenUnwritable::CONTINUE) {}

AuditLog::AuditLog(AuditTrail operations, AuditTrail requests,
                   AuditOptions::WhenUnwritable whenUnwritable)
    : operations(kj::mv(operations)), requests(kj::mv(requests)), whenUnwritable(whenUnwritable) {}

void AuditLog::record(kj::StringPtr operation, kj::StringPtr container, Outcome outcome,
                      kj::StringPtr cause, uint64_t durationUs, kj::StringPtr path) {
  Json object = {{"from", "privhelper"}};
  KJ_IF_MAYBE (client, present) {
    object["peer"] = describe(*client);
  }
  object["request"] = operation.cStr();
  if (container.size() > 0) object["container"] = auditText(view(container), LONGEST_ID);
  if (path.size() > 0) object["path"] = auditText(view(path), LONGEST_CAUSE);
  object["outcome"] = nameOf(outcome);
  if (cause.size() > 0) object["cause"] = auditText(view(cause), LONGEST_CAUSE);
  if (durationUs != 0) object["duration_us"] = durationUs;
  operations.append(kj::mv(object));
}

void AuditLog::recordRequest(schema::RequestRecord::Reader request, const AuditPeer* peer) {
  Json object = {{"from", "frontend"}, {"peer", peerOf(request, peer)}};
  object["request"] = auditText(view(request.getRequest()), LONGEST_ID);
  if (request.getHandle().size() > 0) {
    auto handle = view(request.getHandle());
    if (request.getHandleBytes() > handle.size()) {
      object["handle"] = {{"start", auditText(handle)}, {"bytes", request.getHandleBytes()}};
    } else {
      object["handle"] = auditText(handle);
    }
  }
  if (request.getJobId() != 0) object["job"] = request.getJobId();
  if (request.getScriptSha256().size() > 0) {
    object["script"] = {{"sha256", auditText(view(request.getScriptSha256()), 64)},
                        {"bytes", request.getScriptBytes()}};
  }
  object["outcome"] = nameOf(request.getOutcome());
  if (request.getCause().size() > 0) {
    object["cause"] = auditText(view(request.getCause()), LONGEST_CAUSE);
  }
  object["duration_us"] = request.getDurationUs();
  if (request.getLost() > 0) object["lost"] = request.getLost();
  requests.append(kj::mv(object));
}

void AuditLog::note(kj::StringPtr message) {
  operations.append({{"from", "privhelper"}, {"message", auditText(view(message), LONGEST_CAUSE)}});
}

kj::Maybe<AuditProblem> AuditLog::reasonToRefuse() {
  auto first = operations.problem();
  auto second = requests.problem();
  if (whenUnwritable == AuditOptions::WhenUnwritable::CONTINUE) return nullptr;
  return first == nullptr ? kj::mv(second) : kj::mv(first);
}

AuditLog::OnBehalf::OnBehalf(AuditLog& log, kj::Maybe<AuditPeer> peer)
    : log(log), before(kj::mv(log.present)) {
  log.present = kj::mv(peer);
}

AuditLog::OnBehalf::~OnBehalf() noexcept(false) {
  log.present = kj::mv(before);
}

}  // namespace warden::privhelper
