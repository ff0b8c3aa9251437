// Traffic shaping: token buckets (tc-tbf(8)) on the host's end of a veth pair for what the
// container receives, and on an ifb device, through which it is led, for what it sends.

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>

#include "privhelper/network.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t BUCKET_HANDLES[] = {1 << 16, 2 << 16};  // 1: and 2:
constexpr uint32_t INGRESS_HANDLE = 0xffff0000;

// More than any interface here can do. Above it, the kernel's own sums would lose their precision.
constexpr uint64_t HIGHEST_RATE = uint64_t(1) << 40;
constexpr uint64_t HIGHEST_BURST = uint64_t(1) << 31;

// What may wait for its turn: a fifth of a second, and room for the parts of a large packet.
constexpr uint64_t QUEUE_FRACTION = 5;
constexpr uint64_t LARGEST_QUEUE = 4 << 20;
constexpr uint64_t LARGEST_PACKET = 64 << 10;

tcmsg* putTraffic(nlmsghdr* message, uint32_t index, uint32_t handle, uint32_t parent) {
  auto traffic = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(tcmsg)));
  traffic->tcm_family = AF_UNSPEC;
  traffic->tcm_ifindex = index;
  traffic->tcm_handle = handle;
  traffic->tcm_parent = parent;
  return traffic;
}

void putBucket(NetlinkRequest& request, uint32_t index, uint32_t handle, const Shape& shape) {
  nlmsghdr* message = request.start(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
  putTraffic(message, index, handle, TC_H_ROOT);
  mnl_attr_put_strz(message, TCA_KIND, "tbf");
  tc_tbf_qopt options{};
  options.rate.rate = kj::min(shape.rate, uint64_t(UINT32_MAX));
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;  // else the kernel wants a table of rates
  options.limit = shape.queue;
  nlattr* nest = mnl_attr_nest_start(message, TCA_OPTIONS);
  mnl_attr_put(message, TCA_TBF_PARMS, sizeof(options), &options);
  mnl_attr_put_u64(message, TCA_TBF_RATE64, shape.rate);
  mnl_attr_put_u32(message, TCA_TBF_BURST, shape.burst);
  mnl_attr_nest_end(message, nest);
}

void putRedirection(nlmsghdr* message, uint32_t shaper) {
  // A filter that matches everything: a value of 0 under a mask of 0.
  alignas(tc_u32_sel) char match[sizeof(tc_u32_sel) + sizeof(tc_u32_key)] = {};
  auto selector = reinterpret_cast<tc_u32_sel*>(match);
  selector->flags = TC_U32_TERMINAL;
  selector->nkeys = 1;
  tc_mirred redirection{};
  redirection.action = TC_ACT_STOLEN;
  redirection.eaction = TCA_EGRESS_REDIR;
  redirection.ifindex = shaper;

  mnl_attr_put_strz(message, TCA_KIND, "u32");
  nlattr* options = mnl_attr_nest_start(message, TCA_OPTIONS);
  mnl_attr_put(message, TCA_U32_SEL, sizeof(match), match);
  nlattr* actions = mnl_attr_nest_start(message, TCA_U32_ACT);
  nlattr* first = mnl_attr_nest_start(message, 1);
  mnl_attr_put_strz(message, TCA_ACT_KIND, "mirred");
  nlattr* actionOptions = mnl_attr_nest_start(message, TCA_ACT_OPTIONS);
  mnl_attr_put(message, TCA_MIRRED_PARMS, sizeof(redirection), &redirection);
  mnl_attr_nest_end(message, actionOptions);
  mnl_attr_nest_end(message, first);
  mnl_attr_nest_end(message, actions);
  mnl_attr_nest_end(message, options);
}

}  // namespace

Shape shapeFor(uint64_t rate, uint64_t burst, uint32_t mtu) {
  // A bucket that is smaller than a packet lets nothing pass.
  uint64_t largestFrame = mtu + ETH_HLEN + 4;
  uint64_t bucket = kj::min(kj::max(burst, largestFrame), HIGHEST_BURST);
  rate = kj::min(rate, HIGHEST_RATE);
  uint64_t smallestQueue = kj::max(10 * largestFrame, 2 * kj::min(bucket, LARGEST_PACKET));
  uint64_t queue = kj::min(kj::max(rate / QUEUE_FRACTION, smallestQueue), LARGEST_QUEUE);
  return Shape{rate, static_cast<uint32_t>(bucket), static_cast<uint32_t>(queue)};
}

void Links::shape(kj::ArrayPtr<const uint32_t> indexes, const Shape& shape, uint32_t generation) {
  NetlinkRequest request;
  for (uint32_t index : indexes)
    putBucket(request, index, BUCKET_HANDLES[generation % 2], shape);
  socket.transact("limit bandwidth", request);
}

void Links::redirectIncoming(uint32_t index, uint32_t shaper) {
  NetlinkRequest request;
  nlmsghdr* message = request.start(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
  putTraffic(message, index, INGRESS_HANDLE, TC_H_INGRESS);
  mnl_attr_put_strz(message, TCA_KIND, "ingress");
  message = request.start(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL);
  tcmsg* filter = putTraffic(message, index, 0, INGRESS_HANDLE);
  filter->tcm_info = 1 << 16 | htons(ETH_P_ALL);
  putRedirection(message, shaper);
  try {
    socket.transact("redirect to traffic shaper", request);
  } catch (...) {
    // The interface was without.
    NetlinkRequest undo;
    putTraffic(undo.start(RTM_DELQDISC, 0), index, INGRESS_HANDLE, TC_H_INGRESS);
    kj::runCatchingExceptions([&] { socket.transact("undo redirection", undo); });
    throw;
  }
}

void Links::unshape(uint32_t index) {
  auto remove = [&](uint32_t handle, uint32_t parent) {
    NetlinkRequest request;
    putTraffic(request.start(RTM_DELQDISC, 0), index, handle, parent);
    try {
      socket.transact("remove traffic shaping", request);
    } catch (const StepError& e) {
      // There is none: the kernel's words for it differ.
      if (e.error() != ENOENT && e.error() != EINVAL) throw;
    }
  };
  remove(0, TC_H_ROOT);
  remove(INGRESS_HANDLE, TC_H_INGRESS);
}

Bandwidth ContainerNetwork::nextBandwidth(uint64_t rate, uint64_t burst) const {
  return {rate, burst, shapes + 1, false};
}

void ContainerNetwork::limitBandwidth(const Bandwidth& next) {
  if (hostIndex == 0)
    throw StepError("limit bandwidth", ENODEV, "the container's interface is gone");
  if (shaperIndex == 0) addShaper();
  uint32_t indexes[] = {hostIndex, shaperIndex};
  network.links.shape(indexes, shapeFor(next.rate, next.burst, network.policy.mtu),
                      next.generation);
  shapes = next.generation;
}

void ContainerNetwork::addShaper() {
  uint32_t index = network.withNewIndex(
      [&](uint32_t number) { network.links.addShaper(shaper, number, network.alias); });
  KJ_ON_SCOPE_FAILURE(network.links.remove(index));
  network.links.redirectIncoming(hostIndex, index);
  shaperIndex = index;
}

}  // namespace warden::privhelper
