#include "privhelper/kept-images.h"

namespace warden::privhelper {

namespace {

constexpr uint64_t KEEP_US = 60'000'000;
constexpr size_t MOST_OF_A_CLIENT = 16;
constexpr size_t MOST = 128;

}  // namespace

void KeptImages::makeRoom(const PeerCredentials& client) {
  size_t own = 0;
  auto oldest = images.end();
  for (auto i = images.begin(); i != images.end(); ++i) {
    if (!i->second.isOf(client)) continue;
    if (own++ == 0) oldest = i;
  }
  if (own >= MOST_OF_A_CLIENT) {
    images.erase(oldest);
  } else if (images.size() >= MOST) {
    images.erase(images.begin());
  }
}

uint32_t KeptImages::keep(const PeerCredentials& client, OpenedImage image, uint64_t nowUs) {
  makeRoom(client);
  // One that is still kept after so many others there cannot be.
  if (++lastNumber == 0) ++lastNumber;
  images.emplace(lastNumber,
                 Kept{client.pid, client.uid, client.gid, kj::mv(image), nowUs + KEEP_US});
  return lastNumber;
}

kj::Maybe<OpenedImage> KeptImages::take(uint32_t number, const PeerCredentials& client) {
  auto found = images.find(number);
  if (found == images.end() || !found->second.isOf(client)) return nullptr;
  auto image = kj::mv(found->second.image);
  images.erase(found);
  return kj::mv(image);
}

void KeptImages::expire(uint64_t nowUs) {
  while (!images.empty() && images.begin()->second.untilUs <= nowUs)
    images.erase(images.begin());
}

uint64_t KeptImages::nextExpiryUs() const {
  return images.empty() ? UINT64_MAX : images.begin()->second.untilUs;
}

}  // namespace warden::privhelper
