// The part of the broker that concerns the frontend's beginning and end.

#include "privhelper/broker.h"

namespace warden::privhelper {

namespace {

// More than its socket holds: one that has closed its connection may go on writing records.
constexpr int MOST_LAST_RECORDS = 16384;

}  // namespace

void Broker::startFrontend() {
  greeted = false;
  try {
    frontend.start();
  } catch (const StepError& e) {
    frontend.startLater();
    log.note(kj::str("the frontend could not be started: ", e.detail()));
  }
}

void Broker::handleFrontendEnd() {
  // What it sent before its end.
  if (frontend.auditConnection() >= 0) receiveRecords(MOST_LAST_RECORDS);
  frontend.forget();
  clients.forget();
  unsent.clear();
  forgetPorting();
  // What is under way goes on. There is nobody to be told.
  for (auto& order : diskOrders)
    order.sequence = nullptr;
  for (auto& limiting : memoryOrders)
    limiting.sequence = nullptr;
  for (auto& [id, entry] : dying)
    entry.sequence = nullptr;
  waitForDyingUntilUs = monotonicUs() + DYING_US;
}

void Broker::hello(schema::HelperRequest::Reader request) {
  uint32_t version = request.getHello().getVersion();
  if (version != schema::PROTOCOL_VERSION) {
    return refuse(request.getSequence(), "hello", nullptr,
                  kj::str("the frontend speaks version ", version, " of the protocol, the helper ",
                          uint32_t(schema::PROTOCOL_VERSION), ": install both from one release"));
  }
  greeted = true;
  frontend.saidHello();
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(request.getSequence());
  answer.setDone();
  reply(message);
}

}  // namespace warden::privhelper
