#pragma once
// What the parts of warden-probe share; probe.c describes the program.

enum { REFUSED = 0, WORKED = 1, NOT_ATTEMPTED = 2 };

struct attack {
  const char* name;
  int (*run)(const char* argument);
};

// Each ends with an entry without a name.
extern const struct attack
    KERNEL_ATTACKS[];  // system calls that change or reveal the kernel's state
extern const struct attack NAMESPACE_ATTACKS[];  // leaving, or making, namespaces; other processes
extern const struct attack FILE_ATTACKS[];       // files, devices and descriptors
extern const struct attack NETWORK_ATTACKS[];    // addresses, routes, sources that are not ours
extern const struct attack HOST_ATTACKS[];       // programs that the host's kernel runs
extern const struct attack JOINING_ATTACKS[];    // processes on their way into the container

int refused(const char* what);
int refused_because(const char* reason);
int worked(const char* what);
int not_attempted(const char* what);
// Print, with errno where it says why, and return the exit status. not_attempted is for what the
// test itself lacks, not for what the container lacks: what is not there cannot be attacked.

int denied(long result, const char* what);
// Judges a system call's result: refused for want of permission (EPERM, EACCES) or of the call
// (ENOSYS); any other result worked.
