// Runs inside a container and tries one attack, named by its first argument. Exit status: 0 the
// kernel refused (the reason is printed), 1 the attack worked, 2 it could not be attempted. Static,
// so that it runs in any image. The attacks are in probe-*.c; each runs in a child, because a
// filter may kill.

#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct attack* const TABLES[] = {KERNEL_ATTACKS,  NAMESPACE_ATTACKS, FILE_ATTACKS,
                                              NETWORK_ATTACKS, HOST_ATTACKS,      JOINING_ATTACKS};

int refused(const char* what) {
  printf("refused: %s: %s\n", what, strerror(errno));
  return REFUSED;
}

int refused_because(const char* reason) {
  printf("refused: %s\n", reason);
  return REFUSED;
}

int worked(const char* what) {
  printf("WORKED: %s\n", what);
  return WORKED;
}

int not_attempted(const char* what) {
  printf("not attempted: %s: %s\n", what, strerror(errno));
  return NOT_ATTEMPTED;
}

int denied(long result, const char* what) {
  if (result >= 0) return worked(what);
  // Anything else means that the kernel looked at the arguments, which is past the point of
  // refusal.
  if (errno == EPERM || errno == EACCES || errno == ENOSYS) return refused(what);
  printf("past the permission check (%s): ", strerror(errno));
  return worked(what);
}

static const struct attack* find(const char* name) {
  for (size_t t = 0; t < sizeof(TABLES) / sizeof(TABLES[0]); ++t) {
    for (const struct attack* a = TABLES[t]; a->name != NULL; ++a) {
      if (strcmp(a->name, name) == 0) return a;
    }
  }
  return NULL;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    for (size_t t = 0; t < sizeof(TABLES) / sizeof(TABLES[0]); ++t) {
      for (const struct attack* a = TABLES[t]; a->name != NULL; ++a)
        puts(a->name);
    }
    return 0;
  }
  const struct attack* attack = find(argv[1]);
  if (attack == NULL) {
    printf("no such attack: %s\n", argv[1]);
    return NOT_ATTEMPTED;
  }
  fflush(stdout);
  pid_t child = fork();
  if (child < 0) return not_attempted("fork");
  if (child == 0) {
    int result = attack->run(argc > 2 ? argv[2] : "");
    fflush(stdout);
    _exit(result);
  }
  int status;
  if (waitpid(child, &status, 0) != child) return not_attempted("waitpid");
  if (WIFSIGNALED(status)) {
    printf("refused: killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    return REFUSED;
  }
  return WEXITSTATUS(status);
}
