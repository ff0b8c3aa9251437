#include "privhelper/orders.h"

namespace warden::privhelper {

DiskLimits limitsFrom(schema::DiskLimits::Reader in) {
  return {.blocksSoft = in.getBlocksSoft(),
          .blocksHard = in.getBlocksHard(),
          .inodesSoft = in.getInodesSoft(),
          .inodesHard = in.getInodesHard()};
}

void put(schema::DiskLimits::Builder out, const DiskLimits& limits) {
  out.setBlocksSoft(limits.blocksSoft);
  out.setBlocksHard(limits.blocksHard);
  out.setInodesSoft(limits.inodesSoft);
  out.setInodesHard(limits.inodesHard);
}

void put(schema::AllowOut::Builder out, const OutRule& rule) {
  out.setFirstAddress(rule.destination.first);
  out.setLastAddress(rule.destination.last);
  out.setProtocol(rule.protocol);
  out.setFirstPort(rule.firstPort);
  out.setLastPort(rule.lastPort);
  out.setIcmpType(rule.icmpType);
  out.setIcmpCode(rule.icmpCode);
  out.setLog(rule.log);
}

OutRule ruleFrom(schema::AllowOut::Reader in) {
  return {.destination = {in.getFirstAddress(), in.getLastAddress()},
          .protocol = in.getProtocol(),
          .firstPort = in.getFirstPort(),
          .lastPort = in.getLastPort(),
          .icmpType = in.getIcmpType(),
          .icmpCode = in.getIcmpCode(),
          .log = in.getLog()};
}

}  // namespace warden::privhelper
