#pragma once
// A trail in a directory of its own.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base-testing.h"
#include "base/audit-trail.h"
#include "base/audit-verify.h"

namespace warden::test {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uint64_t NEVER = uint64_t(1) << 40;

inline std::string contentOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline void setContent(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

inline std::vector<std::string> linesOf(const std::string& path) {
  std::vector<std::string> lines;
  std::istringstream in(contentOf(path));
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

inline void setLines(const std::string& path, const std::vector<std::string>& lines) {
  std::string text;
  for (auto& line : lines)
    text += line + "\n";
  setContent(path, text);
}

inline std::string told(const AuditReport& report) {
  std::string text;
  for (auto& finding : report.findings) {
    text += finding.file + ":" + std::to_string(finding.line) + ": " + finding.what + "\n";
  }
  return text;
}

class AuditTrailTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory;
  std::string path = directory.path + "/trail";

  AuditTrail open(uint64_t rotateBytes = NEVER, uint32_t keep = 5) {
    int raw = ::open(directory.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return AuditTrail(Fd(raw), "trail", rotateBytes, keep);
  }

  void write(int count, uint64_t rotateBytes = NEVER, uint32_t keep = 5) {
    AuditTrail trail = open(rotateBytes, keep);
    for (int i = 0; i < count; ++i)
      ASSERT_TRUE(trail.append({{"request", "create"}, {"handle", "h" + std::to_string(i)}}));
  }

  std::string findings(bool fromOldest = false) { return told(verifyAuditTrail(path, fromOldest)); }
};

}  // namespace warden::test
