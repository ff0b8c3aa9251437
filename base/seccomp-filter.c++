#include "base/seccomp-filter.h"

#include <errno.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"

namespace warden {

namespace {

// libseccomp's functions return a negative errno.
void check(int result, const char* step, kj::StringPtr detail = "") {
  if (result < 0) KJ_FAIL_SYSCALL(step, -result, detail);
}

}  // namespace

SeccompFilter::SeccompFilter(uint32_t defaultAction) : context(seccomp_init(defaultAction)) {
  KJ_REQUIRE(context != nullptr, "seccomp_init failed", defaultAction);
  check(seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, defaultAction), "badarch");
  // The caller decides about no_new_privs.
  check(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_NNP, 0), "nnp");
  // A balanced tree instead of a list: cost is logarithmic in the number of rules.
  check(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
}

SeccompFilter& SeccompFilter::add(uint32_t action, const char* name,
                                  std::initializer_list<scmp_arg_cmp> conditions) {
  int number = seccomp_syscall_resolve_name(name);
  if (number == __NR_SCMP_ERROR || decided.count(number) > 0) return *this;
  check(
      seccomp_rule_add_array(context.get(), action, number, conditions.size(), conditions.begin()),
      "seccomp_rule_add", name);
  return *this;
}

SeccompFilter& SeccompFilter::allow(std::initializer_list<const char*> names) {
  for (const char* name : names)
    add(SCMP_ACT_ALLOW, name, {});
  return *this;
}

SeccompFilter& SeccompFilter::deny(int error, std::initializer_list<const char*> names) {
  for (const char* name : names)
    add(SCMP_ACT_ERRNO(error), name, {});
  return *this;
}

SeccompFilter& SeccompFilter::allowIf(const char* name,
                                      std::initializer_list<scmp_arg_cmp> conditions) {
  return add(SCMP_ACT_ALLOW, name, conditions);
}

SeccompFilter& SeccompFilter::denyIf(int error, const char* name,
                                     std::initializer_list<scmp_arg_cmp> conditions) {
  return add(SCMP_ACT_ERRNO(error), name, conditions);
}

SeccompFilter& SeccompFilter::decide(uint32_t action, const std::vector<std::string>& names) {
  for (auto& name : names) {
    int number = seccomp_syscall_resolve_name(name.c_str());
    KJ_REQUIRE(number != __NR_SCMP_ERROR, "no such system call", name.c_str());
    add(action, name.c_str(), {});
    decided.insert(number);
  }
  return *this;
}

SeccompFilter& SeccompFilter::logDenials() {
  check(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_LOG, 1), "log");
  return *this;
}

kj::Array<sock_filter> SeccompFilter::compile() const {
  int raw;
  KJ_SYSCALL(raw = memfd_create("seccomp-filter", MFD_CLOEXEC));
  Fd file(raw);
  check(seccomp_export_bpf(context.get(), file), "seccomp_export_bpf");
  KJ_SYSCALL(lseek(file, 0, SEEK_SET));
  auto bytes = readAll(file, 1 << 20);
  KJ_ASSERT(bytes.size() % sizeof(sock_filter) == 0);
  auto program = kj::heapArray<sock_filter>(bytes.size() / sizeof(sock_filter));
  memcpy(program.begin(), bytes.begin(), bytes.size());
  return program;
}

void SeccompFilter::install() const {
  check(seccomp_load(context.get()), "seccomp_load");
  KJ_ASSERT(seccompIsActive());
}

bool seccompIsActive() {
  return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2;
}

}  // namespace warden
