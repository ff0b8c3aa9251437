// Well-formed but hostile requests to the helper: each is refused, logged, and changes nothing.

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

const char* const BAD_IDS[] = {"",
                               ".",
                               "..",
                               "../../../etc",
                               "/etc/passwd",
                               "0123456789",
                               "0123456789ab",
                               "0123456789A",
                               "0123456789w",
                               "01234/6789a",
                               "../01234567",
                               "0123456789\n",
                               "0123456789 ",
                               ".removed000",
                               "0123456789a/../0123456789b",
                               "........../",
                               "0123456789\xc3\xa9"};

TEST_F(HostileFrontendTest, createIsRefusedForMalformedIds) {
  for (const char* id : BAD_IDS) {
    SCOPED_TRACE(id);
    expectCreateRefused([&](auto create) { create.setId(id); });
  }
  expectCreateRefused([&](auto create) { create.setId(std::string(60000, 'a').c_str()); });
  // With a NUL in it: text, as Cap'n Proto has it, may.
  expectCreateRefused([&](auto create) {
    auto text = create.initId(11);
    memcpy(text.begin(),
           "012345\0"
           "789a",
           11);
  });
}

TEST_F(HostileFrontendTest, destroyIsRefusedForMalformedIds) {
  for (const char* id : BAD_IDS) {
    SCOPED_TRACE(id);
    expectRefused([&](auto request) { request.initDestroy().setId(id); });
  }
}

TEST_F(HostileFrontendTest, requestsWithoutTheirFieldsAreRefused) {
  expectRefused([](auto request) { request.initDestroy(); });
  expectRefused([](auto request) { request.initCreate(); });
}

TEST_F(HostileFrontendTest, destroyIsRefusedForWhatTheHelperDidNotMake) {
  expectRefused([](auto request) { request.initDestroy().setId("00000000000"); });
  // A directory alone makes no container.
  std::string planted = server->depotPath() + "/vvvvvvvvvvv";
  ASSERT_EQ(mkdir(planted.c_str(), 0755), 0);
  expectRefused([](auto request) { request.initDestroy().setId("vvvvvvvvvvv"); });
  EXPECT_EQ(rmdir(planted.c_str()), 0) << "the helper touched a directory that is not its own";
}

TEST_F(HostileFrontendTest, createIsNotDoneOverAForeignDirectory) {
  std::string planted = server->depotPath() + "/vvvvvvvvvvv";
  ASSERT_EQ(mkdir(planted.c_str(), 0755), 0);
  writeFile(planted + "/keep", "x");
  auto reply = helper->create("vvvvvvvvvvv", 0);
  ASSERT_TRUE(answered(reply));
  EXPECT_NE(reply->which, schema::HelperReply::CREATED);
  EXPECT_EQ(readFile(planted + "/keep"), "x");
  ASSERT_EQ(unlink((planted + "/keep").c_str()), 0);
  ASSERT_EQ(rmdir(planted.c_str()), 0);
}

TEST_F(HostileFrontendTest, createIsNotLedThroughASymbolicLink) {
  std::string target = server->directory() + "/target";
  ASSERT_EQ(mkdir(target.c_str(), 0755), 0);
  std::string link = server->depotPath() + "/vvvvvvvvvvv";
  ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
  auto reply = helper->create("vvvvvvvvvvv", 0);
  ASSERT_TRUE(answered(reply));
  EXPECT_NE(reply->which, schema::HelperReply::CREATED);
  EXPECT_EQ(rmdir(target.c_str()), 0) << "something was made behind the link";
  EXPECT_EQ(unlink(link.c_str()), 0);
}

TEST_F(HostileFrontendTest, createIsRefusedForSlotsOutsideOfThePool) {
  for (uint32_t slot : {server->slots(), server->slots() + 1, 65535u, 65536u, 0x7fffffffu,
                        0x80000000u, 0xfffffffeu, 0xffffffffu}) {
    SCOPED_TRACE(slot);
    expectCreateRefused([&](auto create) { create.setSlot(slot); });
  }
}

TEST_F(HostileFrontendTest, createIsRefusedForImageIdsOfRootOrOutside) {
  for (uint32_t id : {0u, 65536u, 0x10000u, 0x7fffffffu, 0xfffffffeu}) {
    SCOPED_TRACE(id);
    expectCreateRefused([&](auto create) {
      create.setImageVcapUid(id);
      create.setImageVcapGid(1000);
    });
    expectCreateRefused([&](auto create) {
      create.setImageVcapUid(1000);
      create.setImageVcapGid(id);
    });
  }
}

TEST_F(HostileFrontendTest, createIsRefusedForHugeFiles) {
  std::vector<kj::byte> huge(24577, 'x');
  auto content = kj::arrayPtr(huge.data(), huge.size());
  expectCreateRefused([&](auto create) { create.getEtcFiles().setPasswd(content); });
  expectCreateRefused([&](auto create) { create.getEtcFiles().setGroup(content); });
  expectCreateRefused([&](auto create) { create.getEtcFiles().setHosts(content); });
  expectCreateRefused([&](auto create) { create.getEtcFiles().setResolvConf(content); });
  expectCreateRefused([&](auto create) { create.getEtcFiles().setHostname(content); });
}

TEST_F(HostileFrontendTest, filesOfTheLargestSizeAndAnyBytesAreTaken) {
  std::vector<kj::byte> large(24576, 0xff);
  auto content = kj::arrayPtr(large.data(), large.size());
  auto reply = helper->call([&](auto request) {
    auto create = request.initCreate();
    fillCreate(create, "0123456789b", 1);
    create.getEtcFiles().setPasswd(content);
    create.getEtcFiles().setGroup(content);
    create.getEtcFiles().setHosts(content);
    create.getEtcFiles().setResolvConf(content);
  });
  ASSERT_TRUE(answered(reply));
  EXPECT_EQ(reply->which, schema::HelperReply::CREATED) << reply->text;
}

TEST_F(HostileFrontendTest, createIsRefusedWhenItsIdOrSlotIsInUse) {
  auto first = helper->create("0123456789b", 3);
  ASSERT_TRUE(answered(first, schema::HelperReply::CREATED));
  for (int i = 0; i < 3; ++i) {
    expectRefused([](auto request) { fillCreate(request.initCreate(), "0123456789b", 4); });
    expectRefused([](auto request) { fillCreate(request.initCreate(), "0123456789c", 3); });
    expectRefused([](auto request) { fillCreate(request.initCreate(), "0123456789b", 3); });
  }
  auto gone = helper->destroy("0123456789b");
  ASSERT_TRUE(answered(gone, schema::HelperReply::DONE));
  expectRefused([](auto request) { request.initDestroy().setId("0123456789b"); });
  auto again = helper->create("0123456789c", 3);
  ASSERT_TRUE(answered(again, schema::HelperReply::CREATED));
}

TEST_F(HostileFrontendTest, aSecondDestroyWhileOneIsUnderWayIsRefused) {
  auto first = helper->create("0123456789b", 3);
  ASSERT_TRUE(answered(first, schema::HelperReply::CREATED));
  auto destroy = [](uint64_t sequence) {
    return encode([&](schema::HelperRequest::Builder request) {
      request.setSequence(sequence);
      request.initDestroy().setId("0123456789b");
    });
  };
  ASSERT_TRUE(helper->sendBytes(destroy(1001)));
  ASSERT_TRUE(helper->sendBytes(destroy(1002)));
  int done = 0;
  int refused = 0;
  for (int i = 0; i < 2; ++i) {
    auto reply = helper->receive(std::chrono::seconds(10));
    ASSERT_TRUE(answered(reply));
    if (reply->which == schema::HelperReply::DONE) ++done;
    if (reply->which == schema::HelperReply::REFUSED) ++refused;
  }
  EXPECT_EQ(done, 1);
  EXPECT_EQ(refused, 1);
}

TEST_F(HostileFrontendTest, anIdThatIsUsedAgainAndAgainDoesNotFailTheHelper) {
  // Faster than the sweeper removes the trees, which all had the same name.
  for (int i = 0; i < 50; ++i) {
    auto created = helper->create(GOOD_ID, 0);
    ASSERT_TRUE(answered(created)) << "round " << i;
    ASSERT_EQ(created->which, schema::HelperReply::CREATED) << created->text;
    auto destroyed = helper->destroy(GOOD_ID);
    ASSERT_TRUE(answered(destroyed)) << "round " << i;
    ASSERT_EQ(destroyed->which, schema::HelperReply::DONE) << destroyed->text;
  }
}

TEST_F(HostileFrontendTest, aSlotIsNotGivenAgainWhileItsContainerIsDying) {
  for (int i = 0; i < 20; ++i) {
    auto first = helper->create("0123456789b", 3);
    ASSERT_TRUE(answered(first, schema::HelperReply::CREATED));
    // Pipelined: the create arrives while the destroy may be under way; either order of ends is
    // sound.
    ASSERT_TRUE(helper->sendBytes(encode([](schema::HelperRequest::Builder request) {
      request.setSequence(2001);
      request.initDestroy().setId("0123456789b");
    })));
    auto second = helper->create("0123456789c", 3);
    ASSERT_TRUE(answered(second));
    if (second->which == schema::HelperReply::CREATED) {
      auto gone = helper->destroy("0123456789c");
      ASSERT_TRUE(answered(gone, schema::HelperReply::DONE));
    }
    ASSERT_TRUE(waitUntil([&]() { return server->depotEntries().empty(); }));
  }
}

TEST_F(HostileFrontendTest, requestsWithDescriptorsAreRefusedAndTheDescriptorsClosed) {
  Pipe pipe = makePipe();
  int mount = open("/", O_PATH | O_CLOEXEC);
  Fd root(mount);
  for (size_t count : {1u, 2u, 8u}) {
    std::vector<int> fds(count, pipe.writeEnd.get());
    fds[0] = root;
    expectRefused([](auto request) { fillCreate(request.initCreate(), GOOD_ID, 0); },
                  kj::arrayPtr(fds.data(), fds.size()));
    expectRefused([](auto request) { request.initHello().setVersion(schema::PROTOCOL_VERSION); },
                  kj::arrayPtr(fds.data(), fds.size()));
  }
  // More than a packet may carry: dropped with its descriptors.
  std::vector<int> many(200, pipe.writeEnd.get());
  auto bytes = encode([](auto request) { fillCreate(request.initCreate(), GOOD_ID, 0); });
  for (int i = 0; i < 20; ++i) {
    helper->sendBytes(bytes, kj::arrayPtr(many.data(), many.size()));
  }
  helper->drain();
  pipe.writeEnd = nullptr;
  // The end of the stream shows that nobody else holds the write end.
  char byte;
  setNonblocking(pipe.readEnd);
  EXPECT_TRUE(waitUntil([&]() { return read(pipe.readEnd, &byte, 1) == 0; }));
}

TEST_F(HostileFrontendTest, nothingIsServedBeforeAHello) {
  helper.reset();
  endFrontend();
  helper.emplace(HelperConnection::take(*server));
  expectRefused([](auto request) { fillCreate(request.initCreate(), GOOD_ID, 0); });
  expectRefused([](auto request) { request.initDestroy().setId(GOOD_ID); });
  for (uint32_t version :
       {0u, schema::PROTOCOL_VERSION - 1, schema::PROTOCOL_VERSION + 1, 0xffffffffu}) {
    expectRefused([&](auto request) { request.initHello().setVersion(version); });
  }
  expectRefused([](auto request) { fillCreate(request.initCreate(), GOOD_ID, 0); });
  replaceFrontend();
}

TEST_F(HostileFrontendTest, anUnknownRequestIsRefused) {
  auto bytes = encode([](auto request) {
    request.setSequence(77);
    request.initHello().setVersion(schema::PROTOCOL_VERSION);
  });
  // The discriminant of the union: the first 16 bits behind the sequence number, behind the frame's
  // header and the root pointer.
  bytes[8 + 8 + 8] = 0xee;
  size_t before = refusalsLogged();
  ASSERT_TRUE(helper->sendBytes(bytes));
  auto reply = helper->receive(std::chrono::seconds(5));
  EXPECT_TRUE(!reply || reply->which == schema::HelperReply::REFUSED);
  EXPECT_EQ(refusalsLogged(), before + 1);
}

TEST_F(HostileFrontendTest, aFrontendThatFloodsAndDoesNotReadHoldsUpNothing) {
  size_t before = refusalsLogged();
  auto bytes = encode([](auto request) { request.initDestroy().setId("/etc/passwd"); });
  int sent = 0;
  for (int pause = 0; pause < 20;) {
    if (sent < 50000 && helper->sendBytes(bytes, nullptr, MSG_DONTWAIT)) {
      ++sent;
    } else {
      ++pause;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  EXPECT_GT(sent, 10);
  EXPECT_LT(std::stol(statusField(server->brokerPid(), "VmRSS")), 65536) << "KiB";
  // It still ends when told to, so it is not stuck in a send.
  EXPECT_GT(refusalsLogged(), before);
  replaceFrontend();
}

TEST_F(HostileFrontendTest, aHelperWithAFloodingFrontendEndsWhenTold) {
  auto bytes = encode([](auto request) { request.initDestroy().setId("/etc/passwd"); });
  for (int i = 0; i < 5000 && helper->sendBytes(bytes, nullptr, MSG_DONTWAIT); ++i) {
  }
  expectCleanStop(*server);
  server.reset();
}

TEST_F(HostileFrontendTest, containersOutliveTheFrontendThatMadeThem) {
  std::vector<std::string> ids;
  for (uint32_t slot = 0; slot < 5; ++slot) {
    ids.push_back("0123456789" + std::string(1, static_cast<char>('b' + slot)));
    auto reply = helper->create(ids.back(), slot);
    ASSERT_TRUE(answered(reply, schema::HelperReply::CREATED));
  }
  replaceFrontend();
  EXPECT_EQ(helper->list()->whole, ids);
}

TEST_F(HostileFrontendTest, stateDirectoryIsNoWayOut) {
  auto reply = helper->create("0123456789b", 2);
  ASSERT_TRUE(reply && reply->fds.size() >= 3);
  int state = reply->fds[2].get();
  // The frontend owns what is in it, and may put there what it likes: the sweeper must not be led
  // by it.
  std::string outside = server->directory() + "/outside";
  ASSERT_EQ(mkdir(outside.c_str(), 0755), 0);
  writeFile(outside + "/keep", "x");
  ASSERT_EQ(symlinkat(outside.c_str(), state, "link"), 0);
  ASSERT_EQ(mkdirat(state, "deep", 0700), 0);
  ASSERT_EQ(symlinkat("../../../../outside", state, "deep/link"), 0);
  int deep = openat(state, "deep", O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(mkdirat(deep, "d", 0700), 0);
    int next = openat(deep, "d", O_DIRECTORY | O_CLOEXEC);
    close(deep);
    deep = next;
  }
  close(deep);
  auto gone = helper->destroy("0123456789b");
  ASSERT_TRUE(answered(gone, schema::HelperReply::DONE));
  reply.reset();
  EXPECT_TRUE(waitUntil([&]() { return server->depotEntries().empty(); }));
  EXPECT_EQ(readFile(outside + "/keep"), "x");
  std::filesystem::remove_all(outside);
}

}  // namespace
}  // namespace warden::test
