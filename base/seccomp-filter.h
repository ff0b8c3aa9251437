#pragma once
// A system call filter (seccomp(2)), built with libseccomp: native ABI only, deny by default.

#include <kj/array.h>
#include <kj/string.h>
#include <linux/filter.h>
#include <seccomp.h>

#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace warden {

class SeccompFilter {
 public:
  explicit SeccompFilter(uint32_t defaultAction);
  // `defaultAction` (SCMP_ACT_*) also answers system calls of other ABIs (i386, x32).

  SeccompFilter& allow(std::initializer_list<const char*> names);
  SeccompFilter& deny(int error, std::initializer_list<const char*> names);
  // Names that this kernel's architecture or libseccomp does not know are passed over: what cannot
  // be called need not be decided.

  SeccompFilter& allowIf(const char* name, std::initializer_list<scmp_arg_cmp> conditions);
  SeccompFilter& denyIf(int error, const char* name,
                        std::initializer_list<scmp_arg_cmp> conditions);
  // Conditions on arguments, all of which must hold (SCMP_A0(...) and so on). For arguments that
  // the kernel reads as 32 bit, compare with SCMP_CMP_MASKED_EQ and a 32 bit mask.

  SeccompFilter& decide(uint32_t action, const std::vector<std::string>& names);
  // Settles these calls: what is said of them later, with or without conditions, is passed over.
  // Throws for a name that libseccomp does not know.

  SeccompFilter& logDenials();
  // What the installed filter denies goes to the kernel's log (seccomp(2),
  // SECCOMP_FILTER_FLAG_LOG), as far as /proc/sys/kernel/seccomp/actions_logged allows. Not part of
  // compile().

  kj::Array<sock_filter> compile() const;
  // The program, for installing after clone without further allocation.

  void install() const;
  // On the calling process (all threads). Needs no_new_privs or CAP_SYS_ADMIN.

 private:
  struct Release {
    void operator()(void* context) const { seccomp_release(context); }
  };
  std::unique_ptr<void, Release> context;
  std::set<int> decided;

  SeccompFilter& add(uint32_t action, const char* name,
                     std::initializer_list<scmp_arg_cmp> conditions);
};

bool seccompIsActive();
// True when the calling process is in filter mode (prctl(2), PR_GET_SECCOMP).

}  // namespace warden
