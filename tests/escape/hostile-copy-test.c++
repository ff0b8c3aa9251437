// Copies by the worker that the helper makes, with the other end of the stream in the hands of the
// frontend: what is copied, as whom, and what a hostile stream gets.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/tree-archive.h"
#include "tests/escape/hostile-test.h"
#include "tests/support/archive-writer.h"
#include "tests/support/host-files.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using schema::HelperReply;

constexpr uid_t ALICE = 60001;
constexpr char ID[] = "0123456789b";

SocketPair streamPair() {
  int pair[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  return {Fd(pair[0]), Fd(pair[1])};
}

class HostileCopyTest : public HostileFrontendTest {
 protected:
  void configure(ServerOptions&) override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-copy";
    makeOwned(host, 0);
    makeOwned(host + "/alice", ALICE);
    makeOwned(host + "/mine", 0);
    writeOwned(host + "/alice/file", "alice's", ALICE, 0640);
    writeOwned(host + "/alice/secret", "root's", 0, 0600);
    makeOwned(host + "/mine/tree", 0);
    writeOwned(host + "/mine/tree/program", "x", 0, 04755);
    fs::create_symlink("/etc/shadow", host + "/mine/tree/link");
  }
  void TearDown() override {
    HostileFrontendTest::TearDown();
    fs::remove_all(host);
  }

  void createFor(HelperConnection& client) {
    int fd = client.client();
    auto reply = helper->callWith(
        [](schema::HelperRequest::Builder request) {
          request.setHasClient(true);
          fillCreate(request.initCreate(), ID, 3);
        },
        kj::arrayPtr(&fd, 1));
    ASSERT_TRUE(answered(reply, HelperReply::CREATED));
  }

  // What the helper answers, while `other` has the other end of the stream.
  template <typename Other>
  Reply copy(HelperConnection& client, bool in, const std::string& path, Other&& other,
             const char* owner = "") {
    SocketPair pair = streamPair();
    std::thread thread([&] {
      other(pair.left);
      pair.left = nullptr;
    });
    KJ_DEFER(thread.join());
    return copyBy(kj::mv(pair.right), client, in, path, owner);
  }

  // Likewise, where nobody has the other end from the start: who closes it while the worker writes
  // may come too late, for the stream holds a small tree.
  Reply copyByClosedStream(HelperConnection& client, bool in, const std::string& path) {
    Fd stream = streamPair().right;
    return copyBy(kj::mv(stream), client, in, path, "");
  }

  Reply copyBy(Fd stream, HelperConnection& client, bool in, const std::string& path,
               const char* owner) {
    int fds[] = {client.client(), stream};
    auto bytes = kj::arrayPtr(reinterpret_cast<const kj::byte*>(path.data()), path.size());
    auto reply = helper->callWith(
        [&](schema::HelperRequest::Builder request) {
          request.setHasClient(true);
          auto copy = in ? request.initCopyIn() : request.initCopyOut();
          copy.setId(ID);
          copy.setPath(bytes);
          copy.setOwner(owner);
        },
        kj::arrayPtr(fds, 2));
    KJ_REQUIRE(reply.has_value(), "no reply", server->logs().c_str());
    return kj::mv(*reply);
  }

  CopyPlace place(const std::string& name) {
    Fd directory(open(host.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return {kj::mv(directory), name, ""};
  }

  std::string host;
};

TEST_F(HostileCopyTest, treesOfRootGoInAndOutAgain) {
  HelperConnection root = HelperConnection::take(*server, 0);
  createFor(root);
  auto received = place("received");
  auto reply = copy(root, true, host + "/mine/tree",
                    [&](int stream) { EXPECT_TRUE(unpackTree(received, stream) == nullptr); });
  EXPECT_EQ(reply.which, HelperReply::DONE) << reply.text;
  EXPECT_EQ(readFile(host + "/received/tree/program"), "x");
  EXPECT_EQ(fs::read_symlink(host + "/received/tree/link"), "/etc/shadow");
  auto sent = place("received");
  reply = copy(
      root, false, host + "/out",
      [&](int stream) { EXPECT_TRUE(packTree(sent, stream) == nullptr); }, "1234:2345");
  EXPECT_EQ(reply.which, HelperReply::DONE) << reply.text;
  struct stat status;
  KJ_SYSCALL(stat((host + "/out/received/tree/program").c_str(), &status));
  // What a container made must not run as root whoever starts it.
  EXPECT_EQ(status.st_mode, S_IFREG | 0755u);
  EXPECT_EQ(status.st_uid, 1234u);
  EXPECT_EQ(status.st_gid, 2345u);
  helper->destroy(ID);
}

TEST_F(HostileCopyTest, aUserReadsAndWritesWhatItCouldWithoutTheServer) {
  HelperConnection alice = HelperConnection::take(*server, ALICE);
  createFor(alice);
  auto received = place("received");
  auto take = [&](int stream) { unpackTree(received, stream); };
  auto reply = copy(alice, true, host + "/alice/file", take);
  EXPECT_EQ(reply.which, HelperReply::DONE) << reply.text;
  EXPECT_EQ(readFile(host + "/received"), "alice's");
  fs::remove_all(host + "/received");
  for (const char* path : {"/alice/secret", "/alice/", "/alice"}) {
    reply = copy(alice, true, host + path, take);
    EXPECT_EQ(reply.which, HelperReply::FAILED) << path;
    EXPECT_NE(reply.text.find("secret"), std::string::npos) << reply.text;
    EXPECT_FALSE(fs::exists(host + "/received/secret"));
    fs::remove_all(host + "/received");
  }
  auto sent = place("mine");
  auto give = [&](int stream) { packTree(sent, stream); };
  reply = copy(alice, false, host + "/mine/tree", give);
  EXPECT_EQ(reply.which, HelperReply::FAILED);
  EXPECT_NE(reply.text.find("Permission denied"), std::string::npos) << reply.text;
  EXPECT_FALSE(fs::exists(host + "/mine/tree/mine"));
  reply = copy(alice, false, host + "/alice", give);
  EXPECT_EQ(reply.which, HelperReply::DONE) << reply.text;
  struct stat status;
  KJ_SYSCALL(stat((host + "/alice/mine/tree/program").c_str(), &status));
  EXPECT_EQ(status.st_uid, ALICE);
  helper->destroy(ID);
}

TEST_F(HostileCopyTest, aStreamThatIsNoneOrHasNoEndFails) {
  HelperConnection root = HelperConnection::take(*server, 0);
  createFor(root);
  auto reply = copyByClosedStream(root, false, host + "/out");
  EXPECT_EQ(reply.which, HelperReply::FAILED);
  EXPECT_NE(reply.text.find("read stream"), std::string::npos) << reply.text;
  reply = copy(root, false, host + "/out", [](int stream) {
    std::string noise(1 << 20, 'x');
    send(stream, noise.data(), noise.size(), MSG_NOSIGNAL);
  });
  EXPECT_EQ(reply.which, HelperReply::FAILED);
  EXPECT_FALSE(fs::exists(host + "/out"));
  reply = copyByClosedStream(root, true, host + "/mine/tree");
  EXPECT_EQ(reply.which, HelperReply::FAILED);
  EXPECT_NE(reply.text.find("write stream"), std::string::npos) << reply.text;
  helper->destroy(ID);
}

TEST_F(HostileCopyTest, aStreamMakesNothingButFilesDirectoriesAndLinksBeneathItsTarget) {
  makeOwned(host + "/target", 0);
  writeOwned(host + "/canary", "untouched", 0);
  HelperConnection root = HelperConnection::take(*server, 0);
  createFor(root);
  using Change = std::function<void(ArchiveWriter&)>;
  const std::pair<const char*, Change> attempts[] = {
      {"fifo", [](auto& to) { to.add("./x", S_IFIFO); }},
      {"device", [](auto& to) { to.add("./x", S_IFCHR); }},
      {"disk", [](auto& to) { to.add("./x", S_IFBLK); }},
      {"hard link",
       [](auto& to) {
         to.add("./x", S_IFREG, "",
                [](auto* entry) { archive_entry_copy_hardlink(entry, "../canary"); });
       }},
      {"upwards", [](auto& to) { to.add("./../canary", S_IFREG, "hostile"); }},
      {"absolute", [&](auto& to) { to.add((host + "/canary").c_str(), S_IFREG, "hostile"); }},
      {"by a link",
       [](auto& to) { to.add("./x", S_IFLNK, "..").add("./x/canary", S_IFREG, "hostile"); }}};
  for (auto& [name, change] : attempts) {
    ArchiveWriter writer;
    writer.add(".", S_IFDIR);
    change(writer);
    std::string bytes = writer.finish();
    auto reply = copy(root, false, host + "/target",
                      [&](int stream) { send(stream, bytes.data(), bytes.size(), MSG_NOSIGNAL); });
    EXPECT_EQ(reply.which, HelperReply::FAILED) << name;
    EXPECT_NE(reply.text.find("unpack"), std::string::npos) << name << ": " << reply.text;
    EXPECT_EQ(readFile(host + "/canary"), "untouched") << name;
    for (auto& entry : fs::directory_iterator(host + "/target"))
      EXPECT_TRUE(entry.is_symlink()) << name;
  }
  helper->destroy(ID);
}

}  // namespace
}  // namespace warden::test
