#include "base/pidfd.h"

#include <chrono>

#include "base-testing.h"

namespace warden {
namespace {

struct Child {
  pid_t pid;
  Pidfd pidfd;
};

Child startSleeper() {
  pid_t pid = fork();
  if (pid == 0) {
    for (;;)
      pause();
  }
  return {pid, Pidfd::open(pid)};
}

TEST(PidfdTest, namesItsProcess) {
  auto child = startSleeper();
  EXPECT_EQ(child.pidfd.pid(), child.pid);
  EXPECT_GE(child.pidfd.fd(), 0);
  EXPECT_TRUE(child.pidfd.signal(SIGKILL));
  waitpid(child.pid, nullptr, 0);
}

TEST(PidfdTest, waitsForTheEndWithoutReaping) {
  auto child = startSleeper();
  EXPECT_FALSE(child.pidfd.waitExit(0));
  auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(child.pidfd.waitExit(50));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(45));
  child.pidfd.signal(SIGTERM);
  EXPECT_TRUE(child.pidfd.waitExit(-1));
  int status;
  EXPECT_EQ(waitpid(child.pid, &status, 0), child.pid);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(PidfdTest, aReapedProcessIsNotSignalled) {
  auto child = startSleeper();
  child.pidfd.signal(SIGKILL);
  waitpid(child.pid, nullptr, 0);
  EXPECT_FALSE(child.pidfd.signal(SIGKILL));
  EXPECT_TRUE(child.pidfd.waitExit(0));
}

TEST(PidfdTest, openFailsForWhatIsNoProcess) {
  EXPECT_ANY_THROW(Pidfd::open(-1));
  EXPECT_ANY_THROW(Pidfd::open(0));
  EXPECT_ANY_THROW(Pidfd::open(0x7fffffff));
}

TEST(PidfdTest, signalFailsForWhatIsNoSignal) {
  auto child = startSleeper();
  EXPECT_ANY_THROW(child.pidfd.signal(9999));
  child.pidfd.signal(SIGKILL);
  waitpid(child.pid, nullptr, 0);
}

}  // namespace
}  // namespace warden
