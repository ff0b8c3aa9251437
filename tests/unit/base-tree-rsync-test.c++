// Copies of random trees, compared with what rsync(1) makes of the same.

#include <grp.h>

#include <map>
#include <random>

#include "tests/unit/base-tree-testing.h"

namespace warden {
namespace {

constexpr int TREES = 200;
constexpr uid_t USER = 65534;

class RandomTree {
 public:
  explicit RandomTree(unsigned seed, bool privileged) : random(seed), privileged(privileged) {}

  void fill(const fs::path& directory, int depth) {
    int count = below(depth == 0 ? 8 : 5);
    for (int i = 0; i < count; ++i) {
      fs::path path = directory / name();
      struct stat status;
      if (lstat(path.c_str(), &status) == 0) continue;
      make(path, depth);
    }
  }

  void make(const fs::path& path, int depth) {
    int kind = below(10);
    if (kind < 4 && depth < 4) {
      KJ_SYSCALL(mkdir(path.c_str(), 0700));
      fill(path, depth + 1);
      KJ_SYSCALL(chmod(path.c_str(), mode() | 0500));
    } else if (kind == 4) {
      const char* targets[] = {"a", "..", "../b", "/nowhere", "\xff\xfe", "a/b/c"};
      fs::create_symlink(targets[below(6)], path);
    } else {
      makeFile(path);
    }
  }

 private:
  std::mt19937 random;
  bool privileged;
  std::vector<fs::path> files;

  int below(int end) { return random() % end; }

  std::string name() {
    static const std::string NAMES[] = {"a",
                                        "b",
                                        "c",
                                        "d",
                                        "e",
                                        "with space",
                                        "new\nline",
                                        "\xff\xfe\x80",
                                        "-r",
                                        "*",
                                        "ü",
                                        std::string(255, 'x'),
                                        std::string(120, '\xe4'),
                                        ".hidden",
                                        "\\x",
                                        "a=b"};
    return NAMES[below(std::size(NAMES))];
  }

  mode_t mode() {
    mode_t mode = random() & 07777;
    return privileged ? mode : mode | 0400;
  }

  void makeFile(const fs::path& path) {
    if (!files.empty() && below(8) == 0) {
      // A directory that has been closed, or another that is gone: then it is another file.
      if (link(files[below(files.size())].c_str(), path.c_str()) == 0) return;
    }
    Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    KJ_REQUIRE(file != nullptr);
    static const int SIZES[] = {0, 1, 511, 512, 513, 4096, 70000, 300000};
    std::string content(SIZES[below(8)], static_cast<char>(random()));
    off_t offset = below(3) == 0 ? below(6) * 65536 : 0;
    KJ_SYSCALL(pwrite(file, content.data(), content.size(), offset));
    if (below(4) == 0) {
      KJ_SYSCALL(ftruncate(file, offset + content.size() + below(4) * 100000));
    }
    KJ_SYSCALL(fchmod(file, mode()));
    files.push_back(path);
  }
};

void describe(const fs::path& path, const std::string& name,
              std::map<std::string, std::string>& to) {
  struct stat status;
  KJ_SYSCALL(lstat(path.c_str(), &status), path.c_str());
  char text[64];
  snprintf(text, sizeof(text), "%o ", status.st_mode);
  std::string words = text;
  if (S_ISLNK(status.st_mode)) words += fs::read_symlink(path).string();
  if (S_ISREG(status.st_mode)) {
    Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    KJ_REQUIRE(file != nullptr);
    auto bytes = readAll(file, 1 << 24);
    words.append(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }
  to[name] = words;
  if (!S_ISDIR(status.st_mode)) return;
  for (auto& entry : fs::directory_iterator(path))
    describe(entry.path(), name + "/" + entry.path().filename().string(), to);
}

class RsyncTest : public TreeTest {
 protected:
  // Calls it in a process of this user, whose exit status it is.
  template <typename Function>
  int as(uid_t user, Function&& function) {
    pid_t child = fork();
    if (child == 0) {
      umask(022);
      if (user != 0 && (setgroups(0, nullptr) || setgid(user) || setuid(user))) _exit(99);
      _exit(function());
    }
    int status;
    KJ_SYSCALL(waitpid(child, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  }

  int rsync(uid_t user, const std::string& from, const std::string& to) {
    return as(user, [&] {
      std::string source = base + "/" + from, target = base + "/" + to;
      Fd quiet(open("/dev/null", O_WRONLY));
      dup2(quiet, 2);
      // Whether the time of a file is that of another is not to matter.
      execl("/usr/bin/rsync", "rsync", "-r", "-p", "--links", "--ignore-times", source.c_str(),
            target.c_str(), nullptr);
      return 127;
    });
  }

  int ours(uid_t user, const std::string& from, const std::string& to) {
    return as(user, [&] {
      auto found = findCopyTarget({root, "base", Resolve::BENEATH}, to);
      if (found.is<TreeFailure>()) return 1;
      return copy(from, to) == CopyResult{} ? 0 : 1;
    });
  }

  std::map<std::string, std::string> described(const std::string& path) {
    std::map<std::string, std::string> result;
    describe(base + "/" + path, "", result);
    return result;
  }

  void compare(const std::string& from, const std::string& to, uid_t user, unsigned seed) {
    int theirStatus = rsync(user, from, "theirs" + to);
    int ourStatus = ours(user, from, "ours" + to);
    // It does not open up a directory of the user's own that nobody may write to, and goes on: 23.
    bool isMore = ourStatus == 0 && theirStatus == 23 && user != 0;
    EXPECT_TRUE(isMore || (ourStatus == 0) == (theirStatus == 0))
        << "seed " << seed << " user " << user << " " << from << " to " << to << ": " << ourStatus
        << ", not " << theirStatus;
    if (ourStatus != 0 || theirStatus != 0) return;
    ++compared;
    auto theirs = described("theirs"), our = described("ours");
    for (auto& [name, words] : theirs) {
      EXPECT_EQ(our.count(name), 1u) << "missing " << name << " seed " << seed;
      EXPECT_TRUE(our[name] == words)
          << "seed " << seed << " user " << user << " " << from << " to " << to << " '" << name
          << "' is " << our[name].substr(0, 40) << ", not " << words.substr(0, 40);
    }
    for (auto& [name, words] : our)
      EXPECT_EQ(theirs.count(name), 1u) << "too much " << name << " seed " << seed;
  }

  void makeTree(const std::string& path, unsigned seed, uid_t user, bool within) {
    ASSERT_EQ(as(user,
                 [&] {
                   fs::path full = base + "/" + path;
                   mkdir(full.c_str(), 0755);
                   if (within) RandomTree(seed, user == 0).fill(full, 0);
                   return 0;
                 }),
              0);
  }

  void compareTrees(uid_t user) {
    static const std::string FROM[] = {"src", "src/", "src/.", "src/a", "src/b/"};
    static const std::string TO[] = {"", "/", "/new", "/new/", "/a", "/b/", "/a/c"};
    KJ_SYSCALL(chmod(base.c_str(), 0777));
    for (unsigned seed = 0; seed < TREES; ++seed) {
      makeTree("src", seed, user, true);
      // What is there already is another tree, on every second round.
      for (const char* place : {"theirs", "ours"})
        makeTree(place, seed + 1000, user, seed % 2 == 1);
      std::string from = FROM[seed / 2 % std::size(FROM)];
      struct stat status;
      if (stat((base + "/" + from).c_str(), &status) < 0) from = "src/";
      compare(from, TO[seed / 3 % std::size(TO)], user, seed);
      for (const char* place : {"src", "theirs", "ours"})
        removeAll(base + "/" + place);
    }
    EXPECT_GT(compared, TREES / 2);
  }

  int compared = 0;
};

TEST_F(RsyncTest, randomTreesAreCopiedAsByRsyncByRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  compareTrees(0);
}

TEST_F(RsyncTest, randomTreesAreCopiedAsByRsyncByAUser) {
  compareTrees(geteuid() == 0 ? USER : geteuid());
}

}  // namespace
}  // namespace warden
