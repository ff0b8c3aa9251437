// Hostile requests about the network of a container: what the policy does not grant is not done.

#include <sys/socket.h>

#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

constexpr char ID[] = "0123456789b";
constexpr char NFT[] = "/usr/sbin/nft";

class HostileNetworkTest : public HostileFrontendTest {
 protected:
  void SetUp() override {
    HostileFrontendTest::SetUp();
    auto created = helper->create(ID, 3);
    ASSERT_TRUE(answered(created, schema::HelperReply::CREATED));
    before = networkObjects(server->network());
  }

  void expectNothingChanged() { EXPECT_EQ(networkObjects(server->network()), before); }

  HelperConnection::Fill mapPort(uint16_t hostPort, uint16_t containerPort) {
    return [=](auto request) {
      auto map = request.initMapPort();
      map.setId(ID);
      map.setHostPort(hostPort);
      map.setContainerPort(containerPort);
    };
  }
  HelperConnection::Fill allowOut(std::function<void(schema::AllowOut::Builder)> change) {
    return [=](auto request) {
      auto allow = request.initAllowOut();
      allow.setId(ID);
      change(allow);
    };
  }
  schema::HelperReply::Which answerTo(const HelperConnection::Fill& fill) {
    auto reply = helper->call(fill);
    KJ_REQUIRE(reply.has_value(), "no reply", server->logs().c_str());
    lastText = reply->text;
    return reply->which;
  }

  std::vector<std::string> before;
  std::string lastText;
};

TEST_F(HostileNetworkTest, createIsRefusedForNetworksOutsideOfThePool) {
  for (uint32_t network : {256u, 257u, 65536u, 0x3fffffffu, 0x40000000u, 0x7fffffffu, 0x80000000u,
                           0xfffffffeu, 0xffffffffu}) {
    SCOPED_TRACE(network);
    expectRefused([&](auto request) {
      auto create = request.initCreate();
      fillCreate(create, "0123456789c", 4);
      create.setNetwork(network);
    });
  }
  expectNothingChanged();
}

TEST_F(HostileNetworkTest, createIsRefusedForANetworkInUse) {
  for (int i = 0; i < 3; ++i) {
    expectRefused([](auto request) {
      auto create = request.initCreate();
      fillCreate(create, "0123456789c", 4);
      create.setNetwork(3);
    });
  }
  expectNothingChanged();
  auto gone = helper->destroy(ID);
  ASSERT_TRUE(answered(gone, schema::HelperReply::DONE));
  EXPECT_EQ(answerTo([](auto request) {
              auto create = request.initCreate();
              fillCreate(create, "0123456789c", 4);
              create.setNetwork(3);
            }),
            schema::HelperReply::CREATED)
      << lastText;
}

TEST_F(HostileNetworkTest, portsOfTheHostsOwnAreRefused) {
  for (uint16_t port : {0, 1, 22, 53, 80, 443, 1023})
    expectRefused(mapPort(port, 80));
  expectRefused(mapPort(5000, 0));
  expectNothingChanged();
  EXPECT_EQ(answerTo(mapPort(65535, 65535)), schema::HelperReply::DONE) << lastText;
  EXPECT_EQ(answerTo(mapPort(1024, 1)), schema::HelperReply::DONE) << lastText;
}

TEST_F(HostileNetworkTest, aPortIsMappedOnce) {
  EXPECT_EQ(answerTo(mapPort(5000, 80)), schema::HelperReply::DONE) << lastText;
  before = networkObjects(server->network());
  EXPECT_EQ(answerTo(mapPort(5000, 80)), schema::HelperReply::FAILED);
  EXPECT_EQ(answerTo(mapPort(5000, 81)), schema::HelperReply::FAILED);
  auto other = helper->create("0123456789c", 4);
  ASSERT_TRUE(answered(other, schema::HelperReply::CREATED));
  EXPECT_EQ(answerTo([](auto request) {
              auto map = request.initMapPort();
              map.setId("0123456789c");
              map.setHostPort(5000);
              map.setContainerPort(80);
            }),
            schema::HelperReply::FAILED);
  auto gone = helper->destroy("0123456789c");
  ASSERT_TRUE(answered(gone, schema::HelperReply::DONE));
  EXPECT_TRUE(waitUntil([&]() { return networkObjects(server->network()) == before; }));
}

TEST_F(HostileNetworkTest, rulesThatMakeNoSenseAreRefused) {
  using Protocol = schema::Protocol;
  expectRefused(allowOut([](auto allow) {
    allow.setFirstAddress(2);
    allow.setLastAddress(1);
  }));
  expectRefused(allowOut([](auto allow) {
    allow.setFirstPort(2);
    allow.setLastPort(1);
  }));
  expectRefused(allowOut([](auto allow) {
    allow.setFirstPort(65535);
    allow.setLastPort(0);
  }));
  for (Protocol protocol : {Protocol::ICMP, Protocol::ALL}) {
    expectRefused(allowOut([&](auto allow) {
      allow.setProtocol(protocol);
      allow.setFirstPort(80);
      allow.setLastPort(80);
    }));
  }
  for (Protocol protocol : {Protocol::TCP, Protocol::UDP, Protocol::ALL}) {
    expectRefused(allowOut([&](auto allow) {
      allow.setProtocol(protocol);
      allow.setIcmpType(8);
    }));
  }
  for (int16_t number : {-2, 256, 32767, -32768}) {
    expectRefused(allowOut([&](auto allow) {
      allow.setProtocol(Protocol::ICMP);
      allow.setIcmpType(number);
    }));
    expectRefused(allowOut([&](auto allow) {
      allow.setProtocol(Protocol::ICMP);
      allow.setIcmpType(8);
      allow.setIcmpCode(number);
    }));
  }
  for (uint16_t protocol : {4, 255, 65535}) {
    expectRefused(
        allowOut([&](auto allow) { allow.setProtocol(static_cast<Protocol>(protocol)); }));
  }
  expectNothingChanged();
}

TEST_F(HostileNetworkTest, rulesAreOfTheContainerOnly) {
  // What allows everything names the container's interface in every rule and element of it.
  for (auto protocol : {schema::Protocol::TCP, schema::Protocol::ALL}) {
    EXPECT_EQ(answerTo(allowOut([&](auto allow) {
                allow.setProtocol(protocol);
                allow.setLog(true);
              })),
              schema::HelperReply::DONE)
        << lastText;
  }
  std::set<std::string> old(before.begin(), before.end());
  for (const auto& object : networkObjects(server->network())) {
    if (old.count(object) == 1) continue;
    EXPECT_NE(object.find(ID), std::string::npos) << object;
  }
}

TEST_F(HostileNetworkTest, aHundredThousandRulesAreBounded) {
  size_t done = 0, failed = 0;
  for (uint32_t i = 0; i < 100000; ++i) {
    auto which = answerTo(allowOut([&](auto allow) {
      allow.setFirstAddress(0x0a000000 + 8 * i + 1);  // no power of two, so that nothing is joined
      allow.setLastAddress(0x0a000000 + 8 * i + 6);
      allow.setFirstPort(1 + i % 60000);
      allow.setLastPort(1 + i % 60000);
    }));
    if (which == schema::HelperReply::DONE) ++done;
    if (which == schema::HelperReply::FAILED) ++failed;
  }
  EXPECT_EQ(done + failed, 100000u);
  EXPECT_LE(done, size_t(schema::AllowOut::MAX_RULES));
  EXPECT_GT(done, 0u);
  EXPECT_LT(std::stol(statusField(server->brokerPid(), "VmRSS")), 65536) << "KiB";
}

TEST_F(HostileNetworkTest, aContainersPortsAreBounded) {
  size_t done = 0;
  for (uint32_t port = 1024; port <= 65535; port += 7)
    done += answerTo(mapPort(port, 80)) == schema::HelperReply::DONE;
  EXPECT_EQ(done, size_t(schema::MapPort::MAX_PORTS));
}

TEST_F(HostileNetworkTest, nothingButTheServersTableIsMade) {
  answerTo(mapPort(5000, 80));
  answerTo(allowOut([](auto allow) { allow.setLog(true); }));
  EXPECT_EQ(splitLines(server->network().output({NFT, "list", "tables"})).size(), 1u);
  // The host's own chains are as they were: there are none besides.
  for (const auto& name : interfaceNames(server->network()))
    EXPECT_TRUE(name == "lo" || name.find(ID) != std::string::npos) << name;
}

}  // namespace
}  // namespace warden::test
