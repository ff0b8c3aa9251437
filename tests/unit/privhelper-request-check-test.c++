#include "privhelper/request-check.h"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace warden::privhelper {
namespace {

constexpr Policy POLICY{.slotCount = 4,
                        .vcapUidStart = 10000,
                        .idRangeStart = 0x70000000,
                        .pidsLimit = 0,
                        .frontendUid = 999,
                        .frontendGid = 999};

class CreateCheckTest : public testing::Test {
 protected:
  capnp::MallocMessageBuilder message;
  schema::CreateContainer::Builder request = message.initRoot<schema::CreateContainer>();

  CreateCheckTest() {
    request.setId("0123456789a");
    request.setSlot(3);
    request.setImageVcapUid(0xffffffff);
    request.setImageVcapGid(0xffffffff);
  }

  ~CreateCheckTest() noexcept override {}

  std::string refusal() {
    auto result = checkCreate(request.asReader(), POLICY);
    return result.is<Refusal>() ? result.get<Refusal>().reason.cStr() : "";
  }
};

TEST_F(CreateCheckTest, acceptsWhatIsWithinThePolicy) {
  request.getEtcFiles().setPasswd(kj::StringPtr("root:x:0:0").asBytes());
  request.getEtcFiles().setHosts(nullptr);
  request.setImageVcapUid(1000);
  auto result = checkCreate(request.asReader(), POLICY);
  ASSERT_TRUE(result.is<CreateOrder>());
  auto& order = result.get<CreateOrder>();
  EXPECT_EQ(order.id.text(), "0123456789a"_kj);
  EXPECT_EQ(order.slot, 3u);
  EXPECT_EQ(KJ_ASSERT_NONNULL(order.imageVcapUid), 1000u);
  EXPECT_TRUE(order.imageVcapGid == nullptr);
  ASSERT_EQ(order.etcFiles.size(), 2u) << "an empty file is not an absent one";
}

TEST_F(CreateCheckTest, refusesEveryIdThatIsNotWellFormed) {
  for (const char* id : {"", "..", ".", "../../etc/a", "/etc/passwd", "0123456789", "0123456789ab",
                         "0123456789A", "0123456789w", "0123456789/", "0123456789.", "012345678 9",
                         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    request.setId(id);
    EXPECT_NE(refusal(), "") << id;
  }
  std::string withNul(
      "0123\0"
      "56789a",
      11);
  request.setId(kj::StringPtr(withNul.data(), withNul.size()));
  EXPECT_NE(refusal(), "") << "NUL inside";
}

TEST_F(CreateCheckTest, refusesASlotOutsideOfThePool) {
  for (uint32_t slot : {4u, 5u, 0x7fffffffu, 0xffffffffu}) {
    request.setSlot(slot);
    EXPECT_NE(refusal(), "") << slot;
  }
}

TEST_F(CreateCheckTest, refusesToGiveRootsFilesToVcap) {
  for (uint32_t id : {0u, 65536u, 0xfffffffeu}) {
    request.setImageVcapUid(id);
    request.setImageVcapGid(0xffffffff);
    EXPECT_NE(refusal(), "") << "uid " << id;
    request.setImageVcapUid(0xffffffff);
    request.setImageVcapGid(id);
    EXPECT_NE(refusal(), "") << "gid " << id;
  }
}

TEST_F(CreateCheckTest, refusesAFileThatIsTooLarge) {
  auto large = kj::heapArray<kj::byte>(schema::CreateContainer::MAX_ETC_FILE_BYTES + 1);
  memset(large.begin(), 'x', large.size());
  auto files = request.getEtcFiles();
  using Set = std::function<void(kj::ArrayPtr<const kj::byte>)>;
  Set setters[] = {
      [&](auto data) { files.setPasswd(data); }, [&](auto data) { files.setGroup(data); },
      [&](auto data) { files.setHosts(data); }, [&](auto data) { files.setResolvConf(data); },
      [&](auto data) { files.setHostname(data); }};
  for (Set& set : setters) {
    set(large.slice(0, large.size() - 1));
    EXPECT_EQ(refusal(), "");
    set(large);
    EXPECT_NE(refusal(), "");
    set(nullptr);
  }
}

}  // namespace
}  // namespace warden::privhelper
