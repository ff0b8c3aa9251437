// Copies between host and container, for root.

#include <gtest/gtest.h>
#include <kj/debug.h>

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

class CopyTest : public ServerTest {
 protected:
  void SetUp() override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-host";
    fs::create_directories(host);
  }

  void TearDown() override {
    ServerTest::TearDown();
    fs::remove_all(host);
  }

  static CopyInRequest into(const std::string& from, const std::string& to) {
    CopyInRequest request;
    request.set_handle("a");
    request.set_src_path(from);
    request.set_dst_path(to);
    return request;
  }

  static CopyOutRequest outOf(const std::string& from, const std::string& to,
                              const std::string& owner = "") {
    CopyOutRequest request;
    request.set_handle("a");
    request.set_src_path(from);
    request.set_dst_path(to);
    if (!owner.empty()) request.set_owner(owner);
    return request;
  }

  TestClient startWithContainer() {
    start();
    auto client = connect();
    client.create("a");
    return client;
  }

  std::string host;
};

TEST_F(CopyTest, aFileGoesInAndComesOutAgain) {
  auto client = startWithContainer();
  writeFile(host + "/file", "hello\n");
  client.call(into(host + "/file", "/tmp/copied"));
  EXPECT_EQ(client.output("a", "cat /tmp/copied; stat -c %U /tmp/copied"), "hello\nvcap\n");
  client.call(into(host + "/file", "beneath/"));
  EXPECT_EQ(client.output("a", "cat ~/beneath/file"), "hello\n");
  client.stop("a");
  client.call(outOf("/tmp/copied", host + "/back"));
  EXPECT_EQ(readFile(host + "/back"), "hello\n");
  EXPECT_EQ(ownerOf(host + "/back").find("0:0 "), 0u);
  EXPECT_NE(client.expectError(into(host + "/file", "/tmp/late")).find("state"), std::string::npos);
}

TEST_F(CopyTest, aStopThatIsAnsweredEndsNoCopyAfterIt) {
  auto client = startWithContainer();
  client.output("a", "head -c 67108864 /dev/zero > /tmp/large");
  client.spawn("a", "exec sleep 100000");
  client.stop("a");
  // Past the times at which it would ask again whoever is left to end.
  auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(2500);
  while (std::chrono::steady_clock::now() < end)
    client.call(outOf("/tmp/large", host + "/back"));
  EXPECT_EQ(fs::file_size(host + "/back"), 64u << 20);
}

// What rsync(1) with -r -p --links makes of it, too (base-tree-rsync-test has the random trees).
TEST_F(CopyTest, aSlashAtTheEndOfTheSourceMeansWhatIsInIt) {
  auto client = startWithContainer();
  fs::create_directories(host + "/tree/deep");
  writeFile(host + "/tree/deep/file", "x");
  fs::create_symlink("deep/file", host + "/tree/link");
  KJ_SYSCALL(chmod((host + "/tree/deep").c_str(), 0750));
  client.output("a", "mkdir /tmp/one /tmp/two");
  client.call(into(host + "/tree", "/tmp/one"));
  client.call(into(host + "/tree/", "/tmp/two"));
  EXPECT_EQ(
      client.output("a", "cd /tmp; find one two | sort; readlink two/link; stat -c %a two/deep"),
      "one\none/tree\none/tree/deep\none/tree/deep/file\none/tree/link\n"
      "two\ntwo/deep\ntwo/deep/file\ntwo/link\ndeep/file\n750\n");
  client.call(outOf("/tmp/two/", host + "/back"));
  EXPECT_EQ(readFile(host + "/back/link"), "x");
  EXPECT_EQ(fs::read_symlink(host + "/back/link"), "deep/file");
}

TEST_F(CopyTest, sparseFilesStaySparse) {
  auto client = startWithContainer();
  writeFile(host + "/sparse", "begin");
  KJ_SYSCALL(truncate((host + "/sparse").c_str(), 1 << 30));
  client.call(into(host + "/sparse", "/tmp/sparse"));
  EXPECT_EQ(client.output("a", "stat -c %s /tmp/sparse; head -c 5 /tmp/sparse"),
            "1073741824\nbegin");
  client.call(outOf("/tmp/sparse", host + "/back"));
  struct stat status;
  KJ_SYSCALL(stat((host + "/back").c_str(), &status));
  EXPECT_EQ(status.st_size, 1 << 30);
  EXPECT_LT(status.st_blocks, 2048);
}

TEST_F(CopyTest, specialFilesAreRefusedByName) {
  auto client = startWithContainer();
  fs::create_directories(host + "/tree");
  KJ_SYSCALL(mkfifo((host + "/tree/fifo").c_str(), 0600));
  auto error = client.expectError(into(host + "/tree", "/tmp/in"));
  EXPECT_NE(error.find("could not copy: on the host: refuse special file"), std::string::npos)
      << error;
  EXPECT_NE(error.find("fifo"), std::string::npos) << error;
  EXPECT_NE(error.find("only directories, regular files and links"), std::string::npos) << error;
  client.output("a", "mkfifo /tmp/fifo");
  error = client.expectError(outOf("/tmp/fifo", host + "/out"));
  EXPECT_NE(error.find("could not copy: in the container:"), std::string::npos) << error;
  EXPECT_FALSE(fs::exists(host + "/out"));
}

TEST_F(CopyTest, whatIsMissingIsNamed) {
  auto client = startWithContainer();
  auto error = client.expectError(into(host + "/missing", "/tmp/in"));
  EXPECT_NE(error.find("on the host"), std::string::npos) << error;
  EXPECT_NE(error.find("No such file"), std::string::npos) << error;
  error = client.expectError(outOf("/tmp/missing", host + "/out"));
  EXPECT_NE(error.find("in the container"), std::string::npos) << error;
  EXPECT_NE(error.find("No such file"), std::string::npos) << error;
  writeFile(host + "/file", "x");
  error = client.expectError(into(host + "/file", "/proc/sys/kernel/x"));
  EXPECT_EQ(error.find("could not copy: in the container: "), 0u) << error;
  client.ping();
}

TEST_F(CopyTest, whatComesOutHasTheOwnerThatIsAskedForAndNoSetIdBits) {
  auto client = startWithContainer();
  client.output("a", "mkdir /tmp/t; echo x > /tmp/t/f; chmod 6755 /tmp/t/f; chmod 3777 /tmp/t");
  client.call(outOf("/tmp/t/", host + "/plain", "daemon:12345"));
  EXPECT_EQ(ownerOf(host + "/plain"), "1:12345 1777");
  EXPECT_EQ(ownerOf(host + "/plain/f"), "1:12345 755");
  auto error = client.expectError(outOf("/tmp/t", host + "/none", "nobody-of-that-name:0"));
  EXPECT_NE(error.find("nobody-of-that-name"), std::string::npos) << error;
  EXPECT_FALSE(fs::exists(host + "/none"));
}

TEST_F(CopyTest, nameOfAnyBytesAreKept) {
  auto client = startWithContainer();
  std::string name = "\xff\xfe \n\x1b[31m'\"$x";
  writeFile(host + "/" + name, "odd\n");
  client.call(into(host + "/" + name, "/tmp/odd/"));
  EXPECT_EQ(client.output("a", "cat /tmp/odd/*; ls /tmp/odd | wc -c"),
            "odd\n" + std::to_string(name.size() + 1) + "\n");
  client.call(outOf("/tmp/odd/" + name, host + "/back"));
  EXPECT_EQ(readFile(host + "/back"), "odd\n");
}

TEST_F(CopyTest, aCopyIsEndedByItsClientAndByTheContainersEnd) {
  auto client = startWithContainer();
  {
    std::ofstream large(host + "/large", std::ios::binary);
    std::string block(1 << 20, 'x');
    for (int i = 0; i < 512; ++i)
      large << block;
  }
  for (int i = 0; i < 3; ++i) {
    auto leaving = connect();
    leaving.send(into(host + "/large", "/tmp/large"));
    EXPECT_TRUE(waitUntil([&] { return countWorkers(server()) > 0; }));
  }
  EXPECT_TRUE(waitUntil([&] { return countWorkers(server()) == 0; }));
  EXPECT_TRUE(
      waitUntil([&] { return client.output("a", "ps | grep -c [w]shd || true") == "1\n"; }));

  auto copying = connect();
  copying.send(into(host + "/large", "/tmp/larger"));
  EXPECT_TRUE(waitUntil([&] { return countWorkers(server()) > 0; }));
  client.destroy("a");
  EXPECT_NE(copying.receiveError().find("first process is lost"), std::string::npos);
  EXPECT_TRUE(waitUntil([&] { return countWorkers(server()) == 0; }));
}

// Of whatever is left until the response without progress.
template <typename Response>
std::vector<CopyProgress> progressOf(TestClient& client) {
  std::vector<CopyProgress> all;
  for (;;) {
    auto response = client.receive<Response>();
    if (!response.has_progress()) return all;
    all.push_back(response.progress());
  }
}

TEST_F(CopyTest, whoAsksHearsHowFarItIs) {
  constexpr uint64_t FILES = 20000;
  auto client = startWithContainer();
  auto other = connect();
  fs::create_directories(host + "/tree");
  for (uint64_t i = 0; i < FILES; ++i)
    writeFile(host + "/tree/" + std::to_string(i), "12345");
  auto in = into(host + "/tree", "/tmp/in");
  in.set_progress(true);
  client.send(in);
  auto seen = client.receive<CopyInResponse>();
  // One that is held up says no more than it has done.
  auto signal = [&](const std::string& name) {
    return other.output("a",
                        "for p in $(ps | grep '[w]shd' | awk '{ print $1 }'); do "
                        "if [ $p != 1 ]; then kill -" +
                            name + " $p && echo done; fi; done");
  };
  EXPECT_EQ(signal("STOP"), "done\n");
  while (client.hasInput(std::chrono::milliseconds(1500)))
    seen = client.receive<CopyInResponse>();
  ASSERT_TRUE(seen.has_progress());
  EXPECT_LT(seen.progress().entries(), FILES);
  EXPECT_EQ(signal("CONT"), "done\n");
  auto rest = progressOf<CopyInResponse>(client);
  ASSERT_FALSE(rest.empty());
  EXPECT_LT(seen.progress().bytes(), rest.back().bytes());
  EXPECT_EQ(rest.back().bytes(), FILES * 5);
  EXPECT_EQ(rest.back().entries(), FILES + 1);

  auto out = outOf("/tmp/in", host + "/out");
  out.set_progress(true);
  client.send(out);
  rest = progressOf<CopyOutResponse>(client);
  ASSERT_FALSE(rest.empty());
  for (size_t i = 1; i < rest.size(); ++i)
    EXPECT_LT(rest[i - 1].entries(), rest[i].entries());
  // With /tmp/in itself.
  EXPECT_EQ(rest.back().entries(), FILES + 2);
  client.ping();
}

TEST_F(CopyTest, theHelpersEndIsToldAlsoWhereTheContainerDoesNotAnswer) {
  auto client = startWithContainer();
  // More than the stream holds.
  writeFile(host + "/file", std::string(4 << 20, 'x'));
  pid_t wshd = server().wshdPid(idOf("a"));
  ASSERT_GT(wshd, 0);
  kill(wshd, SIGSTOP);
  client.send(into(host + "/file", "/tmp/copied"));
  EXPECT_TRUE(waitUntil([&] { return countWorkers(server()) > 0; }));
  auto helpers = server().helperPids();
  kill(server().brokerPid(), SIGKILL);
  EXPECT_EQ(client.receiveError().find("the privileged helper has gone"), 0u);
  server().waitForExit();
  EXPECT_TRUE(waitUntil([&] { return std::none_of(helpers.begin(), helpers.end(), isAlive); }))
      << "one of the helper's processes outlives the broker";
  kill(wshd, SIGCONT);
  server().start();
  EXPECT_EQ(connect().output("a", "echo on"), "on\n");
  warmUp(server());
  destroyAll(server());
  takeNewBaseline();
}

TEST_F(CopyTest, whoDoesNotAskGetsOneResponse) {
  auto client = startWithContainer();
  writeFile(host + "/large", std::string(256 << 20, 'x'));
  client.send(into(host + "/large", "/tmp/large"));
  auto frame = client.receiveFrame();
  EXPECT_EQ(frame.type, Message::CopyIn);
  EXPECT_EQ(frame.payload, "");
  client.ping();
}

TEST_F(CopyTest, aFullContainerSaysSoAndGoesOn) {
  start();
  auto client = connect();
  client.create("a");
  LimitDiskRequest limit;
  limit.set_handle("a");
  limit.set_byte_limit(8 << 20);
  client.call(limit);
  writeFile(host + "/large", std::string(16 << 20, 'x'));
  auto error = client.expectError(into(host + "/large", "/tmp/large"));
  EXPECT_EQ(error.find("could not copy: in the container: "), 0u) << error;
  EXPECT_NE(error.find("raise the container's disk limit"), std::string::npos) << error;
  EXPECT_EQ(client.output("a", "rm -f /tmp/large; echo on"), "on\n");
}

TEST_F(CopyTest, moreCopiesThanAContainerTakesAreRefusedClearly) {
  auto client = startWithContainer();
  {
    std::ofstream large(host + "/large", std::ios::binary);
    std::string block(1 << 20, 'x');
    for (int i = 0; i < 128; ++i)
      large << block;
  }
  std::vector<TestClient> clients;
  for (int i = 0; i < 12; ++i) {
    clients.push_back(connect());
    clients.back().send(into(host + "/large", "/tmp/large" + std::to_string(i)));
  }
  int refused = 0;
  for (auto& each : clients) {
    try {
      each.receive<CopyInResponse>();
    } catch (const ServerError& e) {
      EXPECT_NE(std::string(e.what()).find("wait until another copy has ended"), std::string::npos)
          << e.what();
      ++refused;
    }
  }
  EXPECT_LT(refused, 12);
  client.call(into(host + "/large", "/tmp/large"));
}

}  // namespace
}  // namespace warden::test
