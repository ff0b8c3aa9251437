// Clients of other makes, in other languages, drive the server: what they expect is what old
// clients do.

#include <gtest/gtest.h>

#include <kj/common.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/support/network-host.h"
#include "tests/support/network-socket.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

class SecondClientTest : public ServerTest {
 protected:
  // A script finds the socket by its environment, says what it does (TAP), and exits with 0 when
  // all was well.
  void runScript(const std::string& interpreter, const std::string& name) {
    constexpr char LIMIT[] = "4194304";
    ServerOptions options;
    options.image = bashImage();
    options.config = {{"server.job_output_limit", LIMIT}};
    options.network = std::make_shared<NetworkNamespace>(NetworkNamespace::make());
    outside.emplace(*options.network);
    start(options);
    TcpListener listener(outside->network(), 7);
    std::atomic<bool> done{false};
    std::thread greeter([&]() {
      while (!done) {
        if (auto connection = listener.accept(Milliseconds(50))) connection->send("outside\n");
      }
    });
    KJ_DEFER({
      done = true;
      greeter.join();
    });
    std::vector<std::string> command = {"/usr/bin/env",
                                        "WARDEN_DISK_QUOTA=1",
                                        "WARDEN_SOCKET=" + server().socketPath(),
                                        std::string("WARDEN_JOB_OUTPUT_LIMIT=") + LIMIT,
                                        "WARDEN_OUTSIDE=" + outside->address(),
                                        "WARDEN_EXTERNAL=" + outside->serverAddress()};
    command.push_back(interpreter);
    command.push_back(WARDEN_SOURCE_DIR "/tests/second-client/" + name);
    auto result =
        server().inNetwork([&]() { return runProgram(command, std::chrono::seconds(90)); });
    EXPECT_EQ(result.exitStatus, 0) << result.out << result.err;
  }

 private:
  std::optional<Host> outside;
};

TEST_F(SecondClientTest, rubyWithBeefcakeIsServed) {
  runScript("/usr/bin/ruby", "second-client-test.rb");
}

TEST_F(SecondClientTest, pythonWithProtobufIsServed) {
  runScript("/usr/bin/python3", "second-client-smoke.py");
}

}  // namespace
}  // namespace warden::test
