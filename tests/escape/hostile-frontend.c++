// Stands in for warden-frontend in tests of the helper: whoever connects to the server's socket
// gets the connection with the helper, the server's end of its own connection and the connection
// for the audit trail (SCM_RIGHTS), and is then the frontend. The process itself only waits.
// Its end would be the end of the connection with the helper, also for those who hold it already.

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

int optionValue(int argc, char** argv, const char* name) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (strcmp(argv[i], name) == 0) return atoi(argv[i + 1]);
  }
  _exit(2);
}

void handOver(int connection, int helper, int records) {
  int fds[] = {helper, connection, records};
  union {
    cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(fds))];
  } control{};
  char byte = 'h';
  iovec vector{&byte, 1};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes;
  header.msg_controllen = sizeof(control.bytes);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(fds));
  memcpy(CMSG_DATA(c), fds, sizeof(fds));
  if (sendmsg(connection, &header, MSG_NOSIGNAL) == 1) return;
  // Who has connected may have left before it was accepted.
  if (errno == EPIPE || errno == ECONNRESET) return;
  dprintf(STDERR_FILENO, "warden-hostile-frontend: sendmsg: %s\n", strerror(errno));
  _exit(3);
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGTERM, SIG_DFL);
  int helper = optionValue(argc, argv, "--helper-fd");
  int listener = optionValue(argc, argv, "--listen-fd");
  int records = optionValue(argc, argv, "--audit-fd");
  for (;;) {
    pollfd polled[] = {{listener, POLLIN, 0}, {helper, 0, 0}};
    if (poll(polled, 2, -1) < 0) continue;
    // As every frontend, it ends with the helper, and makes room for the next.
    if (polled[1].revents != 0) _exit(0);
    int connection = accept(listener, nullptr, nullptr);
    if (connection < 0) continue;
    handOver(connection, helper, records);
    close(connection);
  }
}
