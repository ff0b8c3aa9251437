// Feeds each file of the corpus directories it is given to the fuzz target: what a fuzzer once
// found is a unit test from then on.

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  size_t count = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
      // Named first, so that a crash shows its input.
      printf("%s\n", entry.path().c_str());
      fflush(stdout);
      // An exact copy, so that reading past its end is found by the sanitizers.
      std::vector<uint8_t> bytes(content.begin(), content.end());
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      ++count;
    }
  }
  printf("%zu inputs replayed\n", count);
  return count == 0 ? 1 : 0;
}
