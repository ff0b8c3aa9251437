#include "base/ipv4.h"

#include <arpa/inet.h>

namespace warden {

namespace {

kj::Maybe<uint32_t> parsePrefixLength(kj::StringPtr text) {
  if (text.size() < 1 || text.size() > 2) return nullptr;
  uint32_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return nullptr;
    value = value * 10 + (c - '0');
  }
  if (value > 32 || (text.size() == 2 && text[0] == '0')) return nullptr;
  return value;
}

}  // namespace

kj::Maybe<uint32_t> parseIpv4(kj::StringPtr text) {
  // inet_pton(3) takes four decimal numbers only, but ends at a NUL.
  in_addr address;
  if (text.findFirst('\0') != nullptr) return nullptr;
  if (inet_pton(AF_INET, text.cStr(), &address) != 1) return nullptr;
  return ntohl(address.s_addr);
}

kj::Maybe<Ipv4Range> parseIpv4Range(kj::StringPtr text) {
  KJ_IF_MAYBE (slash, text.findFirst('/')) {
    KJ_IF_MAYBE (address, parseIpv4(kj::str(text.slice(0, *slash)))) {
      KJ_IF_MAYBE (length, parsePrefixLength(text.slice(*slash + 1))) {
        // A shift by all 32 bits is undefined.
        uint32_t hostBits = *length == 0 ? ~0u : (1ull << (32 - *length)) - 1;
        return Ipv4Range{*address & ~hostBits, *address | hostBits};
      }
    }
    return nullptr;
  }
  KJ_IF_MAYBE (dash, text.findFirst('-')) {
    KJ_IF_MAYBE (first, parseIpv4(kj::str(text.slice(0, *dash)))) {
      KJ_IF_MAYBE (last, parseIpv4(text.slice(*dash + 1))) {
        if (*first <= *last) return Ipv4Range{*first, *last};
      }
    }
    return nullptr;
  }
  KJ_IF_MAYBE (address, parseIpv4(text)) {
    return Ipv4Range{*address, *address};
  }
  return nullptr;
}

kj::String ipv4Text(uint32_t address) {
  return kj::str(address >> 24, '.', address >> 16 & 255, '.', address >> 8 & 255, '.',
                 address & 255);
}

}  // namespace warden
