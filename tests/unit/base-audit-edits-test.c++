// That each change to a trail is found, and what anybody wrote into it stays in its line.

#include <random>

#include "base-audit-testing.h"

namespace warden::test {
namespace {

TEST_F(AuditTrailTest, hostileBytesStayOneLineOfJson) {
  std::mt19937 random(7);
  std::vector<std::string> hostile = {std::string("a\n{\"seq\":1}\n"),
                                      std::string("\0\xff\xfe", 3),
                                      "\"},{\"",
                                      "\xe2\x80\xa8\r\x1b[2J",
                                      std::string(100000, 'x'),
                                      std::string(1023, 'x') + "\xc3\xa4\xc3\xa4"};
  for (int i = 0; i < 200; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes)
      c = static_cast<char>(random());
    hostile.push_back(bytes);
  }
  {
    AuditTrail trail = open();
    for (auto& bytes : hostile)
      ASSERT_TRUE(trail.append({{"handle", auditText(bytes)}, {"raw", bytes}}));
  }
  auto lines = linesOf(path);
  ASSERT_EQ(lines.size(), hostile.size());
  for (auto& line : lines) {
    EXPECT_TRUE(Json::parse(line, nullptr, false).is_object());
    for (unsigned char c : line)
      ASSERT_TRUE(c >= 0x20 && c < 0x7f);
  }
  EXPECT_EQ(Json::parse(lines[1])["handle"]["base64"], "AP/+");
  EXPECT_EQ(Json::parse(lines[4])["message"], "a record was too long");
  EXPECT_EQ(Json::parse(lines[5])["handle"]["bytes"], 1027);
  EXPECT_EQ(findings(), "");
}

// Each kind of tampering, at random places of a trail of a thousand lines in several files.
TEST_F(AuditTrailTest, everyRandomEditIsFound) {
  write(1000, 50000, 10);
  std::map<std::string, std::string> original;
  auto files = auditFiles(path);
  ASSERT_GE(files.size(), 3u);
  for (auto& file : files)
    original[file] = contentOf(file);
  ASSERT_EQ(findings(), "");

  std::mt19937 random(42);
  auto pick = [&](size_t bound) { return random() % bound; };
  for (int round = 0; round < 240; ++round) {
    auto& file = files[pick(files.size())];
    auto lines = linesOf(file);
    size_t at = pick(lines.size());
    if (round % 20 < 2) at = round % 20 == 0 ? 0 : lines.size() - 1;
    switch (round % 8) {
      case 0:
        lines.erase(lines.begin() + at);
        break;
      case 1:
        lines[at][pick(lines[at].size())] ^= static_cast<char>(1 << pick(7));
        break;
      case 2:
        std::swap(lines[at], lines[at == 0 ? 1 : at - 1]);
        break;
      case 3:
        lines.insert(lines.begin() + at, lines[pick(lines.size())]);
        break;
      case 4:
        lines[at].resize(pick(lines[at].size()));
        break;
      case 5:
        lines.push_back(lines[pick(lines.size())]);
        break;
      case 6:
        lines[at] += " ";
        break;
      case 7:
        lines.insert(lines.begin() + at, round % 16 == 7 ? "" : "no record");
        break;
    }
    setLines(file, lines);
    EXPECT_NE(findings(), "") << "round " << round << ", " << file << ":" << at + 1;
    setContent(file, original[file]);
  }
  for (int round = 0; round < 40; ++round) {
    auto& file = files[pick(files.size())];
    setContent(file, original[file].substr(0, pick(original[file].size())));
    EXPECT_NE(findings(), "") << "cut " << round << ", " << file;
    setContent(file, original[file]);
  }
  for (auto& file : files) {
    fs::remove(file);
    EXPECT_NE(findings(), "") << file << " removed";
    setContent(file, original[file]);
  }
  EXPECT_EQ(findings(), "");
}

TEST_F(AuditTrailTest, findingsSayWhereAndWhat) {
  write(10);
  auto lines = linesOf(path);
  auto edited = lines;
  edited[4].replace(edited[4].find("create"), 6, "CREATE");
  setLines(path, edited);
  EXPECT_NE(findings().find("trail:5: the line was changed"), std::string::npos) << findings();
  edited = lines;
  edited.erase(edited.begin() + 4);
  setLines(path, edited);
  EXPECT_NE(findings().find("trail:5: records 5 to 5 are missing"), std::string::npos)
      << findings();
  edited = lines;
  edited.insert(edited.begin() + 7, lines[2]);
  setLines(path, edited);
  EXPECT_EQ(findings(), path + ":8: record 3 stands behind record 7: it was moved or put in\n");
}

}  // namespace
}  // namespace warden::test
