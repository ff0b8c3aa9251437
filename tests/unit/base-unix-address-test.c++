#include "base/unix-address.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"

namespace warden {
namespace {

Fd datagramSocket() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return Fd(raw);
}

// Whether what is bound to the one is what the other leads to.
bool connects(const UnixAddress& to, const UnixAddress& from) {
  Fd listener = datagramSocket(), client = datagramSocket();
  KJ_SYSCALL(bind(listener, to.get(), to.size()));
  return connect(client, from.get(), from.size()) == 0;
}

TEST(UnixAddressTest, isOfASocketFile) {
  std::string path = "/tmp/warden-unix-address-" + std::to_string(getpid());
  EXPECT_TRUE(connects(UnixAddress(path), UnixAddress(path)));
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  EXPECT_EQ(unlink(path.c_str()), 0);
}

TEST(UnixAddressTest, ofNotifyIsAFileOrAnAbstractName) {
  std::string name = "warden-unix-address-" + std::to_string(getpid());
  EXPECT_TRUE(connects(UnixAddress::notify("@" + name), UnixAddress::notify("@" + name)));
  EXPECT_NE(access(("@" + name).c_str(), F_OK), 0);
  // Of the length of its name: a longer one with NUL behind it is another.
  sockaddr_un whole{.sun_family = AF_UNIX, .sun_path = {}};
  name.copy(whole.sun_path + 1, name.size());
  Fd listener = datagramSocket(), client = datagramSocket();
  KJ_SYSCALL(bind(listener, reinterpret_cast<sockaddr*>(&whole), sizeof(whole)));
  UnixAddress exact = UnixAddress::notify("@" + name);
  EXPECT_NE(connect(client, exact.get(), exact.size()), 0);
  std::string path = "/tmp/" + name;
  EXPECT_TRUE(connects(UnixAddress::notify(path), UnixAddress(path)));
  EXPECT_EQ(unlink(path.c_str()), 0);
}

TEST(UnixAddressTest, isRefusedWhereItDoesNotFit) {
  EXPECT_TRUE(UnixAddress::isPath(std::string(107, 'x')));
  for (const std::string& path : {std::string(), std::string(108, 'x'), std::string("a\0b", 3)}) {
    EXPECT_FALSE(UnixAddress::isPath(path));
    EXPECT_ANY_THROW(UnixAddress address(path));
    EXPECT_ANY_THROW(UnixAddress::notify(path));
  }
}

}  // namespace
}  // namespace warden
