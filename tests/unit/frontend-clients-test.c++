#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/async-unix.h>
#include <kj/debug.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frontend/client-error.h"
#include "frontend/helper-client.h"
#include "frontend/packet-link.h"
#include "frontend/wshd-client.h"
#include "schema/privhelper.capnp.h"
#include "schema/wshd.capnp.h"

namespace warden::frontend {
namespace {

class ClientsTest : public ::testing::Test, protected WshdClient::Listener {
 protected:
  ~ClientsTest() noexcept override = default;

  kj::UnixEventPort port;
  kj::EventLoop loop{port};
  kj::WaitScope scope{loop};
  SocketPair sockets = makePacketPair();
  std::vector<std::pair<uint32_t, uint32_t>> exits;

  void jobExited(uint32_t jobId, uint32_t status) override { exits.emplace_back(jobId, status); }

  Packet receive() { return KJ_ASSERT_NONNULL(receivePacket(sockets.right)); }

  uint64_t receiveFromHelperClient() {
    auto packet = receive();
    return packet.getRoot<schema::HelperRequest>().getSequence();
  }

  template <typename Fill>
  void reply(uint64_t sequence, Fill&& fill) {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<schema::HelperReply>();
    root.setSequence(sequence);
    fill(root);
    sendPacket(sockets.right, message);
  }

  template <typename Fill>
  void wshdSays(uint64_t sequence, kj::ArrayPtr<const int> fds, Fill&& fill) {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<schema::WshdMessage>();
    root.setSequence(sequence);
    fill(root);
    sendPacket(sockets.right, message, fds);
  }

  template <typename T>
  std::string errorOf(kj::Promise<T>&& promise) {
    std::string text = "no error";
    promise
        .then([](T&&) {},
              [&](kj::Exception&& reason) {
                text = std::string(isClientError(reason) ? "client: " : "internal: ") +
                       reason.getDescription().cStr();
              })
        .wait(scope);
    return text;
  }

  JobStart start(uint32_t id) {
    return JobStart{id,      10000,   10000,
                    nullptr, false,   "/",
                    nullptr, nullptr, makeSealedMemfd("script", nullptr),
                    false};
  }
};

TEST_F(ClientsTest, helperClientGreetsFirst) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto packet = receive();
  auto request = packet.getRoot<schema::HelperRequest>();
  ASSERT_TRUE(request.isHello());
  EXPECT_EQ(request.getHello().getVersion(), uint32_t{schema::PROTOCOL_VERSION});
}

TEST_F(ClientsTest, helperClientMatchesRepliesThatComeInAnotherOrder) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  receiveFromHelperClient();
  auto first = client.destroy(ContainerId::fromNumber(1));
  auto second = client.destroy(ContainerId::fromNumber(2));
  auto firstNumber = receiveFromHelperClient();
  auto secondNumber = receiveFromHelperClient();
  EXPECT_NE(firstNumber, secondNumber);
  reply(secondNumber, [](auto root) { root.setDone(); });
  second.wait(scope);
  EXPECT_FALSE(first.poll(scope));
  reply(firstNumber, [](auto root) { root.setDone(); });
  first.wait(scope);
}

const kj::Vector<BindMount> NO_BIND_MOUNTS;

kj::Promise<CreatedContainer> create(HelperClient& client,
                                     const kj::Vector<BindMount>& bindMounts = NO_BIND_MOUNTS) {
  return client.create(HelperClient::NO_CLIENT, ContainerId::fromNumber(1), 0, 0, ContainerImage(),
                       EtcFiles(), bindMounts);
}

TEST_F(ClientsTest, helperClientSaysWhichSourceOfABindMountThereIsNot) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  receiveFromHelperClient();
  kj::Vector<BindMount> binds;
  binds.add(BindMount{"/there", "/a", false});
  binds.add(BindMount{"/missing", "/b", true});
  auto fail = [&](int error, int index) {
    auto failing = create(client, binds);
    reply(receiveFromHelperClient(), [&](auto root) {
      auto failed = root.initFailed();
      failed.setErrno(error);
      failed.setDetail("open source of bind mount: cause");
      failed.setBindMount(index);
    });
    return errorOf(kj::mv(failing));
  };
  EXPECT_EQ(fail(ENOENT, 1), "client: Source path for bind mount does not exist: /missing");
  EXPECT_EQ(fail(EACCES, 0),
            "client: could not create the container: bind mount of /there: open source of bind "
            "mount: cause; it is opened with the rights of your own user");
  for (int index : {-1, 2})
    EXPECT_EQ(fail(ENOENT, index).find("client: could not create the container: open"), 0u);
}

TEST_F(ClientsTest, helperClientTellsClientsWhatFailedButNotWhatWasRefused) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  receiveFromHelperClient();
  auto failing = create(client);
  reply(receiveFromHelperClient(), [](auto root) {
    auto failed = root.initFailed();
    failed.setStep("mount overlay");
    failed.setErrno(ENOSPC);
    failed.setDetail("mount overlay: No space left on device");
  });
  EXPECT_EQ(
      errorOf(kj::mv(failing)),
      "client: could not create the container: mount overlay: No space left on device; free space "
      "or inodes where the depot is");
  auto refused = create(client);
  reply(receiveFromHelperClient(), [](auto root) { root.setRefused("slot in use"); });
  EXPECT_EQ(errorOf(kj::mv(refused)).find("internal: "), 0u);
}

TEST_F(ClientsTest, helperClientFailsACreatedReplyWithoutDescriptors) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  receiveFromHelperClient();
  auto created = create(client);
  reply(receiveFromHelperClient(), [](auto root) { root.initCreated(); });
  EXPECT_EQ(errorOf(kj::mv(created)).find("internal: "), 0u);
}

TEST_F(ClientsTest, helperClientFailsEverythingWhenTheHelperIsGone) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto running = client.run();
  auto pending = create(client);
  sockets.right = nullptr;
  bool rejected = false;
  running.then([]() {}, [&](kj::Exception&&) { rejected = true; }).wait(scope);
  EXPECT_TRUE(rejected);
  EXPECT_EQ(errorOf(kj::mv(pending)).find("client: the privileged helper has gone"), 0u);
  auto later = create(client);
  EXPECT_EQ(errorOf(kj::mv(later)).find("client: the privileged helper has gone"), 0u);
}

TEST_F(ClientsTest, helperClientFailsWhenTheGreetingIsRefused) {
  HelperClient client(port, port.getTimer(), kj::mv(sockets.left));
  auto running = client.run();
  reply(receiveFromHelperClient(), [](auto root) { root.setRefused("version 1, not 2"); });
  bool rejected = false;
  running.then([]() {}, [&](kj::Exception&&) { rejected = true; }).wait(scope);
  EXPECT_TRUE(rejected);
}

TEST_F(ClientsTest, clientsQueueWhatTheSocketDoesNotTake) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  constexpr uint32_t COUNT = 5000;
  for (uint32_t i = 1; i <= COUNT; ++i)
    client.forget(i);
  setNonblocking(sockets.right);
  for (uint32_t i = 1; i <= COUNT;) {
    KJ_IF_MAYBE (packet, receivePacket(sockets.right)) {
      ASSERT_EQ(packet->getRoot<schema::WshdRequest>().getForget(), i);
      ++i;
    } else {
      port.getTimer().afterDelay(1 * kj::MILLISECONDS).wait(scope);
    }
  }
}

// --- packets that wait, and then cannot be sent

class FullLinkTest : public ClientsTest {
 protected:
  ~FullLinkTest() noexcept override = default;

  PacketLink link{port, port.getTimer(), kj::mv(sockets.left)};

  kj::Own<capnp::MallocMessageBuilder> message(size_t scriptBytes) {
    auto result = kj::heap<capnp::MallocMessageBuilder>();
    result->initRoot<schema::WshdRequest>().initSpawn().initHome(scriptBytes);
    return result;
  }

  // Until packets wait: each takes a fourth of the largest one's room.
  void fill() {
    for (int i = 0; i < 64; ++i)
      link.send(message(MAX_PACKET_BYTES / 4));
  }

  size_t drain() {
    setNonblocking(sockets.right);
    size_t count = 0;
    for (int idle = 0; idle < 20;) {
      KJ_IF_MAYBE (packet, receivePacket(sockets.right)) {
        ++count;
        idle = 0;
      } else {
        port.getTimer().afterDelay(1 * kj::MILLISECONDS).wait(scope);
        ++idle;
      }
    }
    return count;
  }
};

TEST_F(FullLinkTest, refusesATooLargeMessageAtOnceAndSendsTheRest) {
  fill();
  EXPECT_ANY_THROW(link.send(message(MAX_PACKET_BYTES)));
  link.send(message(8));
  EXPECT_EQ(drain(), 65u);
}

TEST_F(FullLinkTest, isLostWhenAPacketThatWaitedCannotBeSent) {
  auto receiving = link.receive([](Packet) {});
  fill();
  Fd script = makeSealedMemfd("script", nullptr);
  // What waits has the lowest number that is free.
  int number = duplicate(script).get();
  int borrowed = script;
  link.send(message(8), kj::arrayPtr(&borrowed, 1));
  link.send(message(8));
  // sendmsg(2) fails with EBADF, as it does with ETOOMANYREFS when too many descriptors are on the
  // way: an error that is not of the peer.
  ASSERT_EQ(close(number), 0);
  EXPECT_EQ(drain(), 64u);
  ASSERT_EQ(dup2(sockets.right, number), number);  // for whoever owns the number
  ASSERT_TRUE(receiving.poll(scope));
  EXPECT_ANY_THROW(receiving.wait(scope));
}

TEST_F(FullLinkTest, readsWhatAPeerSaidBeforeItWentAlthoughPacketsWaited) {
  size_t received = 0;
  auto receiving = link.receive([&](Packet) { ++received; });
  fill();
  for (int i = 0; i < 3; ++i)
    wshdSays(0, nullptr, [](auto root) { root.initExited().setJobId(1); });
  sockets.right = nullptr;
  EXPECT_ANY_THROW(receiving.wait(scope));
  EXPECT_EQ(received, 3u);
}

TEST_F(ClientsTest, wshdClientSaysWhatToDoAboutAJobThatCannotStart) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  auto errorAt = [&](const char* step, int error) {
    auto spawning = client.spawn(start(5));
    auto packet = receive();
    wshdSays(packet.getRoot<schema::WshdRequest>().getSequence(), nullptr, [&](auto root) {
      auto failed = root.initFailed();
      failed.setStep(step);
      failed.setErrno(error);
    });
    return errorOf(kj::mv(spawning));
  };
  EXPECT_NE(errorAt("execve /bin/bash and /bin/sh", ENOENT).find("warden-rootfs check"),
            std::string::npos);
  EXPECT_NE(errorAt("fork", EAGAIN).find("privhelper.pids_limit"), std::string::npos);
  EXPECT_NE(errorAt("setrlimit nofile", EPERM).find("LimitNOFILE="), std::string::npos);
}

TEST_F(ClientsTest, wshdClientReportsExitsAndFailures) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  auto spawning = client.spawn(start(5));
  auto packet = receive();
  auto request = packet.getRoot<schema::WshdRequest>();
  ASSERT_TRUE(request.isSpawn());
  EXPECT_EQ(packet.fdCount(), 1u);
  wshdSays(request.getSequence(), nullptr, [](auto root) {
    auto failed = root.initFailed();
    failed.setStep("chdir");
    failed.setErrno(ENOENT);
  });
  EXPECT_EQ(errorOf(kj::mv(spawning)),
            "client: could not start the job: chdir: No such file or directory");
  wshdSays(0, nullptr, [](auto root) {
    auto job = root.initExited();
    job.setJobId(5);
    job.setExitCode(3);
  });
  wshdSays(0, nullptr, [](auto root) {
    auto job = root.initExited();
    job.setJobId(6);
    job.setSignal(9);
  });
  while (exits.size() < 2)
    port.getTimer().afterDelay(1 * kj::MILLISECONDS).wait(scope);
  EXPECT_EQ(exits[0], std::make_pair(5u, 3u));
  EXPECT_EQ(exits[1], std::make_pair(6u, 255u));
}

TEST_F(ClientsTest, wshdClientReportsTheExitThatComesWithTheReply) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  auto spawning = client.spawn(start(5));
  auto packet = receive();
  int ends[2];
  KJ_SYSCALL(pipe2(ends, O_CLOEXEC));
  Fd readEnd(ends[0]), writeEnd(ends[1]);
  int fds[] = {readEnd, readEnd};
  wshdSays(packet.getRoot<schema::WshdRequest>().getSequence(), fds, [](auto root) {
    root.setSpawned(2);
    auto job = root.initEnded();
    job.setJobId(5);
    job.setExitCode(3);
  });
  spawning.wait(scope);
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0], std::make_pair(5u, 3u));
}

TEST_F(ClientsTest, wshdClientEndsWhenTheReplySaysThatTheEndedJobRuns) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run();
  auto spawning = client.spawn(start(5));
  auto packet = receive();
  wshdSays(packet.getRoot<schema::WshdRequest>().getSequence(), nullptr, [](auto root) {
    root.setSpawned(2);
    root.initEnded().setRunning();
  });
  bool rejected = false;
  running.then([]() {}, [&](kj::Exception&&) { rejected = true; }).wait(scope);
  EXPECT_TRUE(rejected);
  EXPECT_TRUE(exits.empty());
}

TEST_F(ClientsTest, wshdClientRefusesADescriptorThatIsNoPipe) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run().eagerlyEvaluate([](kj::Exception&&) {});
  auto spawning = client.spawn(start(5));
  auto packet = receive();
  int fds[] = {packet.takeFd(0).release(), 0};
  fds[1] = fds[0];
  wshdSays(packet.getRoot<schema::WshdRequest>().getSequence(), fds,
           [](auto root) { root.setSpawned(2); });
  EXPECT_EQ(errorOf(kj::mv(spawning)).find("internal: "), 0u);
  close(fds[0]);
}

TEST_F(ClientsTest, wshdClientEndsOnNonsense) {
  WshdClient client(port, port.getTimer(), kj::mv(sockets.left), *this);
  auto running = client.run();
  auto spawning = client.spawn(start(5));
  ASSERT_EQ(send(sockets.right, "garbage", 7, 0), 7);
  bool rejected = false;
  running.then([]() {}, [&](kj::Exception&&) { rejected = true; }).wait(scope);
  EXPECT_TRUE(rejected);
  EXPECT_EQ(errorOf(kj::mv(spawning)).find("client: the connection to the container's first"), 0u);
  client.forget(5);  // without effect, and without an error
}

}  // namespace
}  // namespace warden::frontend
