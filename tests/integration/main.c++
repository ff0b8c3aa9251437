// Server tests run as root or not at all: a test that silently skips protects nothing.

#include <gtest/gtest.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (geteuid() != 0) {
    fputs("these tests start a container server and must run as root\n", stderr);
    return 1;
  }
  return RUN_ALL_TESTS();
}
