// A frontend that was taken over lies about who asks: each lie is refused, and on record.

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unix-address.h"
#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr uid_t CAROL = 60003;
constexpr uid_t DAVE = 60004;
constexpr char ID[] = "0123456789b";
constexpr char OTHER_ID[] = "0123456789c";

Fd unixSocket() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return Fd(raw);
}

class HostileClientTest : public HostileFrontendTest {
 protected:
  void configure(ServerOptions& options) override {
    options.config["server.unix_domain_permissions"] = "0777";
    options.config["access.rules"] =
        "[{user: 60003, requests: [create, limit_memory, limit_disk], privileged: false, "
        "quotas: {containers: 1, memory: 67108864}}, {user: 60004, profile: narrow}]";
    options.config["profiles.narrow"] = "{capabilities: [sys_chroot]}";
  }

  HelperConnection clientOf(uid_t user) { return HelperConnection::take(*server, user); }

  static HelperConnection::Fill creating(const char* id, uint32_t slot) {
    return [=](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      fillCreate(request.initCreate(), id, slot);
    };
  }

  static HelperConnection::Fill limitingMemory(uint64_t bytes) {
    return [=](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      auto limit = request.initLimitMemory();
      limit.setId(ID);
      limit.setBytes(bytes);
    };
  }

  void expectDone(const HelperConnection::Fill& fill, int client,
                  schema::HelperReply::Which which = schema::HelperReply::DONE) {
    auto reply = helper->callWith(fill, kj::arrayPtr(&client, 1));
    ASSERT_TRUE(answered(reply));
    EXPECT_EQ(reply->which, which) << reply->text;
  }

  void expectRefusedFor(int client, const HelperConnection::Fill& fill) {
    expectRefused(fill, kj::arrayPtr(&client, 1));
  }

  void destroy(const char* id) {
    auto reply = helper->destroy(id);
    ASSERT_TRUE(answered(reply, schema::HelperReply::DONE));
  }
};

TEST_F(HostileClientTest, socketsThatTheFrontendMadeItselfAreNoClients) {
  int pair[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  Fd left(pair[0]), right(pair[1]);
  expectRefusedFor(left, creating(ID, 3));

  // A listener of its own, to which root has connected.
  std::string path = server->directory() + "/forged.sock";
  UnixAddress address(path);
  Fd listener = unixSocket(), root = unixSocket();
  KJ_SYSCALL(bind(listener, address.get(), address.size()));
  KJ_SYSCALL(listen(listener, 1));
  expectRefusedFor(listener, creating(ID, 3));
  KJ_SYSCALL(connect(root, address.get(), address.size()));
  int raw;
  KJ_SYSCALL(raw = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  Fd accepted(raw);
  expectRefusedFor(accepted, creating(ID, 3));
  // The end that connected: its peer is who listens.
  expectRefusedFor(root, creating(ID, 3));
  unlink(path.c_str());

  // The frontend itself, as a client of its server, with the wrong end.
  TestClient own = server->connect();
  expectRefusedFor(own.fd(), creating(ID, 3));

  Fd unconnected = unixSocket();
  expectRefusedFor(unconnected, creating(ID, 3));
  Pipe pipe = makePipe();
  expectRefusedFor(pipe.readEnd, creating(ID, 3));
  KJ_SYSCALL(raw = open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  Fd file(raw);
  expectRefusedFor(file, creating(ID, 3));
}

TEST_F(HostileClientTest, socketsOfClientsThatLeftAreRefused) {
  HelperConnection root = clientOf(0);
  expectDone(creating(ID, 3), root.client(), schema::HelperReply::CREATED);
  root.closeClient();
  expectRefusedFor(root.client(), creating(OTHER_ID, 4));
  expectRefusedFor(root.client(), limitingMemory(64 << 20));
  destroy(ID);
}

TEST_F(HostileClientTest, nothingIsDoneWithoutAClientButWhatOnlyReadsAndDestroys) {
  HelperConnection alice = clientOf(ALICE);
  expectDone(creating(ID, 3), alice.client(), schema::HelperReply::CREATED);
  size_t refused = refusalsLogged();
  for (auto fill : CONTAINER_REQUESTS) {
    auto reply = helper->callWith([&](auto request) { fill(request, ID); }, nullptr);
    ASSERT_TRUE(answered(reply));
    bool reads = reply->which == schema::HelperReply::MEMORY_LIMIT ||
                 reply->which == schema::HelperReply::CPU_SHARES ||
                 reply->which == schema::HelperReply::DISK ||
                 reply->which == schema::HelperReply::FAILED;
    EXPECT_TRUE(reads || reply->which == schema::HelperReply::REFUSED) << reply->text;
  }
  EXPECT_EQ(refusalsLogged(), refused + 4);  // memory, bandwidth, port and egress
  destroy(ID);
}

TEST_F(HostileClientTest, everyRequestForAnothersContainerIsRefused) {
  HelperConnection alice = clientOf(ALICE), bob = clientOf(BOB);
  expectDone(creating(ID, 3), alice.client(), schema::HelperReply::CREATED);
  for (auto fill : CONTAINER_REQUESTS) {
    expectRefusedFor(bob.client(), [&](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      fill(request, ID);
    });
  }
  expectRefusedFor(bob.client(), [](schema::HelperRequest::Builder request) {
    request.setHasClient(true);
    request.initDestroy().setId(ID);
  });
  expectDone(limitingMemory(64 << 20), alice.client(), schema::HelperReply::MEMORY_LIMIT);
  destroy(ID);
}

TEST_F(HostileClientTest, whatTheRulesDoNotGrantIsRefused) {
  HelperConnection carol = clientOf(CAROL);
  expectDone(creating(ID, 3), carol.client(), schema::HelperReply::CREATED);
  expectRefusedFor(carol.client(), creating(OTHER_ID, 4));
  expectRefusedFor(carol.client(), limitingMemory((64 << 20) + 1));
  expectRefusedFor(carol.client(), limitingMemory(UINT64_MAX));
  expectDone(limitingMemory(32 << 20), carol.client(), schema::HelperReply::MEMORY_LIMIT);
  expectRefusedFor(carol.client(), [](schema::HelperRequest::Builder request) {
    request.setHasClient(true);
    request.initAllowOut().setId(ID);
  });
  destroy(ID);
  expectDone(creating(ID, 3), carol.client(), schema::HelperReply::CREATED);
  destroy(ID);
}

// What wshd has itself is in every bounding set; the rest is the profile's.
constexpr uint64_t OF_WSHD = uint64_t(1) << CAP_CHOWN | uint64_t(1) << CAP_KILL |
                             uint64_t(1) << CAP_SETGID | uint64_t(1) << CAP_SETUID |
                             uint64_t(1) << CAP_SETPCAP;

TEST_F(HostileClientTest, theProfileFollowsFromTheClientWhateverTheFrontendSays) {
  HelperConnection root = clientOf(0), dave = clientOf(DAVE);
  auto boundingSet = [&](const char* id) {
    return std::stoull(statusField(server->wshdPid(id), "CapBnd"), nullptr, 16);
  };
  expectDone(creating(ID, 3), dave.client(), schema::HelperReply::CREATED);
  expectDone(creating(OTHER_ID, 4), root.client(), schema::HelperReply::CREATED);
  EXPECT_EQ(boundingSet(ID), OF_WSHD | uint64_t(1) << CAP_SYS_CHROOT);
  EXPECT_NE(boundingSet(OTHER_ID) & uint64_t(1) << CAP_DAC_OVERRIDE, 0u);
  destroy(ID);
  destroy(OTHER_ID);
}

}  // namespace
}  // namespace warden::test
