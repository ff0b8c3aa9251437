#pragma once
// What an unprivileged user of warden.sock gets of the host's files by containers: nothing that it
// has not got anyhow. Everything here belongs to the test; a canary stands for what only root
// reads.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {

namespace fs = std::filesystem;
using BindMount = CreateRequest::BindMount;

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr char CANARY[] = "what only root may read\n";

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class HostFilesTest : public ServerTest {
 protected:
  void SetUp() override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-files";
    makeOwned(host, 0);
    // What is root's; what is root's and nobody may enter; what is Alice's.
    makeOwned(host + "/roots", 0);
    writeOwned(host + "/roots/shadow", CANARY, 0, 0600);
    writeOwned(host + "/roots/open", "for everybody\n", 0, 0644);
    makeOwned(host + "/roots/drop", 0, 01777);
    makeOwned(host + "/closed", 0, 0700);
    writeOwned(host + "/closed/shadow", CANARY, 0, 0644);
    makeOwned(host + "/alice", ALICE, 0700);
    writeOwned(host + "/alice/file", "hers\n", ALICE, 0600);
    before = describeTree(host + "/roots") + describeTree(host + "/closed");
  }

  void TearDown() override {
    ServerTest::TearDown();
    EXPECT_EQ(describeTree(host + "/roots") + describeTree(host + "/closed"), before);
    fs::remove_all(host);
  }

  TestClient connectAs(uid_t user, std::vector<gid_t> groups = {}) {
    return server().connectAs(user, groups);
  }

  // By no user of the container, and by no means that a shell has.
  void expectUnreadable(TestClient& client, const std::string& handle, const std::string& path) {
    for (bool privileged : {false, true}) {
      auto read = client.run(handle,
                             "cat " + path + "; chmod 666 " + path + "; chown 0:0 " + path +
                                 "; cat " + path + "; cp " + path + " /tmp/x; cat /tmp/x",
                             privileged);
      EXPECT_FALSE(contains(read.stdout(), CANARY)) << path << " as root: " << privileged;
    }
  }

  // Nothing appears there, and nothing changes.
  void expectUnwritable(TestClient& client, const std::string& handle,
                        const std::string& directory) {
    for (bool privileged : {false, true}) {
      for (const char* attempt :
           {"touch new", "mkdir new", "ln -s /etc/passwd new", "echo x >> open", "rm -f open",
            "mv open other", "chmod 777 .", "chown 0 .", "echo x > drop/new", "chmod 4777 open"}) {
        auto result = client.run(handle, "cd " + directory + " && " + attempt, privileged);
        EXPECT_NE(result.exit_status(), 0u) << attempt << " as root: " << privileged;
      }
    }
  }

  size_t failuresOnRecord(const std::string& cause) {
    size_t count = 0;
    for (const auto& line : splitLines(server().logs())) {
      if (contains(line, "\"privhelper\"") && contains(line, cause)) ++count;
    }
    return count;
  }

  std::string host;
  std::string before;
};

class SwappingThread {
  // Exchanges two names for as long as it lives, as fast as it can (renameat2(2)).
 public:
  SwappingThread(std::string a, std::string b)
      : thread([this, a = std::move(a), b = std::move(b)]() {
          while (!done) {
            renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
            ++swaps;
          }
        }) {}
  ~SwappingThread() {
    done = true;
    thread.join();
    EXPECT_GT(swaps, 100u);
  }
  KJ_DISALLOW_COPY(SwappingThread);

 private:
  std::atomic<bool> done{false};
  std::atomic<uint64_t> swaps{0};
  std::thread thread;
};

}  // namespace warden::test
