#pragma once
// Root file systems that were opened for a client and wait for the create that uses them.

#include <map>

#include "base/access.h"
#include "privhelper/orders.h"

namespace warden::privhelper {

class KeptImages {
 public:
  uint32_t keep(const PeerCredentials& client, OpenedImage image, uint64_t nowUs);
  // Answers its number, which is never 0. Forgets the oldest where there are too many, of this
  // client or of all.

  kj::Maybe<OpenedImage> take(uint32_t number, const PeerCredentials& client);
  // None: there is none of this number, or it is another client's.

  void expire(uint64_t nowUs);
  uint64_t nextExpiryUs() const;  // UINT64_MAX: never
  void clear() { images.clear(); }

 private:
  struct Kept {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    OpenedImage image;
    uint64_t untilUs;

    bool isOf(const PeerCredentials& client) const {
      return pid == client.pid && uid == client.uid && gid == client.gid;
    }
  };
  std::map<uint32_t, Kept> images;  // in the order of their age
  uint32_t lastNumber = 0;

  void makeRoom(const PeerCredentials& client);
};

}  // namespace warden::privhelper
