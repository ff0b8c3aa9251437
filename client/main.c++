#include "client/command-line.h"

int main(int argc, char** argv) {
  return warden::client::commandLine(argc, argv);
}
