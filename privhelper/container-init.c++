#include "privhelper/container-init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "privhelper/apparmor.h"
#include "privhelper/container-init-steps.h"
#include "privhelper/links.h"
#include "privhelper/step.h"
#include "schema/launcher.capnp.h"

namespace warden::privhelper {

int check(long result) {
  if (result < 0) throw InitError(errno);
  return result;
}

Packet receiveSetup(Init& init) {
  KJ_IF_MAYBE (packet, receivePacket(init.context.setup)) {
    init.faultAt = packet->getRoot<schema::SetupMessage>().getFaultAt();
    return kj::mv(*packet);
  }
  throw InitError(EPROTO);
}

namespace {

// What wshd itself uses (wshd/init.c++). The others, of a profile (base/profile.h), are there for
// privileged jobs.
constexpr uint64_t WSHD_CAPABILITIES = uint64_t(1) << CAP_CHOWN | uint64_t(1) << CAP_KILL |
                                       uint64_t(1) << CAP_SETGID | uint64_t(1) << CAP_SETUID |
                                       uint64_t(1) << CAP_SETPCAP;

// The broker sends the cgroups' files first, while it prepares the rest. Joining before anything
// else means that whatever follows is accounted to the container.
void joinCgroups(Init& init) {
  Packet packet = receiveSetup(init);
  for (size_t i = 0; i < packet.fdCount(); ++i)
    check(write(packet.takeFd(i), "0", 1));
  // The cgroup namespace's root is where its first process is: hence after joining.
  check(unshare(CLONE_NEWCGROUP));
}

// Arrives when the id maps are written; until then this process is nobody.
void receiveBuild(Init& init) {
  Packet packet = receiveSetup(init);
  auto message = packet.getRoot<schema::SetupMessage>();
  if (!message.isBuild() || packet.fdCount() != 4) throw InitError(EPROTO);
  auto build = message.getBuild();
  init.hostname = kj::str(build.getHostname());
  init.vcapGid = build.getVcapGid();
  init.interface = kj::str(build.getInterface());
  init.address = build.getAddress();
  init.gateway = build.getGateway();
  init.allowIpv6 = build.getAllowIpv6();
  init.privilegedJobs = build.getPrivilegedJobs();
  init.bindMounts = build.getBindMounts();
  init.capabilities = init.privilegedJobs ? build.getCapabilities() : 0;
  init.apparmor = kj::str(build.getApparmor());
  init.overlay = packet.takeFd(0);
  init.devices = packet.takeFd(1);
  init.connection = packet.takeFd(2);
  init.listener = packet.takeFd(3);
}

void becomeContainerRoot(Init&) {
  check(setgroups(0, nullptr));
  check(setresgid(0, 0, 0));
  check(setresuid(0, 0, 0));
}

// A session of its own: signals to the server's process group must not reach the container, and
// there is no terminal to push input into.
void leaveSession(Init&) {
  check(setsid());
  sigset_t none;
  sigemptyset(&none);
  check(sigprocmask(SIG_SETMASK, &none, nullptr));
  for (int signal = 1; signal < NSIG; ++signal)
    ::signal(signal, SIG_DFL);
  umask(022);
}

void writeSysctl(Init& init, kj::StringPtr path, kj::StringPtr value) {
  Fd file(check(openat(init.sysctls, path.cStr(), O_WRONLY | O_CLOEXEC)));
  check(write(file, value.begin(), value.size()));
}

bool hasIpv6(Init& init) {
  return faccessat(init.sysctls, "ipv6", F_OK, 0) == 0;
}

// For the interface that is about to come, and all later ones.
void setNetworkParameters(Init& init) {
  init.sysctls = Fd(check(open("proc/sys/net", O_PATH | O_DIRECTORY | O_CLOEXEC)));
  writeSysctl(init, "ipv4/ip_unprivileged_port_start", "0");
  // Everybody: the kernel compares host ids, of which vcap's is below those of all others in the
  // container (base/config.c++ holds the pools to that).
  writeSysctl(init, "ipv4/ping_group_range", kj::str(init.vcapGid, " 65535"));
  if (!init.allowIpv6 && hasIpv6(init)) writeSysctl(init, "ipv6/conf/default/disable_ipv6", "1");
}

void setHostname(Init& init) {
  check(sethostname(init.hostname.cStr(), init.hostname.size()));
}

void configureNetwork(Init& init) {
  Packet packet = receiveSetup(init);
  if (!packet.getRoot<schema::SetupMessage>().isConnected()) throw InitError(EPROTO);
  // Loopback keeps IPv6, which it shares with nobody.
  if (!init.allowIpv6 && hasIpv6(init)) {
    writeSysctl(init, kj::str("ipv6/conf/", init.interface, "/disable_ipv6"), "1");
  }
  init.sysctls = nullptr;
  NetlinkSocket socket(NETLINK_ROUTE);
  NetlinkRequest request;
  addLoopback(request);
  addContainerEnd(request, PEER_INDEX, init.address, init.gateway);
  try {
    socket.transact("configure network", request);
  } catch (const StepError& e) {
    throw InitError(e.error());
  }
}

// 0-2 the container's /dev/null, 3 and 4 as wshd expects them; all else ends with exec.
void arrangeDescriptors(Init& init) {
  // Above the places that are about to be filled.
  Fd connection(check(fcntl(init.connection, F_DUPFD_CLOEXEC, 16)));
  Fd listener(check(fcntl(init.listener, F_DUPFD_CLOEXEC, 16)));
  Fd setup(check(fcntl(init.context.setup, F_DUPFD_CLOEXEC, 16)));
  int program = check(fcntl(init.context.wshdProgram, F_DUPFD_CLOEXEC, 16));
  Fd null(check(open("/dev/null", O_RDWR | O_CLOEXEC)));
  Fd highNull(check(fcntl(null, F_DUPFD_CLOEXEC, 16)));
  init.context.setup = kj::mv(setup);
  init.context.wshdProgram = program;
  for (int fd = 0; fd <= 2; ++fd)
    check(dup2(highNull, fd));
  check(dup2(connection, 3));
  check(dup2(listener, 4));
  check(close_range(5, ~0u, CLOSE_RANGE_CLOEXEC));
}

// From the exec of wshd on. Asked for before the filter is there, and where a failure has a step.
void enterAppArmor(Init& init) {
  if (init.apparmor.size() == 0) return;
  if (int error = confineNextExec(init.apparmor)) throw InitError(error);
}

void limitContainerCapabilities(Init& init) {
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; ++cap) {
    uint64_t kept = WSHD_CAPABILITIES | init.capabilities;
    if ((kept >> cap & 1) == 0) check(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
  }
}

// Last: the filter forbids much of what the steps before do.
void installFilter(Init& init) {
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  sock_fprog program{static_cast<unsigned short>(init.context.filter.size()),
                     const_cast<sock_filter*>(init.context.filter.begin())};
  check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

void execWshd(Init& init) {
  char name[] = "wshd";
  char unprivileged[] = "--no-privileged-jobs";
  auto privileged = kj::str("--job-capabilities=", kj::hex(init.capabilities));
  char* const arguments[] = {name, init.privilegedJobs ? privileged.begin() : unprivileged,
                             nullptr};
  char* const environment[] = {nullptr};
  check(syscall(SYS_execveat, init.context.wshdProgram, "", arguments, environment, AT_EMPTY_PATH));
}

struct InitStep {
  const char* name;
  void (*run)(Init&);
};

constexpr InitStep STEPS[] = {
    {"join cgroups", joinCgroups},
    {"receive orders", receiveBuild},
    {"become the container's root", becomeContainerRoot},
    {"leave the server's session", leaveSession},
    {"attach root file system", attachRoot},
    {"mount /dev", mountDev},
    {"mount /proc", mountProc},
    {"set network parameters", setNetworkParameters},
    {"mount /sys", mountSys},
    {"mask paths", maskPaths},
    {"make paths read-only", protectPaths},
    {"pivot root", pivotRoot},
    {"mount bind mounts", mountBinds},
    {"set host name", setHostname},
    {"configure network", configureNetwork},
    {"arrange descriptors", arrangeDescriptors},
    {"enter AppArmor profile", enterAppArmor},
    {"limit capabilities", limitContainerCapabilities},
    {"install system call filter", installFilter},
    {"execute wshd", execWshd},
};

void report(int setup, const char* step, int error, kj::StringPtr detail = nullptr) {
  // A broker that is gone needs no report.
  kj::runCatchingExceptions([&] {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<schema::StepReport>();
    root.setStep(step);
    root.setErrno(error);
    root.setDetail(detail);
    sendPacket(setup, message);
  });
}

#ifdef WARDEN_FAULTS
void failOrHang() {
  // Process 1 of a pid namespace takes no SIGSTOP from within: it is late instead.
  constexpr int HANGING_MS = 3000;
  if (!childHangs()) throw InitError(ECANCELED);
  poll(nullptr, 0, HANGING_MS);
}
#endif

void runStep(Init& init, const InitStep& step, [[maybe_unused]] uint32_t number) {
  try {
#ifdef WARDEN_FAULTS
    // With all that the step did; but before the last, which does not return.
    bool last = number == kj::size(STEPS);
    if (init.faultAt == number && last) failOrHang();
    step.run(init);
    if (init.faultAt == number) failOrHang();
#else
    step.run(init);
#endif
  } catch (const InitError& e) {
    report(init.context.setup, step.name, e.error, e.detail);
    _exit(1);
  } catch (...) {
    report(init.context.setup, step.name, 0);
    _exit(1);
  }
}

}  // namespace

void runContainerInit(InitContext context) {
  Init init{kj::mv(context)};
  uint32_t number = 0;
  for (const InitStep& step : STEPS)
    runStep(init, step, ++number);
  _exit(1);
}

kj::Array<kj::StringPtr> containerInitSteps() {
  auto names = kj::heapArrayBuilder<kj::StringPtr>(kj::size(STEPS));
  for (const InitStep& step : STEPS)
    names.add(step.name);
  return names.finish();
}

}  // namespace warden::privhelper
