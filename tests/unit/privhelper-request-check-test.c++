#include "privhelper/request-check.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/config.h"
#include "base/container-id.h"
#include "base/packet.h"

namespace warden::privhelper {
namespace {

const Policy POLICY{.slotCount = 4,
                    .vcapUidStart = 10000,
                    .idRangeStart = 0x70000000,
                    .pidsLimit = 0,
                    .lowestHostPort = 1024,
                    .frontendUid = 999,
                    .frontendGid = 999,
                    .network = {.poolSize = 8},
                    .access = {}};

class CreateCheckTest : public testing::Test {
 protected:
  capnp::MallocMessageBuilder message;
  schema::CreateContainer::Builder request = message.initRoot<schema::CreateContainer>();

  CreateCheckTest() {
    request.setId("0123456789a");
    request.setSlot(3);
    request.setImageVcapUid(0xffffffff);
    request.setImageVcapGid(0xffffffff);
  }

  ~CreateCheckTest() noexcept override {}

  std::string refusal() {
    auto result = checkCreate(request.asReader(), POLICY);
    return result.is<Refusal>() ? result.get<Refusal>().reason.cStr() : "";
  }
};

TEST_F(CreateCheckTest, acceptsWhatIsWithinThePolicy) {
  request.getEtcFiles().setPasswd(kj::StringPtr("root:x:0:0").asBytes());
  request.getEtcFiles().setHosts(nullptr);
  request.setImageVcapUid(1000);
  auto result = checkCreate(request.asReader(), POLICY);
  ASSERT_TRUE(result.is<CreateOrder>());
  auto& order = result.get<CreateOrder>();
  EXPECT_EQ(order.id.text(), "0123456789a"_kj);
  EXPECT_EQ(order.slot, 3u);
  EXPECT_EQ(KJ_ASSERT_NONNULL(order.imageVcapUid), 1000u);
  EXPECT_TRUE(order.imageVcapGid == nullptr);
  ASSERT_EQ(order.etcFiles.size(), 2u) << "an empty file is not an absent one";
}

TEST_F(CreateCheckTest, refusesEveryIdThatIsNotWellFormed) {
  for (const char* id : {"", "..", ".", "../../etc/a", "/etc/passwd", "0123456789", "0123456789ab",
                         "0123456789A", "0123456789w", "0123456789/", "0123456789.", "012345678 9",
                         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    request.setId(id);
    EXPECT_NE(refusal(), "") << id;
  }
  std::string withNul(
      "0123\0"
      "56789a",
      11);
  request.setId(kj::StringPtr(withNul.data(), withNul.size()));
  EXPECT_NE(refusal(), "") << "NUL inside";
}

TEST_F(CreateCheckTest, refusesASlotOutsideOfThePool) {
  for (uint32_t slot : {4u, 5u, 0x7fffffffu, 0xffffffffu}) {
    request.setSlot(slot);
    EXPECT_NE(refusal(), "") << slot;
  }
}

TEST_F(CreateCheckTest, refusesToGiveRootsFilesToVcap) {
  for (uint32_t id : {0u, 65536u, 0xfffffffeu}) {
    request.setImageVcapUid(id);
    request.setImageVcapGid(0xffffffff);
    EXPECT_NE(refusal(), "") << "uid " << id;
    request.setImageVcapUid(0xffffffff);
    request.setImageVcapGid(id);
    EXPECT_NE(refusal(), "") << "gid " << id;
  }
}

TEST_F(CreateCheckTest, refusesAFileThatIsTooLarge) {
  auto large = kj::heapArray<kj::byte>(schema::CreateContainer::MAX_ETC_FILE_BYTES + 1);
  memset(large.begin(), 'x', large.size());
  auto files = request.getEtcFiles();
  using Set = std::function<void(kj::ArrayPtr<const kj::byte>)>;
  Set setters[] = {
      [&](auto data) { files.setPasswd(data); }, [&](auto data) { files.setGroup(data); },
      [&](auto data) { files.setHosts(data); }, [&](auto data) { files.setResolvConf(data); },
      [&](auto data) { files.setHostname(data); }};
  for (Set& set : setters) {
    set(large.slice(0, large.size() - 1));
    EXPECT_EQ(refusal(), "");
    set(large);
    EXPECT_NE(refusal(), "");
    set(nullptr);
  }
}

TEST_F(CreateCheckTest, takesBindMountsThatMakeSenseAndNoOthers) {
  auto bytes = [](const std::string& text) {
    return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
  };
  auto with = [&](const std::string& source, const std::string& target) {
    auto bind = request.initBindMounts(1)[0];
    bind.setSource(bytes(source));
    bind.setTarget(bytes(target));
    bind.setWritable(true);
    return refusal();
  };
  std::string longest = "/" + std::string(4094, 'x');
  EXPECT_EQ(with("/a", "/b"), "");
  EXPECT_EQ(with(longest, longest), "");
  for (auto& path : {std::string(), std::string("a"), longest + "x", std::string("/a\0b", 4)}) {
    EXPECT_NE(with(path, "/b"), "");
    EXPECT_NE(with("/a", path), "");
  }
  EXPECT_NE(with("/a", "/proc/self"), "");
  EXPECT_NE(with("/a", "/"), "");
  for (const char* component : {"/x", "//x", "/.", "/.."}) {
    auto deep = [&](int components) {
      std::string target = "/x";
      while (--components > 0)
        target += component;
      return target;
    };
    EXPECT_EQ(with("/a", deep(64)), "") << component;
    EXPECT_EQ(with("/a", deep(64) + "/"), "") << component;
    EXPECT_EQ(with(deep(1300), "/b"), "") << component;
    EXPECT_NE(with("/a", deep(65)).find("65 components"), std::string::npos) << component;
    EXPECT_NE(with("/a", deep(1300)), "") << component;
  }
  auto fill = [&](uint32_t count) {
    for (auto bind : request.initBindMounts(count)) {
      bind.setSource(bytes("/a"));
      bind.setTarget(bytes("/b"));
    }
    return refusal();
  };
  EXPECT_EQ(fill(64), "");
  EXPECT_NE(fill(65), "");
}

TEST_F(CreateCheckTest, refusesANetworkOutsideOfThePool) {
  for (uint32_t network : {8u, 9u, 0xffffffffu}) {
    request.setNetwork(network);
    EXPECT_NE(refusal(), "") << network;
  }
}

// The checks of requests about a container that exists: `change` makes a good request bad.
template <typename Request, typename Check>
std::string refusalOf(Check&& check, std::function<void(typename Request::Builder)> change) {
  capnp::MallocMessageBuilder message;
  auto request = message.initRoot<Request>();
  request.setId("0123456789a");
  change(request);
  auto result = check(request.asReader());
  return result.template is<Refusal>() ? result.template get<Refusal>().reason.cStr() : "";
}

TEST(LimitCheckTest, refusesMalformedIdsInEveryRequest) {
  auto bad = [](auto request) { request.setId("../../../aaa"); };
  EXPECT_NE(refusalOf<schema::LimitMemory>(checkLimitMemory, bad), "");
  EXPECT_NE(refusalOf<schema::LimitCpu>(checkLimitCpu, bad), "");
  EXPECT_NE(refusalOf<schema::LimitDisk>(checkLimitDisk, bad), "");
  EXPECT_NE(refusalOf<schema::LimitBandwidth>(checkLimitBandwidth, bad), "");
  EXPECT_NE(refusalOf<schema::AllowOut>(checkAllowOut, bad), "");
  auto map = [](schema::MapPort::Reader request) { return checkMapPort(request, POLICY); };
  EXPECT_NE(refusalOf<schema::MapPort>(map, bad), "");
}

TEST(LimitCheckTest, refusesABandwidthOfNothing) {
  auto refusal = [](uint64_t rate, uint64_t burst) {
    return refusalOf<schema::LimitBandwidth>(checkLimitBandwidth,
                                             [&](schema::LimitBandwidth::Builder request) {
                                               request.setRate(rate);
                                               request.setBurst(burst);
                                             });
  };
  EXPECT_EQ(refusal(1, 1), "");
  EXPECT_NE(refusal(0, 1), "");
  EXPECT_NE(refusal(1, 0), "");
}

TEST(PortCheckTest, refusesPortsThatAreTheHostsOwn) {
  auto refusal = [](uint16_t host, uint16_t container) {
    return refusalOf<schema::MapPort>(
        [](schema::MapPort::Reader request) { return checkMapPort(request, POLICY); },
        [&](schema::MapPort::Builder request) {
          request.setHostPort(host);
          request.setContainerPort(container);
        });
  };
  EXPECT_EQ(refusal(1024, 1), "");
  EXPECT_EQ(refusal(65535, 65535), "");
  EXPECT_NE(refusal(0, 80), "");
  EXPECT_NE(refusal(8080, 0), "");
  EXPECT_NE(refusal(22, 22), "");
  EXPECT_NE(refusal(1023, 22), "");
}

class OutCheckTest : public testing::Test {
 protected:
  std::string refusal(std::function<void(schema::AllowOut::Builder)> change) {
    return refusalOf<schema::AllowOut>(checkAllowOut, change);
  }
};

TEST_F(OutCheckTest, acceptsWhatTheProtocolsHave) {
  EXPECT_EQ(refusal([](auto) {}), "");
  EXPECT_EQ(refusal([](auto request) {
              request.setProtocol(schema::Protocol::UDP);
              request.setFirstPort(53);
              request.setLastPort(53);
            }),
            "");
  EXPECT_EQ(refusal([](auto request) {
              request.setProtocol(schema::Protocol::ICMP);
              request.setIcmpType(8);
              request.setIcmpCode(255);
            }),
            "");
  EXPECT_EQ(refusal([](auto request) { request.setProtocol(schema::Protocol::ALL); }), "");
}

TEST_F(OutCheckTest, refusesReversedRanges) {
  EXPECT_NE(refusal([](auto request) {
              request.setFirstAddress(2);
              request.setLastAddress(1);
            }),
            "");
  EXPECT_NE(refusal([](auto request) {
              request.setFirstPort(2);
              request.setLastPort(1);
            }),
            "");
}

TEST_F(OutCheckTest, refusesWhatAProtocolDoesNotHave) {
  EXPECT_NE(refusal([](auto request) { request.setIcmpType(8); }), "");
  EXPECT_NE(refusal([](auto request) {
              request.setProtocol(schema::Protocol::ICMP);
              request.setFirstPort(1);
            }),
            "");
  EXPECT_NE(refusal([](auto request) {
              request.setProtocol(schema::Protocol::ALL);
              request.setLastPort(1);
            }),
            "");
  EXPECT_NE(refusal([](auto request) { request.setProtocol(static_cast<schema::Protocol>(4)); }),
            "");
}

TEST_F(OutCheckTest, refusesIcmpNumbersThatDoNotFitAByte) {
  for (int16_t number : {-2, 256, 32767, -32768}) {
    EXPECT_NE(refusal([&](auto request) {
                request.setProtocol(schema::Protocol::ICMP);
                request.setIcmpType(number);
              }),
              "")
        << number;
    EXPECT_NE(refusal([&](auto request) {
                request.setProtocol(schema::Protocol::ICMP);
                request.setIcmpCode(number);
              }),
              "")
        << number;
  }
}

TEST(ContainersReplyTest, hasRoomForAllThatAConfigurationAllows) {
  capnp::MallocMessageBuilder message;
  auto containers = message.initRoot<schema::HelperReply>().initContainers();
  containers.initWhole(Config::MAX_CONTAINERS);
  for (auto dying : containers.initDying(schema::Containers::MAX_DYING))
    dying.setId(ContainerId::fromNumber(1).text());
  EXPECT_LE(capnp::computeSerializedSizeInWords(message) * sizeof(capnp::word), MAX_PACKET_BYTES);
}

}  // namespace
}  // namespace warden::privhelper
