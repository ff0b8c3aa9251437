// What the helper does with the bytes that a frontend which an attacker has taken over sends for
// the audit trail: a request is one line, whoever asked is what the helper knows itself or is
// marked as the frontend's word, and all else writes nothing. The first byte says which descriptors
// come along; KNOWN in the packet stands for the number of the one connection that there is.

#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/audit-chain.h"
#include "base/socket-peer.h"
#include "base/unix-address.h"
#include "privhelper/client-facts.h"

using namespace warden;
using namespace warden::privhelper;

namespace {

constexpr char KNOWN[] = "KNOWNONE";

void require(bool condition) {
  if (!condition) abort();
}

Fd unixSocket() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return Fd(raw);
}

// Answers as privhelper/observer.c++ does, without the filter, under which sanitizers do not work.
Fd observerWithoutFilter() {
  SocketPair pair = makePacketPair();
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid != 0) return kj::mv(pair.left);
  pair.left = nullptr;
  int32_t number;
  while (read(pair.right, &number, sizeof(number)) == sizeof(number)) {
    char answer[1024] = {'a'};
    ssize_t n = readlink(kj::str("/proc/", number, "/exe").cStr(), answer + 1, sizeof(answer) - 1);
    if (write(pair.right, answer, 1 + kj::max(n, ssize_t(0))) < 0) break;
  }
  _exit(0);
}

struct Helper {
  // With one client: this process.

  Fd listener = unixSocket();
  Fd client = unixSocket();
  Fd accepted;
  Fd stranger = unixSocket();
  Fd output;
  kj::Maybe<ListenerIdentity> identity;
  kj::Own<ClientFacts> facts;
  kj::Own<AuditLog> log;

  Helper() {
    Fd observer = observerWithoutFilter();
    char name[] = "/tmp/warden-fuzz-record-XXXXXX";
    KJ_REQUIRE(mkdtemp(name) != nullptr);
    std::string path = std::string(name) + "/socket";
    UnixAddress address(path);
    KJ_SYSCALL(bind(listener, address.get(), address.size()));
    KJ_SYSCALL(listen(listener, 1));
    KJ_SYSCALL(connect(client, address.get(), address.size()));
    int raw;
    KJ_SYSCALL(raw = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    accepted = Fd(raw);
    unlink(path.c_str());
    rmdir(name);
    KJ_SYSCALL(raw = memfd_create("records", MFD_CLOEXEC));
    output = Fd(raw);
    log = kj::heap<AuditLog>(duplicate(output));
    facts = kj::heap<ClientFacts>(identity.emplace(listener.get()), Observer(kj::mv(observer)));
    introduce();
  }

  void introduce() { facts->of(accepted, readPeerCredentials(accepted)); }

  // What has been written since it was asked last.
  std::string written() {
    off_t size = lseek(output, 0, SEEK_END);
    std::string text(size, '\0');
    require(pread(output, text.data(), size, 0) == size);
    require(ftruncate(output, 0) == 0 && lseek(output, 0, SEEK_SET) == 0);
    return text;
  }

  kj::Vector<Fd> descriptors(uint8_t which) {
    kj::Vector<Fd> fds;
    if ((which & 1) != 0) fds.add(duplicate(accepted));
    if ((which & 2) != 0) fds.add(duplicate(stranger));
    return fds;
  }
};

void checkLine(const std::string& text, schema::RequestRecord::Reader request, uint64_t known) {
  require(!text.empty() && text.find('\n') == text.size() - 1);
  for (char c : text.substr(0, text.size() - 1))
    require(c >= ' ' && c <= '~');
  auto line = AuditLine::parse(std::string_view(text).substr(0, text.size() - 1));
  require(line.has_value());
  auto& record = line->object;
  require(record["from"] == "frontend");
  auto& peer = record["peer"];
  bool attested = !peer.contains("attested");
  require(attested == (request.getConnection() == known));
  require(peer["pid"] == (attested ? getpid() : request.getPid()));
  require(peer["uid"] == (attested ? geteuid() : request.getUid()));
  require(peer.contains("executable") == attested);
}

void receive(Helper& helper, kj::ArrayPtr<const kj::byte> bytes, uint8_t which) {
  uint64_t known = cookieOf(helper.accepted);
  kj::Maybe<Packet> decoded;
  kj::Maybe<kj::Exception> refusal = kj::runCatchingExceptions([&] {
    auto& packet = decoded.emplace(decodePacket(bytes, helper.descriptors(which)));
    helper.facts->receive(packet, *helper.log);
  });
  std::string text = helper.written();
  KJ_IF_MAYBE (packet, decoded) {
    if (refusal == nullptr) {
      auto message = packet->getRoot<schema::AuditMessage>();
      if (message.isRequest()) return checkLine(text, message.getRequest(), known);
      // A socket that is introduced is the client's.
      if (message.isClient()) require((which & 1) != 0);
    }
  }
  require(text.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (geteuid() != 0) {
    static bool said = fputs("needs root: who has connected a socket\n", stderr) >= 0;
    return said ? 0 : 1;
  }
  static Helper& helper = *new Helper;
  if (size == 0) return 0;
  auto bytes = kj::heapArray(data + 1, size - 1);
  uint64_t known = cookieOf(helper.accepted);
  if (void* place = memmem(bytes.begin(), bytes.size(), KNOWN, strlen(KNOWN))) {
    memcpy(place, &known, sizeof(known));
  }
  receive(helper, bytes, data[0]);
  helper.introduce();
  return 0;
}
