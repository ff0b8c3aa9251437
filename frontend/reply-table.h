#pragma once
// Who waits for which reply of a peer.

#include <kj/async.h>
#include <stdint.h>

#include <unordered_map>

#include "base/packet.h"

namespace warden::frontend {

class ReplyTable {
 public:
  bool isEmpty() const { return waiting.empty(); }

  uint64_t nextSequence() { return ++lastSequence; }
  // From 1; a request whose reply interests nobody takes a number too.

  kj::Promise<Packet> await(uint64_t sequence) {
    auto pair = kj::newPromiseAndFulfiller<Packet>();
    waiting.emplace(sequence, kj::mv(pair.fulfiller));
    return kj::mv(pair.promise);
  }

  void settle(uint64_t sequence, Packet&& reply) {
    auto found = waiting.find(sequence);
    if (found == waiting.end()) return;
    auto fulfiller = kj::mv(found->second);
    waiting.erase(found);
    fulfiller->fulfill(kj::mv(reply));
  }

  void failAll(const kj::Exception& reason) {
    for (auto& entry : waiting)
      entry.second->reject(kj::cp(reason));
    waiting.clear();
  }

 private:
  uint64_t lastSequence = 0;
  std::unordered_map<uint64_t, kj::Own<kj::PromiseFulfiller<Packet>>> waiting;
};

}  // namespace warden::frontend
