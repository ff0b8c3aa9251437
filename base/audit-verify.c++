#include "base/audit-verify.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "base/audit-chain.h"
#include "base/fd.h"

namespace warden {

namespace fs = std::filesystem;

namespace {

constexpr int ATTEMPTS = 1000;
constexpr int ATTEMPTS_WHILE_WRITTEN = 5;

std::optional<AuditHead> readHead(const std::string& path) {
  int raw = open((path + ".head").c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (raw < 0) {
    KJ_REQUIRE(errno == ENOENT, "cannot open the head", path.c_str(), strerrordesc_np(errno));
    return std::nullopt;
  }
  Fd file(raw);
  return readAuditHead(file);
}

std::pair<dev_t, ino_t> identityOf(const std::string& path) {
  struct stat status;
  KJ_SYSCALL(stat(path.c_str(), &status), path.c_str());
  return {status.st_dev, status.st_ino};
}

std::string number(uint64_t value) {
  return std::to_string(value);
}

class Checker {
  // Is fed line by line, over all files.

 public:
  explicit Checker(AuditReport& report) : report(report) {}

  void line(const std::string& file, uint64_t at, const std::string& text);
  void end(const std::string& path, const std::optional<AuditHead>& before,
           const std::optional<AuditHead>& after);
  void begin(const std::optional<AuditHead>& head, bool fromOldest);

 private:
  struct Place {
    std::string file;
    uint64_t line = 0;
  };
  struct NoRecord {
    Place place;
    size_t bytes;
    std::string hash;
  };

  AuditReport& report;
  std::optional<AuditLine> previous;
  Place previousPlace;
  std::optional<NoRecord> noRecord;
  std::optional<uint64_t> firstExpected;
  std::map<uint64_t, std::string> watched;  // digests of the records that heads name
  std::optional<uint64_t> watchedSeq;

  void found(const Place& place, std::string what) {
    if (report.findings.size() < MOST_AUDIT_FINDINGS) {
      report.findings.push_back({place.file, place.line, std::move(what)});
    }
  }
  bool explains(const AuditLine& record) const;
  bool followsAsItShould(const AuditLine& record, const Place& place);
};

void Checker::begin(const std::optional<AuditHead>& head, bool fromOldest) {
  if (!head) return;
  if (!fromOldest) firstExpected = head->first;
  watchedSeq = head->last.seq;
}

// Whether this record says that the line before it was torn when its writer was killed.
bool Checker::explains(const AuditLine& record) const {
  auto bytes = record.object.find("torn_bytes");
  auto before = record.object.find("before");
  return bytes != record.object.end() && before != record.object.end() &&
         *bytes == noRecord->bytes && record.prev == noRecord->hash &&
         *before == (previous ? previous->link.hash : noDigest()) &&
         record.link.seq == (previous ? previous->link.seq + 1 : 1);
}

// False: the record is out of order, and the next one is expected as if it were not there.
bool Checker::followsAsItShould(const AuditLine& record, const Place& place) {
  uint64_t seq = record.link.seq;
  if (!previous) {
    uint64_t expected = firstExpected.value_or(seq);
    if (seq > expected) {
      found(place, "records " + number(expected) + " to " + number(seq - 1) +
                       " are missing at the trail's start");
    } else if (seq == 1 && record.prev != noDigest()) {
      found(place, "the first record was changed: it names a line before it");
    }
    return true;
  }
  uint64_t expected = previous->link.seq + 1;
  if (seq < expected) {
    found(place, "record " + number(seq) + " stands behind record " + number(expected - 1) +
                     ": it was moved or put in");
    return false;
  }
  if (seq > expected) {
    found(place, "records " + number(expected) + " to " + number(seq - 1) +
                     " are missing before this line");
  } else if (record.prev != previous->link.hash) {
    found(previousPlace, "the line was changed: record " + number(seq) +
                             " was written after another with this number");
  }
  return true;
}

void Checker::line(const std::string& file, uint64_t at, const std::string& text) {
  Place place{file, at};
  auto record = AuditLine::parse(text);
  if (!record) {
    if (noRecord) found(noRecord->place, "the line is no record: it was changed or put in");
    noRecord = NoRecord{place, text.size(), sha256Hex(text)};
    return;
  }
  if (report.records == 0) report.firstSeq = record->link.seq;
  ++report.records;
  if (record->link.seq == watchedSeq) watched[record->link.seq] = record->link.hash;

  bool taken = true;
  if (noRecord) {
    if (!explains(*record)) {
      found(noRecord->place, "the line is no record: it was changed or put in");
      taken = !previous || record->link.seq > previous->link.seq;
    }
    noRecord.reset();
  } else {
    taken = followsAsItShould(*record, place);
  }
  if (auto broken = record->object.find("break"); broken != record->object.end()) {
    found(place,
          "when the server started, the end of the trail was not the one it had written "
          "last; records before this line are missing or changed: " +
              broken->dump());
  }
  if (taken) {
    report.lastSeq = record->link.seq;
    previous = std::move(*record);
    previousPlace = place;
  }
}

void Checker::end(const std::string& path, const std::optional<AuditHead>& before,
                  const std::optional<AuditHead>& after) {
  if (noRecord) {
    found(noRecord->place, "the last line is no record: it was changed, put in, or not finished");
  }
  if (!before || !after) {
    found({path + ".head", 0},
          "is missing or damaged, so that it cannot be told what the last "
          "record has to be");
    return;
  }
  AuditLink none{0, noDigest()};
  const AuditLink& last = previous ? previous->link : none;
  if (after->last == last) return;
  // The writer was killed before it came to the head.
  if (previous && after->last == AuditLink{last.seq - 1, previous->prev}) return;
  // Written to meanwhile: then what was the last line at first is there, and unchanged.
  auto seen = watched.find(before->last.seq);
  bool whole =
      before->last.seq == 0 || (seen != watched.end() && seen->second == before->last.hash);
  if (whole && after->last.seq > before->last.seq && last.seq >= before->last.seq) return;
  if (after->last.seq > last.seq) {
    found(previousPlace.file.empty() ? Place{path, 0} : previousPlace,
          "records " + number(last.seq + 1) + " to " + number(after->last.seq) +
              " are missing: the end was cut off behind this line");
  } else if (after->last.seq == last.seq) {
    found(previousPlace, "the last line was changed: it is not the one that the head names");
  } else {
    found(previousPlace, "the head names record " + number(after->last.seq) +
                             " as the last: lines behind it were put in, or the head was changed");
  }
}

void readLines(FILE* in, const std::string& file, Checker& checker) {
  char* buffer = nullptr;
  size_t capacity = 0;
  KJ_DEFER(free(buffer));
  ssize_t n;
  for (uint64_t at = 1; (n = getline(&buffer, &capacity, in)) > 0; ++at) {
    // An end without newline is no whole line, whatever it says.
    bool whole = buffer[n - 1] == '\n';
    checker.line(file, at, whole ? std::string(buffer, n - 1) : std::string(buffer, n) + "\n");
  }
  KJ_REQUIRE(ferror(in) == 0, "cannot read", file.c_str());
}

struct OpenTrail {
  // The files as they were between two rotations; renaming them does not matter any more.

  struct Close {
    void operator()(FILE* file) const { fclose(file); }
  };
  std::vector<std::string> names;
  std::vector<std::unique_ptr<FILE, Close>> files;
  std::optional<AuditHead> head;  // read before the files

  static std::optional<OpenTrail> tryOpen(const std::string& path) {
    OpenTrail trail;
    trail.head = readHead(path);
    trail.names = auditFiles(path);
    auto current = identityOf(trail.names.back());
    for (auto& name : trail.names) {
      trail.files.emplace_back(fopen(name.c_str(), "rce"));
      if (trail.files.back() != nullptr) continue;
      if (errno == ENOENT) return std::nullopt;
      KJ_FAIL_SYSCALL("open", errno, name.c_str());
    }
    auto head = readHead(path);
    if (identityOf(trail.names.back()) != current || auditFiles(path) != trail.names ||
        head.has_value() != trail.head.has_value() || (head && head->first != trail.head->first)) {
      return std::nullopt;
    }
    return trail;
  }
};

OpenTrail openTrail(const std::string& path) {
  for (int attempt = 0; attempt < ATTEMPTS; ++attempt) {
    if (auto trail = OpenTrail::tryOpen(path)) return std::move(*trail);
  }
  KJ_FAIL_REQUIRE("the files are rotated again and again while they are opened", path.c_str());
}

}  // namespace

std::vector<std::string> auditFiles(const std::string& path) {
  fs::path current(path);
  std::string prefix = current.filename().string() + ".";
  std::map<uint64_t, std::string, std::greater<>> older;
  auto directory = current.has_parent_path() ? current.parent_path() : fs::path(".");
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    std::string name = entry.path().filename();
    if (!name.starts_with(prefix)) continue;
    std::string digits = name.substr(prefix.size());
    bool isNumber = !digits.empty() && digits.size() < 8 && digits[0] != '0' &&
                    digits.find_first_not_of("0123456789") == digits.npos;
    if (isNumber) older[std::stoul(digits)] = path + "." + digits;
  }
  std::vector<std::string> result;
  for (auto& [_, file] : older)
    result.push_back(file);
  if (fs::exists(path, error) || result.empty()) result.push_back(path);
  return result;
}

AuditReport verifyAuditTrail(const std::string& path, bool fromOldest) {
  for (int attempt = 1;; ++attempt) {
    OpenTrail trail = openTrail(path);
    AuditReport report;
    Checker checker(report);
    checker.begin(trail.head, fromOldest);
    for (size_t i = 0; i < trail.files.size(); ++i)
      readLines(trail.files[i].get(), trail.names[i], checker);
    auto head = readHead(path);
    checker.end(path, trail.head, head);
    // A line may be seen while it is being written.
    bool writtenTo = head && trail.head && !(head->last == trail.head->last);
    if (report.findings.empty() || !writtenTo || attempt == ATTEMPTS_WHILE_WRITTEN) return report;
  }
}

}  // namespace warden
