// What a frontend that was taken over asks for of the host's files: by clients that are none, by
// paths that are none, by images that are not the client's. Each is refused, and on record.

#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>

#include "tests/escape/hostile-test.h"
#include "tests/support/host-files.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using schema::HelperReply;

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr uid_t CAROL = 60003;
constexpr char ID[] = "0123456789b";
constexpr char CANARY[] = "what only root may read\n";

kj::ArrayPtr<const kj::byte> bytes(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

struct Stream {
  Fd ours;
  Fd theirs;
};

Stream makeStream(int type = SOCK_STREAM) {
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

TEST_F(HostilePorterTest, copiesTakeTheClientsOwnSocketAndAStream) {
  HelperConnection alice = clientOf(ALICE);
  ASSERT_EQ(call(creating([](auto) {}), {alice.client()}).which, HelperReply::CREATED);
  Stream stream = makeStream();
  std::string path = host + "/alice";
  expectRefusedWith(copyingIn(ID, path), {});
  expectRefusedWith(copyingIn(ID, path), {alice.client()});
  expectRefusedWith(copyingIn(ID, path), {stream.theirs});
  expectRefusedWith(copyingIn(ID, path), {stream.theirs, alice.client()});
  expectRefusedWith(copyingIn(ID, path), {stream.theirs, stream.ours});
  expectRefusedWith(copyingIn(ID, path), {alice.client(), stream.theirs, stream.ours});
  expectRefusedWith(
      [&](auto request) {
        copyingIn(ID, path)(request);
        request.setHasClient(false);
      },
      {stream.theirs});
  Pipe pipe = makePipe();
  Stream packets = makeStream(SOCK_SEQPACKET);
  int raw;
  KJ_SYSCALL(raw = open("/dev/null", O_RDWR | O_CLOEXEC));
  Fd null(raw);
  for (int wrong : {pipe.writeEnd.get(), packets.theirs.get(), null.get()})
    expectRefusedWith(copyingIn(ID, path), {alice.client(), wrong});
  // A client that has gone asks for nothing.
  alice.closeClient();
  expectRefusedWith(copyingIn(ID, path), {alice.client(), stream.theirs});
  expectRefusedWith(openingImage(path), {alice.client()});
  expectRefusedWith(binding(path, "/data"), {alice.client()});
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, copiesAreForTheClientsOwnContainer) {
  HelperConnection alice = clientOf(ALICE), bob = clientOf(BOB);
  ASSERT_EQ(call(creating([](auto) {}), {alice.client()}).which, HelperReply::CREATED);
  Stream stream = makeStream();
  expectRefusedWith(copyingIn(ID, host), {bob.client(), stream.theirs});
  expectRefusedWith(copyingOut(ID, host), {bob.client(), stream.theirs});
  expectRefusedWith(copyingIn("vvvvvvvvvvv", host), {alice.client(), stream.theirs});
  expectRefusedWith(copyingIn("../../../..", host), {alice.client(), stream.theirs});
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, pathsThatAreNoneAreRefusedEverywhere) {
  HelperConnection alice = clientOf(ALICE);
  ASSERT_EQ(call(creating([](auto) {}), {alice.client()}).which, HelperReply::CREATED);
  for (auto& path :
       {std::string(), std::string("relative"), std::string("../up"), std::string("/with\0nul", 9),
        std::string("/", 1) + std::string(4095, 'x'), std::string("/\0", 2)}) {
    Stream stream = makeStream();
    expectRefusedWith(copyingIn(ID, path), {alice.client(), stream.theirs});
    expectRefusedWith(copyingOut(ID, path), {alice.client(), stream.theirs});
    expectRefusedWith(openingImage(path), {alice.client()});
    expectRefusedWith(binding(path, "/data"), {alice.client()});
    expectRefusedWith(binding(host, path), {alice.client()});
  }
  Stream stream = makeStream();
  expectRefusedWith(copyingOut(ID, host, std::string(600, 'x').c_str()),
                    {alice.client(), stream.theirs});
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, bindMountsOverTheContainersSystemAndTooManyAreRefused) {
  HelperConnection alice = clientOf(ALICE);
  for (auto target : {"/", "/.", "/proc", "/proc/", "/./sys/x", "//dev/null"})
    expectRefusedWith(binding(host, target), {alice.client()});
  expectRefusedWith(binding(host, "/data", false, 65), {alice.client()});
  expectRefusedWith(binding(host, "/data", false, 1000), {alice.client()});
  EXPECT_TRUE(server->depotEntries().empty());
}

TEST_F(HostilePorterTest, whatTheRulesDoNotGrantIsRefused) {
  HelperConnection carol = clientOf(CAROL);
  ASSERT_EQ(call(creating([](auto) {}), {carol.client()}).which, HelperReply::CREATED);
  for (auto& path : {host, host + "/grante", host + "/granted2", std::string("/"),
                     host + "/../granted", host + "/x/../granted"}) {
    Stream stream = makeStream();
    expectRefusedWith(copyingIn(ID, path), {carol.client(), stream.theirs});
    expectRefusedWith(openingImage(path), {carol.client()});
  }
  Stream stream = makeStream();
  expectRefusedWith(copyingOut(ID, host + "/granted"), {carol.client(), stream.theirs});
  helper->destroy(ID);
  expectRefusedWith(binding(host + "/granted", "/data", true), {carol.client()});
  expectRefusedWith(binding(host, "/data"), {carol.client()});
  ASSERT_EQ(call(binding(host + "/granted", "/data"), {carol.client()}).which,
            HelperReply::CREATED);
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, filesThatOnlyRootReadsFailForAUserByWhateverRequest) {
  HelperConnection alice = clientOf(ALICE);
  makeOwned(host + "/closed", 0, 0700);
  makeOwned(host + "/closed/etc", 0);
  writeOwned(host + "/closed/etc/passwd", CANARY, 0);
  auto image = call(openingImage(host + "/closed/etc"), {alice.client()});
  EXPECT_EQ(image.which, HelperReply::FAILED) << image.text;
  EXPECT_TRUE(image.fds.empty());
  // The directory can be named; its files cannot be reached.
  image = call(openingImage(host + "/closed"), {alice.client()});
  EXPECT_EQ(image.which, HelperReply::IMAGE) << image.text;
  EXPECT_TRUE(image.fds.empty());
  auto bind = call(binding(host + "/closed/etc", "/data"), {alice.client()});
  EXPECT_EQ(bind.which, HelperReply::FAILED) << bind.text;
  EXPECT_TRUE(server->depotEntries().empty());
}

TEST_F(HostilePorterTest, copiesAreOpenedWithTheRightsOfTheClientsUser) {
  HelperConnection alice = clientOf(ALICE);
  ASSERT_EQ(call(creating([](auto) {}), {alice.client()}).which, HelperReply::CREATED);
  makeOwned(host + "/closed", 0, 0700);
  makeOwned(host + "/closed/in", 0, 0777);
  auto failure = [&](const HelperConnection::Fill& fill) {
    Stream stream = makeStream();
    auto reply = call(fill, {alice.client(), stream.theirs});
    EXPECT_EQ(reply.which, HelperReply::FAILED) << reply.text;
    // The other end is told: nobody holds the stream any more.
    stream.theirs = nullptr;
    char byte;
    EXPECT_TRUE(waitUntil([&]() { return recv(stream.ours, &byte, 1, MSG_DONTWAIT) == 0; }));
    return reply.text;
  };
  auto expectDenied = [&](const HelperConnection::Fill& fill) {
    auto text = failure(fill);
    EXPECT_NE(text.find("Permission denied"), std::string::npos) << text;
  };
  for (const char* path :
       {"/closed/in/file", "/closed/in/", "/closed/in", "/closed/../closed/in/"}) {
    expectDenied(copyingIn(ID, host + path));
    expectDenied(copyingOut(ID, host + path));
  }
  for (const char* owner : {"0:0", "root:root", "60002:60002", "60001:0", "60001:60002"}) {
    auto text = failure(copyingOut(ID, host + "/alice", owner));
    EXPECT_NE(text.find("only root gives files to other users"), std::string::npos) << text;
  }
  for (const char* owner : {"alice", "nobody-there:0", ":", "60001:60001:60001"}) {
    auto text = failure(copyingOut(ID, host + "/alice", owner));
    EXPECT_NE(text.find("find the owner of the copy"), std::string::npos) << text;
  }
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, theFrontendIsNoClientOfItsOwn) {
  const passwd* user = getpwnam("warden");
  ASSERT_NE(user, nullptr);
  HelperConnection frontend = clientOf(user->pw_uid);
  ASSERT_EQ(call(creating([](auto) {}), {frontend.client()}).which, HelperReply::CREATED);
  Stream stream = makeStream();
  expectRefusedWith(copyingIn(ID, "/etc/hostname"), {frontend.client(), stream.theirs});
  expectRefusedWith(copyingOut(ID, "/tmp"), {frontend.client(), stream.theirs});
  expectRefusedWith(openingImage(server->imagePath()), {frontend.client()});
  helper->destroy(ID);
  expectRefusedWith(binding("/usr", "/data"), {frontend.client()});
}

TEST_F(HostilePorterTest, filesOfAnImageAreItsRegularFilesAndNoOthers) {
  HelperConnection root = clientOf(0);
  for (const char* kind : {"fifo", "link", "device", "directory"}) {
    std::string image = host + "/" + kind;
    makeOwned(image + "/etc", 0);
    std::string passwd = image + "/etc/passwd";
    switch (kind[1]) {
      case 'i':
        if (kind[0] == 'f') {
          KJ_SYSCALL(mkfifo(passwd.c_str(), 0666));
        }
        // Out of the image by a link: within it, there is no such file.
        if (kind[0] == 'l') fs::create_symlink(host + "/shadow", passwd);
        if (kind[0] == 'd') fs::create_directory(passwd);
        break;
      case 'e':
        KJ_SYSCALL(mknod(passwd.c_str(), S_IFCHR | 0666, makedev(1, 5)));
        break;
    }
    auto reply = call(openingImage(image), {root.client()});
    EXPECT_EQ(reply.which, HelperReply::IMAGE) << kind << reply.text;
    EXPECT_TRUE(reply.fds.empty()) << kind;
  }
}

TEST_F(HostilePorterTest, anImageIsForOneCreateOfItsClient) {
  copyTree(busyboxImage(), host + "/image");
  HelperConnection alice = clientOf(ALICE), bob = clientOf(BOB), root = clientOf(0);
  auto using_ = [](uint32_t image) {
    return creating([image](auto create) { create.setImage(image); });
  };
  auto opened = call(openingImage(host + "/image"), {alice.client()});
  ASSERT_EQ(opened.which, HelperReply::IMAGE) << opened.text;
  EXPECT_NE(opened.image, 0u);
  EXPECT_EQ(opened.fds.size(), 2u);
  constexpr int SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
  for (auto& fd : opened.fds) {
    EXPECT_EQ(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
    EXPECT_EQ(write(fd, "x", 1), -1);
  }
  expectRefusedWith(using_(opened.image), {bob.client()});
  expectRefusedWith(using_(opened.image), {root.client()});
  for (uint32_t image : {opened.image + 1, opened.image - 1, 0xffffffffu}) {
    if (image != 0) expectRefusedWith(using_(image), {alice.client()});
  }
  ASSERT_EQ(call(using_(opened.image), {alice.client()}).which, HelperReply::CREATED);
  helper->destroy(ID);
  expectRefusedWith(using_(opened.image), {alice.client()});
}

TEST_F(HostilePorterTest, imagesThatAreNotUsedAreBounded) {
  makeOwned(host + "/image", 0);
  HelperConnection alice = clientOf(ALICE);
  auto count = [&]() { return openDescriptors(server->brokerPid()).size(); };
  size_t before = count();
  std::vector<uint32_t> images;
  for (int i = 0; i < 50; ++i)
    images.push_back(call(openingImage(host + "/image"), {alice.client()}).image);
  EXPECT_LE(count(), before + 16);
  expectRefusedWith(creating([&](auto create) { create.setImage(images.front()); }),
                    {alice.client()});
  // They go with the frontend.
  replaceFrontend();
  EXPECT_LE(count(), before);
}

TEST_F(HostilePorterTest, aCreateThatWaitsForItsSourcesHoldsWhatItWillHave) {
  HelperConnection alice = clientOf(ALICE);
  makeOwned(host + "/source", 0);
  auto second = creating([](auto create) { create.setId("0123456789c"); });
  // Sent without waiting for the answer of the first.
  int client = alice.client();
  auto first = encode([&](auto request) {
    request.setSequence(1000);
    binding(host + "/source", "/data", false, 64)(request);
  });
  ASSERT_TRUE(helper->sendBytes(first, kj::arrayPtr(&client, 1)));
  expectRefusedWith(second, {alice.client()});
  auto reply = helper->receive(std::chrono::seconds(10));
  if (!reply) reply = helper->receive(std::chrono::seconds(10));
  helper->drain();
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, aFrontendThatEndsLeavesNoWorkerAndNoReservation) {
  HelperConnection alice = clientOf(ALICE);
  makeOwned(host + "/source", 0);
  int client = alice.client();
  for (int i = 0; i < 8; ++i) {
    auto bytes = encode([&](auto request) {
      request.setSequence(1000 + i);
      binding(host + "/source", "/data", false, 64)(request);
      request.getCreate().setId(("0123456789" + std::string(1, char('c' + i))).c_str());
      request.getCreate().setSlot(3 + i);
      request.getCreate().setNetwork(3 + i);
    });
    ASSERT_TRUE(helper->sendBytes(bytes, kj::arrayPtr(&client, 1)));
  }
  replaceFrontend();
  EXPECT_TRUE(waitUntil([&]() { return countWorkers(*server) == 0; }));
  HelperConnection again = clientOf(ALICE);
  EXPECT_EQ(call(creating([](auto) {}), {again.client()}).which, HelperReply::CREATED);
  helper->destroy(ID);
}

}  // namespace
}  // namespace warden::test
