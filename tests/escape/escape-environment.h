#pragma once
// One server, and one container of a hostile image, for all attacks from inside.

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "tests/support/server-test.h"

namespace warden::test {

constexpr char PROBE[] = WARDEN_BIN_DIR "/warden-probe";
constexpr char SYSTEM_CALL_PROBE[] = WARDEN_BIN_DIR "/warden-system-calls";
constexpr char SUID_PROBE[] = "/usr/suid-probe";
constexpr char IMAGE_DEVICES[] = "/usr/devices";
constexpr int SHM_KEY = 0x77617264;

class HostileImage {
  // A copy of the busybox image with the probes (/probe, /system-calls), a set-user-id copy, and
  // device nodes as a careless or hostile image may have them.

 public:
  HostileImage();
  ~HostileImage();
  KJ_DISALLOW_COPY(HostileImage);

  std::string path() const { return directory + "/image"; }

 private:
  std::string directory;

  void node(const char* name, mode_t type, unsigned major, unsigned minor);
};

class HostTargets {
  // What of the host a container must not reach: a file, an abstract socket, a shared memory
  // segment.

 public:
  explicit HostTargets(const TestServer& server);
  ~HostTargets();
  KJ_DISALLOW_COPY(HostTargets);

  std::map<std::string, std::string> canaries() const;
  // What containers would change first: names, with contents or what tells a change.

  const std::string secretFile;
  const std::string socketName;

 private:
  Fd listener;
  int segment;
};

class EscapeEnvironment : public ::testing::Environment {
  // Each attack leaves the container as it was, or has failed.

 public:
  void SetUp() override;
  void TearDown() override;
  void expectCanariesUntouched() const;

  std::unique_ptr<HostileImage> image;
  std::unique_ptr<TestServer> server;
  std::unique_ptr<HostTargets> targets;
  std::unique_ptr<LeakCheck> leaks;
  std::unique_ptr<TestClient> client;
  std::string handle;

 private:
  std::map<std::string, std::string> canaries;  // before the first attack
};

EscapeEnvironment& environment();

}  // namespace warden::test
