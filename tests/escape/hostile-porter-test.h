#pragma once
// A server whose frontend is the test, with files of the host that belong to several users.

#include <sys/socket.h>

#include <filesystem>

#include "tests/escape/hostile-test.h"
#include "tests/support/host-files.h"

namespace warden::test {

namespace fs = std::filesystem;
using schema::HelperReply;

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr uid_t CAROL = 60003;
constexpr char ID[] = "0123456789b";
constexpr char CANARY[] = "what only root may read\n";

inline kj::ArrayPtr<const kj::byte> bytes(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

struct Stream {
  Fd ours;
  Fd theirs;
};

inline Stream makeStream(int type = SOCK_STREAM) {
  int fds[2];
  KJ_SYSCALL(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
  return {Fd(fds[0]), Fd(fds[1])};
}

class HostilePorterTest : public HostileFrontendTest {
 protected:
  void configure(ServerOptions& options) override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-porter";
    makeOwned(host, 0);
    makeOwned(host + "/granted", 0);
    makeOwned(host + "/alice", ALICE, 0700);
    writeOwned(host + "/shadow", CANARY, 0, 0600);
    options.config["access.rules"] =
        "[{user: 60003, copies: [{path: " + host + "/granted, mode: in}], images: [" + host +
        "/granted], bind_mounts: [{path: " + host + "/granted, mode: ro}]}]";
  }

  void TearDown() override {
    HostileFrontendTest::TearDown();
    fs::remove_all(host);
  }

  HelperConnection clientOf(uid_t user) { return HelperConnection::take(*server, user); }

  static HelperConnection::Fill copyingIn(const char* id, const std::string& path) {
    return [=](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      auto copy = request.initCopyIn();
      copy.setId(id);
      copy.setPath(bytes(path));
    };
  }

  static HelperConnection::Fill copyingOut(const char* id, const std::string& path,
                                           const char* owner = "") {
    return [=](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      auto copy = request.initCopyOut();
      copy.setId(id);
      copy.setPath(bytes(path));
      copy.setOwner(owner);
    };
  }

  static HelperConnection::Fill openingImage(const std::string& path) {
    return [=](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      request.initOpenImage().setPath(bytes(path));
    };
  }

  static HelperConnection::Fill creating(
      const std::function<void(schema::CreateContainer::Builder)>& change, uint32_t slot = 3) {
    return [=](schema::HelperRequest::Builder request) {
      request.setHasClient(true);
      fillCreate(request.initCreate(), ID, slot);
      change(request.getCreate());
    };
  }

  static HelperConnection::Fill binding(const std::string& source, const std::string& target,
                                        bool writable = false, int count = 1) {
    return creating([=](schema::CreateContainer::Builder create) {
      auto binds = create.initBindMounts(count);
      for (auto bind : binds) {
        bind.setSource(bytes(source));
        bind.setTarget(bytes(target));
        bind.setWritable(writable);
      }
    });
  }

  void expectRefusedWith(const HelperConnection::Fill& fill, std::initializer_list<int> fds) {
    expectRefused(fill, kj::arrayPtr(fds.begin(), fds.size()));
  }

  Reply call(const HelperConnection::Fill& fill, std::initializer_list<int> fds) {
    auto reply = helper->callWith(fill, kj::arrayPtr(fds.begin(), fds.size()));
    KJ_REQUIRE(reply.has_value(), "no reply", server->logs().c_str());
    return kj::mv(*reply);
  }

  std::string host;
};

}  // namespace warden::test
