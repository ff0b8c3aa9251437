// Profiles: what a container may do follows from who made it, by the configuration.

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/profile.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr auto HANGING = std::chrono::seconds(5);
constexpr char TABLE[] = WARDEN_SOURCE_DIR "/tests/escape/system-calls.table";

constexpr uint64_t bit(int capability) {
  return uint64_t(1) << capability;
}

// Names of x86-64 calls that containers have, or have not, by default.
std::vector<std::string> callsOfTheTable(const std::string& wanted) {
  std::vector<std::string> names;
  for (const auto& line : splitLines(readFile(TABLE))) {
    std::istringstream words(line);
    std::string abi, numbers, name, answer;
    words >> abi >> numbers >> name >> answer;
    if (abi == "x86-64" && name != "-" && answer == wanted) names.push_back(name);
  }
  return names;
}

class ProfileTest : public ServerTest {
 protected:
  std::string image;

  ~ProfileTest() override {
    if (!image.empty()) fs::remove_all(image);
  }

  void startWithProfiles(const std::string& profiles, const std::string& rules,
                         const std::string& otherwise = "") {
    image = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-profile-image";
    copyTree(busyboxImage(), image);
    fs::copy_file(WARDEN_BIN_DIR "/warden-system-calls", image + "/system-calls");
    ServerOptions options;
    options.image = image;
    std::istringstream lines(profiles);
    for (std::string line; std::getline(lines, line);) {
      size_t colon = line.find(": ");
      options.config["profiles." + line.substr(0, colon)] = line.substr(colon + 2);
    }
    options.config["access.rules"] = rules;
    options.config["privhelper.profile"] = otherwise;
    start(options);
  }

  static std::string answerTo(TestClient& client, const std::string& handle, int number,
                              bool privileged = false) {
    std::string n = std::to_string(number);
    return client.output(handle, "/system-calls x86-64 " + n + " " + n, privileged);
  }

  static uint64_t capabilitiesOf(TestClient& client, const std::string& handle, const char* set) {
    std::string script = std::string("sed -n 's/^") + set + ":.//p' /proc/self/status";
    return std::stoull(client.output(handle, script, true), nullptr, 16);
  }
};

TEST_F(ProfileTest, capabilitiesAreThoseOfTheRulesProfile) {
  startWithProfiles(
      "narrow: {capabilities: [setuid, setgid, dac_override]}\nwide: {capabilities: "
      "[chown, net_raw]}",
      "[{user: 60001, profile: narrow}, {user: 60002, profile: wide}]");
  auto alice = server().connectAs(ALICE), bob = server().connectAs(BOB);
  auto root = connect();
  alice.create("narrow");
  bob.create("wide");
  root.create("default");
  uint64_t narrow = bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_DAC_OVERRIDE);
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"}) {
    EXPECT_EQ(capabilitiesOf(alice, "narrow", set), narrow) << set;
    EXPECT_EQ(capabilitiesOf(bob, "wide", set), bit(CAP_CHOWN) | bit(CAP_NET_RAW)) << set;
    EXPECT_EQ(capabilitiesOf(root, "default", set), defaultCapabilities()) << set;
  }
  for (const char* set : {"CapInh", "CapAmb"})
    EXPECT_EQ(capabilitiesOf(alice, "narrow", set), 0u) << set;
  EXPECT_NE(alice.run("narrow", "touch /tmp/f && chown 1:1 /tmp/f", true).exit_status(), 0u);
  EXPECT_EQ(bob.run("wide", "touch /tmp/f && chown 1:1 /tmp/f", true).exit_status(), 0u);
  // The user's containers, not the asking user's: root's jobs in it are no more.
  EXPECT_EQ(capabilitiesOf(root, "narrow", "CapEff"), narrow);
  EXPECT_NE(root.run("narrow", "touch /tmp/g && chown 1:1 /tmp/g", true).exit_status(), 0u);
  // Jobs that are not privileged have none, whatever the profile.
  EXPECT_EQ(bob.output("wide", "sed -n 's/^Cap...:.//p' /proc/self/status | sort -u"),
            "0000000000000000\n");
}

TEST_F(ProfileTest, systemCallsAreThoseOfTheRulesProfile) {
  startWithProfiles(
      "tools: {system_calls: {allow: [modify_ldt, kcmp], deny: [ptrace, inotify_init1]}}",
      "[{user: 60001, profile: tools}]");
  auto alice = server().connectAs(ALICE), bob = server().connectAs(BOB);
  alice.create("tools");
  bob.create("default");
  struct {
    int number;
    const char* inTools;
    const char* byDefault;
  } const CALLS[] = {{154, "allowed", "EPERM"},     // modify_ldt
                     {312, "allowed", "EPERM"},     // kcmp
                     {101, "EPERM", "allowed"},     // ptrace
                     {294, "EPERM", "allowed"},     // inotify_init1
                     {165, "EPERM", "EPERM"},       // mount
                     {435, "ENOSYS", "ENOSYS"},     // clone3
                     {253, "allowed", "allowed"}};  // inotify_init
  for (auto& call : CALLS) {
    std::string number = std::to_string(call.number) + " ";
    // As vcap, of which the kernel refuses nothing of these by itself.
    EXPECT_EQ(answerTo(alice, "tools", call.number), number + call.inTools + "\n");
    EXPECT_EQ(answerTo(bob, "default", call.number), number + call.byDefault + "\n");
  }
  EXPECT_EQ(answerTo(alice, "tools", 101, true), "101 EPERM\n") << "of privileged jobs, too";
}

TEST_F(ProfileTest, whoamiNamesIt) {
  startWithProfiles("a: {}\nb: {}", "[{user: 60001, profile: a}, {group: 60003}]", "b");
  auto alice = server().connectAs(ALICE), bob = server().connectAs(BOB, {60003});
  EXPECT_EQ(alice.call(WhoamiRequest()).profile(), "a");
  EXPECT_EQ(bob.call(WhoamiRequest()).profile(), "b");
  EXPECT_EQ(connect().call(WhoamiRequest()).profile(), "b");
  auto shown = runProgram({WARDEN_BIN_DIR "/warden", "--socket", server().socketPath(), "whoami"});
  EXPECT_NE(shown.out.find("profile             b\n"), std::string::npos) << shown.out << shown.err;
}

TEST_F(ProfileTest, theDefaultOneCanBeChanged) {
  startWithProfiles("default: {capabilities: [kill]}", "[{user: 60001, profile: default}]");
  auto alice = server().connectAs(ALICE);
  alice.create("hers");
  EXPECT_EQ(capabilitiesOf(alice, "hers", "CapEff"), bit(CAP_KILL));
  auto root = connect();
  root.create("roots");
  EXPECT_EQ(capabilitiesOf(root, "roots", "CapEff"), bit(CAP_KILL));
}

// base/profile.c++ says which calls no container does without; all others may be denied.
class DeniedCallTest : public ProfileTest {};

TEST_F(DeniedCallTest, leavesJobsThatRunUnlessTheConfigurationRefusesIt) {
  std::vector<std::string> denied;
  for (const auto& name : callsOfTheTable("allowed")) {
    if (isNeededCall(name)) continue;
    denied.push_back(name);
  }
  constexpr size_t A_SERVER = 60;
  for (size_t first = 0; first < denied.size(); first += A_SERVER) {
    size_t end = std::min(denied.size(), first + A_SERVER);
    std::string profiles, rules;
    for (size_t i = first; i < end; ++i) {
      profiles += "no-" + denied[i] + ": {system_calls: {deny: [" + denied[i] + "]}}\n";
      rules += std::string(rules.empty() ? "[" : ", ") + "{user: " + std::to_string(ALICE + i) +
               ", profile: no-" + denied[i] + "}";
    }
    startWithProfiles(profiles, rules + "]");
    for (size_t i = first; i < end; ++i) {
      try {
        auto client = server().connectAs(ALICE + i);
        client.setTimeout(HANGING);
        client.create(denied[i]);
        for (bool privileged : {false, true}) {
          uint32_t job = client.spawn(denied[i], "exit 7", privileged);
          EXPECT_EQ(client.link(denied[i], job).exit_status(), 7u) << denied[i];
        }
        client.destroy(denied[i]);
      } catch (const ServerError& e) {
        ADD_FAILURE() << denied[i] << ": " << e.what();
      } catch (const kj::Exception& e) {
        ADD_FAILURE() << denied[i] << ": " << e.getDescription().cStr();
      }
    }
    ServerTest::TearDown();
    fs::remove_all(image);
  }
}

TEST(ProfileConfigTest, aServerWithAnAppArmorProfileThatIsNotThereDoesNotStart) {
  ServerOptions options;
  options.config["profiles.default"] = "{apparmor: warden-test-no-such-profile}";
  TestServer server(options);
  server.launch();
  EXPECT_EQ(server.waitForExit(), 1);
  std::string logs = server.logs();
  EXPECT_NE(logs.find("profiles.default.apparmor: "), std::string::npos) << logs;
  EXPECT_TRUE(logs.find("has no AppArmor") != std::string::npos ||
              logs.find("load it by apparmor_parser") != std::string::npos)
      << logs;
  EXPECT_TRUE(server.remains().empty());
}

}  // namespace
}  // namespace warden::test
