#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/client-error.h"
#include "frontend/etc-files.h"
#include "schema/privhelper.capnp.h"
#include "tests/unit/frontend-test-peer.h"

namespace warden::frontend {
namespace {

constexpr uint32_t VCAP_ID = 10007;
constexpr ContainerAddresses ADDRESSES{0x0afe0005, 0x0afe0006};

class EtcFilesTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory;
  std::unique_ptr<ImageFacts> image;
  Config::Network network;
  std::string hostResolvConf = "nameserver 192.0.2.1\n";

  void SetUp() override {
    directory.makeDirectory("etc");
    image = std::make_unique<ImageFacts>(directory.open());
  }

  void passwd(const std::string& text) { directory.write("etc/passwd", text); }
  void group(const std::string& text) { directory.write("etc/group", text); }

  ContainerSetup setUp() {
    return setUpContainer(*image, ContainerId::fromNumber(1), VCAP_ID, ADDRESSES, network,
                          hostResolvConf);
  }

  std::string refusal() {
    KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { setUp(); })) {
      return isClientError(*reason) ? reason->getDescription().cStr() : "internal";
    }
    return "";
  }

  void expectNoImageVcap(const std::string& line) {
    passwd("root:x:0:0:root:/root:/bin/bash\n" + line + "\n");
    EXPECT_TRUE(setUp().image.vcap == nullptr) << line;
  }
};

bool contains(kj::StringPtr text, const char* part) {
  return std::string(text.cStr()).find(part) != std::string::npos;
}

TEST_F(EtcFilesTest, makesBothUsersForAnImageWithoutFiles) {
  auto setup = setUp();
  EXPECT_STREQ(setup.files.passwd.cStr(),
               "root:x:0:0:root:/root:/bin/sh\n"
               "vcap:x:10007:10007:vcap:/home/vcap:/bin/bash\n");
  EXPECT_STREQ(setup.files.group.cStr(), "root:x:0:\nvcap:x:10007:\n");
  EXPECT_STREQ(setup.files.hosts.cStr(), "127.0.0.1 localhost\n10.254.0.6 00000000001\n");
  EXPECT_STREQ(setup.files.hostname.cStr(), "00000000001\n");
  EXPECT_STREQ(setup.files.resolvConf.cStr(), "nameserver 192.0.2.1\n");
  EXPECT_TRUE(setup.image.vcap == nullptr);
  EXPECT_STREQ(setup.root.home.cStr(), "/");
}

TEST_F(EtcFilesTest, replacesTheImagesVcap) {
  passwd(
      "root:x:0:0:root:/root:/bin/bash\nvcap:x:1000:1001::/home/vcap:/bin/sh\nweb:x:33:33::/:/x\n");
  group("root:x:0:\nvcap:x:1001:\nweb:x:33:\n");
  auto setup = setUp();
  EXPECT_STREQ(setup.files.passwd.cStr(),
               "root:x:0:0:root:/root:/bin/bash\nweb:x:33:33::/:/x\n"
               "vcap:x:10007:10007:vcap:/home/vcap:/bin/sh\n");
  EXPECT_STREQ(setup.files.group.cStr(), "root:x:0:\nweb:x:33:\nvcap:x:10007:\n");
  auto owner = KJ_ASSERT_NONNULL(setup.image.vcap);
  EXPECT_EQ(owner.uid, 1000u);
  EXPECT_EQ(owner.gid, 1001u);
}

TEST_F(EtcFilesTest, ignoresAVcapWhoseIdsAreNotUsable) {
  expectNoImageVcap("vcap:x:0:0::/:/bin/sh");
  expectNoImageVcap("vcap:x:1000:0::/:/bin/sh");
  expectNoImageVcap("vcap:x::1000::/:/bin/sh");
  expectNoImageVcap("vcap:x:-1:1000::/:/bin/sh");
  expectNoImageVcap("vcap:x:65536:1000::/:/bin/sh");
  expectNoImageVcap("vcap:x:4294967295:1000::/:/bin/sh");
  expectNoImageVcap("vcap:x:4294967296:4294967296::/:/bin/sh");
  expectNoImageVcap("vcap:x:18446744073709551617:1::/:/bin/sh");
  expectNoImageVcap("vcap:x:0x10:1000::/:/bin/sh");
  expectNoImageVcap("vcap:x: 12:1000::/:/bin/sh");
  expectNoImageVcap("vcap:x:1000:1000::/");
}

TEST_F(EtcFilesTest, dropsAUserWhoWouldShareVcapsUid) {
  passwd("root:x:0:0::/root:/bin/sh\ntwin:x:10007:1::/:/bin/sh\n");
  EXPECT_FALSE(contains(setUp().files.passwd, "twin"));
}

TEST_F(EtcFilesTest, dropsMalformedLines) {
  std::string nul(1, '\0');
  passwd("+::::::\na:b\n::::::\nx" + nul + "y:x:1:1::/:/\nok:x:5:5::/:/bin/sh\n");
  EXPECT_STREQ(setUp().files.passwd.cStr(),
               "root:x:0:0:root:/root:/bin/sh\nok:x:5:5::/:/bin/sh\n"
               "vcap:x:10007:10007:vcap:/home/vcap:/bin/bash\n");
}

TEST_F(EtcFilesTest, keepsWithinTheHelpersLimitAndKeepsVcap) {
  std::string text;
  for (int i = 1; i < 5000; ++i) {
    text += "user" + std::to_string(i) + ":x:" + std::to_string(i) + ":1::/:/bin/sh\n";
  }
  passwd(text);
  hostResolvConf = std::string(100000, 'x') + "\nnameserver 192.0.2.2\n";
  auto setup = setUp();
  EXPECT_LE(setup.files.passwd.size(), size_t{schema::CreateContainer::MAX_ETC_FILE_BYTES});
  EXPECT_TRUE(contains(setup.files.passwd, "\nvcap:x:10007:"));
  EXPECT_TRUE(contains(setup.files.passwd, "root:x:0:0:"));
  EXPECT_STREQ(setup.files.resolvConf.cStr(), "nameserver 192.0.2.2\n");
}

TEST_F(EtcFilesTest, doesNotFollowALinkOutOfTheImage) {
  TemporaryDirectory outside;
  outside.write("secret", "vcap:x:77:77::/:/bin/sh\n");
  ASSERT_EQ(
      symlink((outside.path() + "/secret").c_str(), (directory.path() + "/etc/passwd").c_str()), 0);
  EXPECT_TRUE(setUp().image.vcap == nullptr);
}

TEST_F(EtcFilesTest, followsALinkInsideOfTheImage) {
  directory.write("accounts", "vcap:x:77:78::/:/bin/sh\n");
  ASSERT_EQ(symlink("/accounts", (directory.path() + "/etc/passwd").c_str()), 0);
  EXPECT_EQ(KJ_ASSERT_NONNULL(setUp().image.vcap).uid, 77u);
}

TEST_F(EtcFilesTest, refusesAFifoWithoutBlocking) {
  ASSERT_EQ(mkfifo((directory.path() + "/etc/passwd").c_str(), 0644), 0);
  EXPECT_NE(refusal().find("etc/passwd is not a regular file"), std::string::npos);
}

TEST_F(EtcFilesTest, refusesAHugeFile) {
  passwd("");
  ASSERT_EQ(truncate((directory.path() + "/etc/passwd").c_str(), off_t{1} << 40), 0);
  EXPECT_NE(refusal().find("at most 1 MiB"), std::string::npos);
}

TEST_F(EtcFilesTest, takesTheImagesHomeOnlyWhenItIsADirectoryThere) {
  passwd("vcap:x:77:77::/srv/app:/bin/sh\n");
  EXPECT_STREQ(setUp().vcap.home.cStr(), "/home/vcap");
  directory.makeDirectory("srv/app");
  EXPECT_STREQ(setUp().vcap.home.cStr(), "/srv/app");
  passwd("vcap:x:77:77::/srv/../srv/app:/bin/sh\n");
  EXPECT_STREQ(setUp().vcap.home.cStr(), "/home/vcap");
  passwd("vcap:x:77:77::srv/app:/bin/sh\n");
  EXPECT_STREQ(setUp().vcap.home.cStr(), "/home/vcap");
}

TEST_F(EtcFilesTest, readsAFileAgainWhenItHasChanged) {
  passwd("vcap:x:77:77::/:/bin/sh\n");
  EXPECT_EQ(KJ_ASSERT_NONNULL(setUp().image.vcap).uid, 77u);
  passwd("vcap:x:1078:78::/:/bin/sh\n");
  EXPECT_EQ(KJ_ASSERT_NONNULL(setUp().image.vcap).uid, 1078u);
}

TEST_F(EtcFilesTest, collectsSupplementaryGroups) {
  group("root:x:0:\nfuse:x:105:vcap,other\nmine:x:10007:vcap\nbig:x:70000:vcap\nno:x:7:notvcap\n");
  auto setup = setUp();
  ASSERT_EQ(setup.vcap.groups.size(), 2u);
  EXPECT_EQ(setup.vcap.groups[0], VCAP_ID);
  EXPECT_EQ(setup.vcap.groups[1], 105u);
}

TEST_F(EtcFilesTest, replacesANameServerOnTheHostItselfByTheHostsAddress) {
  auto check = [&](const char* host, const char* expected) {
    hostResolvConf = host;
    EXPECT_STREQ(setUp().files.resolvConf.cStr(), expected) << host;
  };
  check("nameserver 127.0.0.1\n", "nameserver 10.254.0.5\n");
  check("# local\nnameserver\t127.0.0.53 \noptions edns0\nsearch a b\n",
        "# local\nnameserver 10.254.0.5\noptions edns0\nsearch a b\n");
  check("nameserver 127.0.0.1\nnameserver ::1\nnameserver 127.9.9.9\n", "nameserver 10.254.0.5\n");
  check("nameserver 192.0.2.1\nnameserver 127.0.0.1\n",
        "nameserver 192.0.2.1\nnameserver 10.254.0.5\n");
  check("nameserver 127.0.0.1", "nameserver 10.254.0.5\n");
}

TEST_F(EtcFilesTest, copiesWhatIsNoNameServerOnTheHostItself) {
  for (const char* host :
       {"nameserver 128.0.0.1\n", "nameserver127.0.0.1\n", "#nameserver 127.0.0.1\n",
        "nameserver\n", "nameserver 127.0.0.1.example\n", "nameserver 2001:db8::1\n",
        "search 127.0.0.1\n", ""}) {
    hostResolvConf = host;
    EXPECT_STREQ(setUp().files.resolvConf.cStr(), host);
  }
}

TEST_F(EtcFilesTest, prefersTheConfiguredNameServers) {
  network.dnsServers = {"198.51.100.1", "2001:db8::1"};
  EXPECT_STREQ(setUp().files.resolvConf.cStr(),
               "nameserver 198.51.100.1\nnameserver 2001:db8::1\n");
}

}  // namespace
}  // namespace warden::frontend
