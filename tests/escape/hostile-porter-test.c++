// What a frontend that was taken over asks for of the host's files: by clients that are none, by
// paths that are none, by images that are not the client's. Each is refused, and on record.

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/escape/hostile-porter-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

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

}  // namespace
}  // namespace warden::test
