// The parts of the porter that need no privilege: whom files are given to, which images are kept,
// which orders go first.

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/packet.h"
#include "privhelper/file-owner.h"
#include "privhelper/kept-images.h"
#include "privhelper/porter.h"
#include "privhelper/step.h"

namespace warden::privhelper {
namespace {

class FileOwnerTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/warden-owner-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory = name;
    write("passwd",
          "root:x:0:0::/root:/bin/sh\n"
          "ann:x:1000:1001::/:\n"
          "broken:x:none:1::/:\n"
          "ann:x:7:7::/:\n"
          "12:x:99:99::/:\n");
    write("group", "root:x:0:\nstaff:x:50:ann\n");
  }
  void TearDown() override {
    unlink((directory + "/passwd").c_str());
    unlink((directory + "/group").c_str());
    rmdir(directory.c_str());
  }
  ~FileOwnerTest() noexcept override = default;

  void write(const char* name, const std::string& content) {
    Fd fd(open((directory + "/" + name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    writeAll(fd, kj::StringPtr(content.c_str(), content.size()).asBytes());
  }

  std::string find(const char* text) {
    try {
      auto owner =
          findFileOwner(text, (directory + "/passwd").c_str(), (directory + "/group").c_str());
      return kj::str(owner.uid, ':', owner.gid).cStr();
    } catch (const StepError& e) {
      return e.detail().cStr();
    }
  }

  std::string directory;
};

TEST_F(FileOwnerTest, readsNumbersAsTheyAreAndNamesFromTheFiles) {
  EXPECT_EQ(find("ann:staff"), "1000:50");
  EXPECT_EQ(find("0:0"), "0:0");
  EXPECT_EQ(find("12:34"), "12:34");
  EXPECT_EQ(find("ann:34"), "1000:34");
  EXPECT_EQ(find("4294967294:staff"), "4294967294:50");
}

TEST_F(FileOwnerTest, refusesWhatIsNotUserAndGroup) {
  for (const char* text : {"", ":", "ann", "ann:", ":staff", "ann:staff:x", "ann:staff:"})
    EXPECT_EQ(find(text), "find the owner of the copy: it is not USER:GROUP") << text;
  for (const char* text : {"nobody-there:0", "broken:0", "0:ann", "-1:0", "4294967295:0",
                           "0:4294967295", " 0:0", "0x0:0", "99999999999:0"}) {
    EXPECT_NE(find(text).find("is not in the host's"), std::string::npos) << text << find(text);
  }
}

PeerCredentials client(pid_t pid, uid_t uid = 1000) {
  return {pid, uid, uid, nullptr};
}

OpenedImage image() {
  return {{Fd(open("/dev/null", O_RDONLY | O_CLOEXEC)), true}, false};
}

TEST(KeptImagesTest, givesAnImageOnceAndToItsClientOnly) {
  KeptImages images;
  auto number = images.keep(client(1), image(), 0);
  EXPECT_NE(number, 0u);
  EXPECT_TRUE(images.take(number, client(2)) == nullptr);
  EXPECT_TRUE(images.take(number, client(1, 1001)) == nullptr);
  EXPECT_TRUE(images.take(number + 1, client(1)) == nullptr);
  EXPECT_FALSE(images.take(number, client(1)) == nullptr);
  EXPECT_TRUE(images.take(number, client(1)) == nullptr);
}

TEST(KeptImagesTest, forgetsAClientsOldestAndNobodyElses) {
  KeptImages images;
  auto others = images.keep(client(2), image(), 0);
  auto first = images.keep(client(1), image(), 0);
  auto second = images.keep(client(1), image(), 0);
  for (int i = 0; i < 15; ++i)
    images.keep(client(1), image(), 0);
  EXPECT_TRUE(images.take(first, client(1)) == nullptr);
  EXPECT_FALSE(images.take(second, client(1)) == nullptr);
  EXPECT_FALSE(images.take(others, client(2)) == nullptr);
}

TEST(KeptImagesTest, forgetsTheOldestOfAllAndThoseOfAMinuteAgo) {
  KeptImages images;
  auto first = images.keep(client(1), image(), 0);
  EXPECT_EQ(images.nextExpiryUs(), 60'000'000u);
  for (int i = 0; i < 128; ++i)
    images.keep(client(2 + i), image(), 1'000'000);
  EXPECT_TRUE(images.take(first, client(1)) == nullptr);
  images.expire(60'999'999);
  EXPECT_EQ(images.nextExpiryUs(), 61'000'000u);
  images.expire(61'000'000);
  EXPECT_EQ(images.nextExpiryUs(), UINT64_MAX);
}

class PorterLaneTest : public testing::Test {
 protected:
  PorterLaneTest() : PorterLaneTest(makePacketPair()) {}
  explicit PorterLaneTest(SocketPair pair) : porter(kj::mv(pair.left)), peer(kj::mv(pair.right)) {
    setNonblocking(peer);
  }
  ~PorterLaneTest() noexcept override = default;

  kj::Maybe<uint64_t> order(kj::StringPtr lane, uid_t user = 1000) {
    static const HostPrefix root{"/"};
    GrantedPath path{root, "x"};
    return porter.order(lane, client(1, user), path, [](auto order) { order.setSource(); });
  }

  std::vector<uint64_t> arrived() {
    std::vector<uint64_t> numbers;
    for (;;) {
      KJ_IF_MAYBE (packet, receivePacket(peer)) {
        auto request = packet->getRoot<schema::PorterRequest>();
        if (request.isOrder()) numbers.push_back(request.getOrder().getNumber());
      } else {
        return numbers;
      }
    }
  }

  // Of four orders in each of as many lanes.
  std::vector<uint64_t> arrivedOf(uid_t user, size_t count) {
    std::vector<uint64_t> numbers;
    for (size_t i = 0; i < count * 4; ++i) {
      order(kj::str("of ", user, ", ", i / 4), user);
      for (auto number : arrived())
        numbers.push_back(number);
    }
    return numbers;
  }

  void answer(uint64_t number) {
    capnp::MallocMessageBuilder message;
    auto answer = message.initRoot<schema::PorterAnswer>();
    answer.setNumber(number);
    answer.setDone();
    sendPacket(peer, message);
  }

  Porter porter;
  Fd peer;
};

TEST_F(PorterLaneTest, aLaneThatHangsDelaysNoOther) {
  std::vector<uint64_t> first;
  for (int i = 0; i < 6; ++i)
    first.push_back(KJ_ASSERT_NONNULL(order("a")));
  auto other = KJ_ASSERT_NONNULL(order("b"));
  EXPECT_EQ(arrived(), (std::vector<uint64_t>{first[0], first[1], first[2], first[3], other}));
  answer(first[2]);
  EXPECT_FALSE(porter.receive() == nullptr);
  EXPECT_EQ(arrived(), std::vector<uint64_t>{first[4]});
}

TEST_F(PorterLaneTest, usersLeavePlacesForRootAndAllTogetherHaveAsManyAsThePorter) {
  std::vector<uint64_t> first = arrivedOf(1000, MOST_OF_USERS / 4 + 50);
  EXPECT_EQ(first.size(), MOST_OF_USERS);
  std::vector<uint64_t> ofRoot = arrivedOf(0, (MOST_WORKERS - MOST_OF_USERS) / 4 + 50);
  EXPECT_EQ(ofRoot.size(), MOST_WORKERS - MOST_OF_USERS);
  // One that ends makes room for one that waits: whoever's turn it is, of users a user's.
  answer(first[0]);
  EXPECT_FALSE(porter.receive() == nullptr);
  EXPECT_EQ(arrived().size(), 1u);
  answer(ofRoot[0]);
  EXPECT_FALSE(porter.receive() == nullptr);
  auto next = arrived();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_GT(next[0], ofRoot[0]);
  porter.endAll();
  EXPECT_EQ(arrivedOf(1001, MOST_OF_USERS / 4 + 1).size(), MOST_OF_USERS);
}

TEST_F(PorterLaneTest, whatWaitsIsBounded) {
  int accepted = 0;
  while (order("a") != nullptr)
    ++accepted;
  EXPECT_EQ(accepted, 260);
  EXPECT_FALSE(order("b") == nullptr);
}

TEST_F(PorterLaneTest, answersThatNobodyWaitsForAnyMoreArePassedOver) {
  auto first = KJ_ASSERT_NONNULL(order("a"));
  porter.endAll();
  answer(first);
  answer(12345);
  EXPECT_TRUE(porter.receive() == nullptr);
  EXPECT_GE(porter.fd(), 0);
}

TEST_F(PorterLaneTest, aPorterThatHasDiedShowsInItsDescriptor) {
  peer = nullptr;
  EXPECT_TRUE(porter.receive() == nullptr);
  EXPECT_EQ(porter.fd(), -1);
  EXPECT_FALSE(order("a") == nullptr);
  porter.endAll();
}

}  // namespace
}  // namespace warden::privhelper
