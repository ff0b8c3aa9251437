#include "tests/chaos/copies.h"

#include <filesystem>

#include "tests/chaos/client.h"
#include "tests/support/process.h"

namespace warden::chaos {

namespace {

namespace fs = std::filesystem;

constexpr size_t MOST_COPIES = 3;  // in a container

void addFile(const fs::path& path, const std::string& content, unsigned mode) {
  test::writeFile(path, content);
  fs::permissions(path, fs::perms(mode));
}

void makeTree(const fs::path& root, uint32_t number) {
  fs::create_directories(root / "deep" / "empty");
  fs::permissions(root / "deep" / "empty", fs::perms(0750));
  std::string content;
  for (uint32_t i = 0; i < number * 2000 + 1; ++i)
    content += std::to_string(number + i) + "\n";
  addFile(root / "long", content, 0644);
  addFile(root / "deep" / "hidden", "tree " + std::to_string(number), 0640);
  addFile(root / "program", "#!/bin/sh\n", 0755);
  fs::create_symlink("deep/hidden", root / "link");
}

// What is beneath: by path, its kind, mode and content.
std::map<std::string, std::string> describe(const fs::path& root) {
  std::map<std::string, std::string> found;
  for (auto& entry : fs::recursive_directory_iterator(root)) {
    auto status = entry.symlink_status();
    std::string text;
    if (fs::is_symlink(status)) {
      text = "link " + fs::read_symlink(entry.path()).string();
    } else {
      text = std::to_string(static_cast<unsigned>(status.permissions()));
      text += fs::is_directory(status) ? " directory" : " " + test::readFile(entry.path());
    }
    found[fs::relative(entry.path(), root)] = text;
  }
  return found;
}

std::string judge(const fs::path& expected, const fs::path& copy) {
  if (!fs::is_directory(copy)) return "nothing was copied";
  auto should = describe(expected), is = describe(copy);
  for (auto& [path, text] : should)
    if (is.count(path) == 0 || is[path] != text) return path + " is wrong, or missing";
  return is.size() == should.size() ? "" : "there is more than there should be";
}

}  // namespace

Trees::Trees(const std::string& directory) : directory(directory) {
  for (uint32_t i = 0; i < COUNT; ++i)
    makeTree(source(i), i);
}

Trees::~Trees() {
  std::error_code error;
  fs::remove_all(directory, error);
}

std::string Trees::source(uint32_t tree) const {
  return directory + "/tree-" + std::to_string(tree);
}

Fate Trees::copyOut(Connection& connection, const std::string& handle, const std::string& place,
                    uint32_t tree, bool walksAway, std::string& wrong) {
  std::string copy = directory + "/copy-" + std::to_string(copies++);
  CopyOutRequest request;
  request.set_handle(handle);
  request.set_src_path(place + "/");
  request.set_dst_path(copy);
  CopyOutResponse response;
  Fate fate = connection.ask(request, response, walksAway);
  if (fate == Fate::ANSWERED) wrong = judge(source(tree), copy);
  // One that goes on without its client may still add to it; it lies until the end then.
  std::error_code error;
  fs::remove_all(copy, error);
  return fate;
}

void Client::copyIn(ContainerModel& container, const Operation& operation) {
  CopyInRequest request;
  CopyModel copy;
  copy.tree = operation.number % Trees::COUNT;
  uint32_t fillsBefore;
  {
    std::lock_guard guard(model.lock);
    if (container.copies.size() >= MOST_COPIES) return;
    copy.place = "/tmp/copy-" + std::to_string(own().made++);
    fillsBefore = model.fills;
  }
  request.set_handle(container.handle);
  request.set_src_path(trees.source(copy.tree) + "/");
  request.set_dst_path(copy.place);
  CopyInResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  bool disturbed = model.fullDiskLosesFiles && (model.diskIsFull || model.fills != fillsBefore);
  if (fate == Fate::ANSWERED && !disturbed) container.copies.push_back(copy);
}

void Client::copyOut(ContainerModel& container, const Operation& operation) {
  CopyModel copy;
  uint32_t fillsBefore;
  {
    std::lock_guard guard(model.lock);
    if (container.copies.empty()) return;
    copy = container.copies[operation.number % container.copies.size()];
    fillsBefore = model.fills;
  }
  std::string wrong;
  Fate fate = trees.copyOut(connection, container.handle, copy.place, copy.tree,
                            operation.walksAway, wrong);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  bool disturbed = model.diskIsFull || model.fills != fillsBefore || container.harmed;
  if (!wrong.empty() && !disturbed) {
    journal.violation(who, container.handle + ": what was copied to " + copy.place + ": " + wrong);
  }
}

}  // namespace warden::chaos
