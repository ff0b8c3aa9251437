// Runs inside a container and tries one thing with the network, as a job may. Exit status: 0 it
// worked, 1 it did not (the reason is printed), 2 wrong usage. Static, so that it runs in any
// image.
//
//   connect ADDRESS PORT [FROM]  a tcp connection, from address FROM where given; prints what is
//   sent
//                                over it at once
//   send ADDRESS PORT TEXT       a udp packet; works when the kernel takes it
//   ping ADDRESS                 an unprivileged ping (icmp(7)); works when it is answered
//   listen PORT                  binds tcp and udp

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKED = 0, FAILED = 1, USAGE = 2, PATIENCE_MS = 250 };

static int failed(const char* step) {
  printf("%s: %s\n", step, strerror(errno));
  return FAILED;
}

static struct sockaddr_in address_of(const char* address, const char* port) {
  struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  if (inet_pton(AF_INET, address, &result.sin_addr) != 1) exit(USAGE);
  return result;
}

static int readable(int fd) {
  struct pollfd polled = {.fd = fd, .events = POLLIN};
  return poll(&polled, 1, PATIENCE_MS) == 1;
}

static int try_connect(const char* address, const char* port, const char* from) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("socket");
  if (from != NULL) {
    struct sockaddr_in local = address_of(from, "0");
    if (bind(fd, (struct sockaddr*)&local, sizeof(local)) != 0) return failed("bind");
  }
  struct sockaddr_in peer = address_of(address, port);
  if (connect(fd, (struct sockaddr*)&peer, sizeof(peer)) != 0 && errno != EINPROGRESS) {
    return failed("connect");
  }
  struct pollfd polled = {.fd = fd, .events = POLLOUT};
  if (poll(&polled, 1, PATIENCE_MS) != 1) {
    puts("connect: no answer");
    return FAILED;
  }
  socklen_t size = sizeof(errno);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &size) != 0 || errno != 0) {
    return failed("connect");
  }
  char text[256];
  ssize_t n = readable(fd) ? read(fd, text, sizeof(text)) : 0;
  if (n > 0) fwrite(text, 1, n, stdout);
  return WORKED;
}

static int try_send(const char* address, const char* port, const char* text) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  int on = 1;
  if (fd < 0) return failed("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) != 0) return failed("SO_BROADCAST");
  struct sockaddr_in peer = address_of(address, port);
  if (sendto(fd, text, strlen(text), 0, (struct sockaddr*)&peer, sizeof(peer)) < 0) {
    return failed("sendto");
  }
  return WORKED;
}

static int try_ping(const char* address) {
  int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  if (fd < 0) return failed("socket");
  struct sockaddr_in peer = address_of(address, "0");
  struct icmphdr echo = {.type = ICMP_ECHO, .un.echo.sequence = htons(1)};
  if (sendto(fd, &echo, sizeof(echo), 0, (struct sockaddr*)&peer, sizeof(peer)) < 0) {
    return failed("sendto");
  }
  if (readable(fd)) {
    if (recv(fd, &echo, sizeof(echo), 0) == sizeof(echo) && echo.type == ICMP_ECHOREPLY) {
      return WORKED;
    }
    return failed("recv");
  }
  puts("ping: no answer");
  return FAILED;
}

static int try_listen(const char* port) {
  static const int TYPES[] = {SOCK_STREAM, SOCK_DGRAM};
  struct sockaddr_in local = address_of("0.0.0.0", port);
  for (int i = 0; i < 2; ++i) {
    int fd = socket(AF_INET, TYPES[i], 0);
    if (fd < 0) return failed("socket");
    if (bind(fd, (struct sockaddr*)&local, sizeof(local)) != 0) return failed("bind");
    if (TYPES[i] == SOCK_STREAM && listen(fd, 1) != 0) return failed("listen");
  }
  return WORKED;
}

int main(int argc, char** argv) {
  if (argc >= 4 && strcmp(argv[1], "connect") == 0) {
    return try_connect(argv[2], argv[3], argc > 4 ? argv[4] : NULL);
  }
  if (argc == 5 && strcmp(argv[1], "send") == 0) return try_send(argv[2], argv[3], argv[4]);
  if (argc == 3 && strcmp(argv[1], "ping") == 0) return try_ping(argv[2]);
  if (argc == 3 && strcmp(argv[1], "listen") == 0) return try_listen(argv[2]);
  fputs(
      "usage: connect ADDRESS PORT [FROM] | send ADDRESS PORT TEXT | ping ADDRESS | listen PORT\n",
      stderr);
  return USAGE;
}
