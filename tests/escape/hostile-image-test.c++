// Images whose files stand where the server makes its own, and lead elsewhere. The server refuses
// the container with a clear error, or makes one that is as any other; the host is as before.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <iostream>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

constexpr char CANARY[] = "canary of the host\n";
// A create that waits for a fifo's other end is told from a slow one.
constexpr auto HANGING = std::chrono::seconds(10);

// A copy of the busybox image, in which one thing is changed at a time, and a place of the host
// that such a change leads to.
class HostileImageTest : public ServerTest {
 protected:
  void SetUp() override {
    std::string pattern =
        testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-hostile-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory = pattern;
    fs::permissions(directory, fs::perms(0755));
    copyTree(busyboxImage(), image());
    fs::create_directories(canary() + "/sub");
    for (const char* name : {"file", "null", "passwd", "group", "hosts", "resolv.conf", "hostname"})
      writeFile(canary() + "/" + name, CANARY, 0666);
    // A container's root would be refused by modes; only confinement shall be in the way.
    for (const char* place : {"", "/sub"})
      fs::permissions(canary() + place, fs::perms(0777));
    ServerOptions options;
    options.image = image();
    start(options);
  }

  void TearDown() override {
    ServerTest::TearDown();
    fs::remove_all(directory);
  }

  std::string image() const { return directory + "/image"; }
  std::string canary() const { return directory + "/canary"; }

  void replace(const std::string& path, const std::function<void(const std::string&)>& make) {
    std::string place = image() + path;
    std::string aside = directory + "/aside";
    bool existed = fs::symlink_status(place).type() != fs::file_type::not_found;
    if (existed) fs::rename(place, aside);
    make(place);
    auto hostBefore = describeTree(canary());
    auto imageBefore = describeTree(image());
    expectSafeContainerOrClearRefusal(path);
    EXPECT_EQ(describeTree(canary()), hostBefore) << path;
    EXPECT_EQ(describeTree(image()), imageBefore) << path;
    fs::remove_all(place);
    if (existed) fs::rename(aside, place);
  }

  void expectSafeContainerOrClearRefusal(const std::string& what) {
    TestClient client = connect();
    client.setTimeout(HANGING);
    std::string handle;
    try {
      handle = client.create();
    } catch (const ServerError& e) {
      // What the server makes itself hides what the image has there, whatever it is.
      for (const char* own : {"/dev", "/proc", "/sys"})
        EXPECT_NE(what.find(own), 0u) << what << ": " << e.what();
      expectClear(what, e);
      connect().ping();
      return;
    }
    expectSafe(client, handle, what);
    client.destroy(handle);
  }

  static void expectClear(const std::string& what, const ServerError& e) {
    std::string message = e.what();
    EXPECT_EQ(message.find("internal error"), std::string::npos) << what << ": " << message;
    EXPECT_GT(message.size(), 10u) << what;
    std::cout << "[   note   ] " << what << " is refused: " << message << "\n";
  }

  void expectSafe(TestClient& client, const std::string& handle, const std::string& what) {
    // Where jobs cannot be started at all, nothing has come out.
    try {
      EXPECT_EQ(client.output(handle, "[ -c /dev/null ] && [ ! -L /dev/null ] && echo device"),
                "device\n")
          << what;
      EXPECT_EQ(client.output(handle, "stat -f -c %T /proc; sed -n 's/^Pid:.//p' /proc/1/status"),
                "proc\n1\n")
          << what;
      EXPECT_EQ(client.output(handle, "stat -f -c %T /dev/pts"), "devpts\n") << what;
      EXPECT_EQ(client.output(handle,
                              "[ -d /etc ] && [ ! -L /etc ] && [ -f /etc/passwd ] && "
                              "[ ! -L /etc/passwd ] && [ ! -L /etc/resolv.conf ] && "
                              "echo real"),
                "real\n")
          << what;
      expectVcap(client, handle, what);
      for (bool privileged : {false, true})
        client.run(handle, attack(), privileged);
    } catch (const ServerError& e) {
      // What the server makes itself hides what the image has there, whatever it is.
      for (const char* own : {"/dev", "/proc", "/sys"})
        EXPECT_NE(what.find(own), 0u) << what << ": " << e.what();
      expectClear(what, e);
    }
  }

  void expectVcap(TestClient& client, const std::string& handle, const std::string& what) {
    uint32_t uid = std::stoul(client.output(handle, "id -u"));
    EXPECT_GE(uid, server().poolStartUid()) << what;
    EXPECT_LT(uid, server().poolStartUid() + server().slots()) << what;
    std::string id = std::to_string(uid);
    EXPECT_EQ(client.output(handle, "id -g; id -G; grep -c ^vcap: /etc/passwd"),
              id + "\n" + id + "\n1\n")
        << what;
    EXPECT_EQ(client.output(handle,
                            "sed -n 's/^vcap:[^:]*:\\([^:]*\\):\\([^:]*\\):.*/\\1 \\2/p' "
                            "/etc/passwd"),
              id + " " + id + "\n")
        << what;
    // Nothing that is root's has become vcap's.
    EXPECT_NE(
        client.run(handle, "touch /bin/new || touch /etc/new || echo >> /etc/passwd").exit_status(),
        0u)
        << what;
  }

  // Writes to every place that could lead out, and makes and removes files there.
  static std::string attack() {
    return "for f in /dev/null /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/resolv.conf; "
           "do "
           "[ -p $f ] || { echo attacked >> $f; echo attacked > $f; }; chmod 777 $f; done; "
           "for d in /dev /dev/pts /dev/shm /proc /etc /sys; do "
           "echo attacked > $d/attacked; mkdir $d/new; rm -f $d/file; chmod 700 $d; done; "
           "true";
  }

 private:
  std::string directory;
};

constexpr const char* PLACES[] = {"/dev",       "/dev/null",  "/dev/pts",      "/dev/shm",
                                  "/proc",      "/sys",       "/etc",          "/etc/passwd",
                                  "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};

// Absolute, by `..`, and by the links of /proc that are no paths.
std::vector<std::string> waysTo(const std::string& target) {
  return {target, "../../../../../../../.." + target, "/proc/1/root" + target,
          "/proc/self/cwd/../../../../.." + target};
}

TEST_F(HostileImageTest, withLinksToTheHostsDirectoryIsSafe) {
  for (const char* place : PLACES) {
    for (const auto& target : waysTo(canary())) {
      replace(place, [&](const std::string& path) { fs::create_symlink(target, path); });
    }
  }
}

TEST_F(HostileImageTest, withLinksToTheHostsFileIsSafe) {
  for (const char* place : PLACES) {
    for (const auto& target : {canary() + "/file", "/proc/1/root" + canary() + "/file",
                               canary() + "/not-there", std::string(place)}) {
      replace(place, [&](const std::string& path) { fs::create_symlink(target, path); });
    }
  }
}

TEST_F(HostileImageTest, withFifosDoesNotHang) {
  for (const char* place : PLACES) {
    replace(place, [](const std::string& path) { KJ_SYSCALL(mkfifo(path.c_str(), 0666)); });
  }
}

TEST_F(HostileImageTest, withFilesAndDevicesForDirectoriesIsSafe) {
  for (const char* place : PLACES) {
    replace(place, [](const std::string& path) { writeFile(path, "a file\n", 0666); });
    replace(place, [](const std::string& path) {
      KJ_SYSCALL(mknod(path.c_str(), S_IFCHR | 0666, makedev(1, 1)));
    });
  }
}

TEST_F(HostileImageTest, withAVcapOfAnyIdMakesItNobodyElse) {
  const char* const ENTRIES[] = {
      "vcap:x:0:0::/root:/bin/sh",
      "vcap:x:::/home/vcap:/bin/sh",
      "vcap:x:-1:-1::/home/vcap:/bin/sh",
      "vcap:x:4294967295:4294967295::/home/vcap:/bin/sh",
      "vcap:x:4294967296:4294967296::/home/vcap:/bin/sh",
      "vcap:x:18446744073709551616:1::/home/vcap:/bin/sh",
      "vcap:x:1:0::/home/vcap:/bin/sh",
      "vcap:x:0x10: 7::/home/vcap:/bin/sh",
      "vcap:x:65536:65536::/home/vcap:/bin/sh",
      "vcap",
      "vcap:x:1000:1000::/home/vcap:/bin/sh\nvcap:x:0:0::/root:/bin/sh",
      "vcap:x:0:0::/root:/bin/sh\nvcap:x:1000:1000::/home/vcap:/bin/sh",
      "vcap:x:1000:1000::/../../../..:/bin/sh",
  };
  for (const char* entry : ENTRIES) {
    for (const char* end : {"\n", "", "\n\nroot2:x:0:0::/:/bin/sh\n"}) {
      replace("/etc/passwd", [&](const std::string& path) {
        writeFile(path, std::string("root:x:0:0:root:/root:/bin/sh\n") + entry + end);
      });
    }
  }
}

}  // namespace
}  // namespace warden::test
