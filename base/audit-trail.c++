#include "base/audit-trail.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace warden {

using Json = nlohmann::ordered_json;

namespace {

constexpr uint64_t ALLOCATED_BYTES = 256 * 1024;
constexpr uint64_t LEAST_ALLOCATED_BYTES = 64 * 1024;
constexpr uint64_t MOST_FILES = 10000;  // looked at where `keep` was larger before

std::string timestamp(const char* format = "%Y-%m-%dT%H:%M:%S", bool fraction = true) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc;
  gmtime_r(&now.tv_sec, &utc);
  char text[64];
  size_t n = strftime(text, sizeof(text), format, &utc);
  if (fraction) snprintf(text + n, sizeof(text) - n, ".%06ldZ", now.tv_nsec / 1000);
  return text;
}

Fd openFile(int directory, const std::string& name, int flags) {
  int raw;
  KJ_SYSCALL(raw = openat(directory, name.c_str(),
                          flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600),
             name.c_str());
  Fd fd(raw);
  struct stat status;
  KJ_SYSCALL(fstat(fd, &status));
  KJ_REQUIRE(S_ISREG(status.st_mode), "an audit trail must be a regular file", name.c_str());
  return fd;
}

uint64_t sizeOf(int file) {
  off_t size;
  KJ_SYSCALL(size = lseek(file, 0, SEEK_END));
  return size;
}

Json describe(const std::optional<AuditLink>& link) {
  if (!link) return nullptr;
  return Json{{"seq", link->seq}, {"sha256", link->hash}};
}

// The number of the first record of a file; none: it does not begin with one.
std::optional<uint64_t> firstRecordOf(int file) {
  std::string text(MAX_AUDIT_LINE_BYTES + 1, '\0');
  ssize_t n = pread(file, text.data(), text.size(), 0);
  if (n <= 0) return std::nullopt;
  text.resize(n);
  auto line = AuditLine::parse(std::string_view(text).substr(0, text.find('\n')));
  if (!line) return std::nullopt;
  return line->link.seq;
}

// Whether the end of the files is the one that the head names. A writer that was killed may not
// have come to the head of its last line.
bool agree(const AuditHead& head, const AuditLine& last) {
  return head.last == last.link ||
         (last.link.seq == head.last.seq + 1 && last.prev == head.last.hash);
}

}  // namespace

// --- the files

void AuditTrail::File::openLines() {
  lines = openFile(directory, name, O_RDWR | O_APPEND | O_CREAT);
  size = sizeOf(lines);
  allocated = size;
}

AuditTail AuditTrail::File::tail() const {
  if (size > 0) return readAuditTail(lines);
  // The writer was killed between rotation and the first line.
  int raw = openat(directory, numbered(1).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (raw < 0) return {};
  Fd older(raw);
  return {readAuditTail(older).line, ""};
}

uint64_t AuditTrail::File::firstAfterRotation() const {
  auto tryOpen = [&](uint64_t number) {
    return Fd(openat(directory, numbered(number).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  };
  if (tryOpen(keep) == nullptr) return first;
  for (uint64_t number = keep - 1; number > 0; --number) {
    Fd oldest = tryOpen(number);
    if (oldest != nullptr) return firstRecordOf(oldest).value_or(first);
  }
  return firstRecordOf(lines).value_or(first);
}

void AuditTrail::File::makePlace() {
  // The new file first: where it cannot be made, the present one goes on.
  std::string fresh = name + ".new";
  unlinkat(directory, fresh.c_str(), 0);
  Fd next = openFile(directory, fresh, O_RDWR | O_APPEND | O_CREAT | O_EXCL);
  for (uint64_t number = keep; number < keep + MOST_FILES; ++number) {
    if (unlinkat(directory, numbered(number).c_str(), 0) < 0) break;
  }
  for (uint64_t number = keep - 1; number > 0; --number) {
    renameat(directory, numbered(number).c_str(), directory, numbered(number + 1).c_str());
  }
  // Gives back what was allocated ahead.
  (void)!ftruncate(lines, size);
  KJ_SYSCALL(renameat(directory, name.c_str(), directory, numbered(1).c_str()));
  KJ_SYSCALL(renameat(directory, fresh.c_str(), directory, name.c_str()));
  lines = kj::mv(next);
  size = allocated = 0;
}

// --- the start

AuditTrail::AuditTrail(Fd stream) : stream(kj::mv(stream)) {}

AuditTrail::AuditTrail(Fd directory, std::string name, uint64_t rotateBytes, uint32_t keep) {
  KJ_REQUIRE(keep > 0);
  File& opened = file.emplace(File{.directory = kj::mv(directory),
                                   .name = std::move(name),
                                   .rotateBytes = rotateBytes,
                                   .keep = keep});
  opened.openLines();
  opened.head = openFile(opened.directory, opened.name + ".head", O_RDWR | O_CREAT);
  continueChain(opened);
}

void AuditTrail::moveAwayForeign(File& file) {
  std::string aside = file.name + ".before-" + timestamp("%Y%m%dT%H%M%S", true);
  KJ_SYSCALL(renameat(file.directory, file.name.c_str(), file.directory, aside.c_str()));
  file.openLines();
  writeHead(file);
  append({{"message", "what was here before is no audit trail, and is now " + aside}});
}

void AuditTrail::continueChain(File& file) {
  auto head = readAuditHead(file.head);
  AuditTail tail = file.tail();
  auto line = AuditLine::parse(tail.line);
  if (!head && !line && (!tail.line.empty() || !tail.torn.empty())) return moveAwayForeign(file);

  std::optional<AuditLink> inFile, inHead;
  if (line) inFile = line->link;
  if (head) inHead = head->last;
  if (head) file.first = head->first;
  bool fresh = !inFile && (!inHead || inHead->seq == 0);
  bool broken = !fresh && !(head && line && agree(*head, *line));

  if (inFile) last = *inFile;
  if (!tail.line.empty()) last.hash = sha256Hex(tail.line);
  if (inHead) last.seq = std::max(last.seq, inHead->seq);

  Json found;
  if (!tail.torn.empty()) {
    found["message"] = "the writer was killed while it wrote the line before";
    torn = Torn{tail.torn.size(), last.hash};
    last.hash = sha256Hex(tail.torn);
  }
  if (broken) {
    found["message"] = "the end of the trail is not the one that its head says";
    found["break"] = {{"head", warden::describe(inHead)}, {"file", warden::describe(inFile)}};
  }
  if (!found.is_null()) {
    append(kj::mv(found));
  } else {
    writeHead(file);
  }
}

// --- writing

int AuditTrail::writeHead(File& file) {
  std::string text = AuditHead{last, file.first}.text();
  ssize_t n = pwrite(file.head, text.data(), text.size(), 0);
  return n == static_cast<ssize_t>(text.size()) ? 0 : n < 0 ? errno : ENOSPC;
}

int AuditTrail::writeToFile(File& file, const std::string& text) {
  ssize_t n = ::write(file.lines, text.data(), text.size());
  if (n == static_cast<ssize_t>(text.size())) {
    file.size += n;
    file.allocated = std::max(file.allocated, file.size);
    return 0;
  }
  int error = n < 0 ? errno : ENOSPC;
  if (n > 0 && ftruncate(file.lines, file.size) < 0) {
    // Then it stays, as a line that is no record.
    file.size += n;
    torn = Torn{static_cast<size_t>(n), last.hash};
    last.hash = sha256Hex(text.substr(0, n));
  }
  // Truncating gives back what was allocated behind the end.
  file.allocated = file.size;
  return error;
}

int AuditTrail::writeLine(const std::string& line) {
  KJ_IF_MAYBE (opened, file) {
    return writeToFile(*opened, (torn ? "\n" : "") + line + "\n");
  }
  // What reads a stream is not the trail's matter: no operation waits for it.
  (void)!::write(stream, (line + "\n").data(), line.size() + 1);
  return 0;
}

bool AuditTrail::write(Json object) {
  Json record = {{"time", timestamp()}, {"seq", last.seq + 1}, {"prev", last.hash}};
  for (auto& [key, value] : object.items())
    record[key] = kj::mv(value);
  if (torn) {
    record["torn_bytes"] = torn->bytes;
    record["before"] = torn->before;
  }
  std::string line = auditLine(record);
  if (line.size() > MAX_AUDIT_LINE_BYTES) {
    return write({{"message", "a record was too long"},
                  {"sha256", sha256Hex(line)},
                  {"bytes", line.size()}});
  }
  int problem = writeLine(line);
  if (problem == 0) {
    torn.reset();
    last = {last.seq + 1, sha256Hex(line)};
    KJ_IF_MAYBE (opened, file) {
      problem = writeHead(*opened);
    }
    KJ_IF_MAYBE (copy, journal) {
      copy->send(line, last.seq, last.hash);
    }
  } else {
    ++lost;
  }
  error = problem;
  if (problem != 0) announce(problem);
  return problem == 0;
}

void AuditTrail::announce(int problem) {
  if (!announced) dprintf(STDERR_FILENO, "warden: %s\n", describe(problem).cStr());
  announced = true;
}

void AuditTrail::rotate(File& file) {
  // The head first: that more is there than it promises is no harm.
  file.first = file.firstAfterRotation();
  writeHead(file);
  file.makePlace();
}

void AuditTrail::rotateIfFull(size_t more) {
  KJ_IF_MAYBE (opened, file) {
    if (opened->size == 0 || opened->size + more <= opened->rotateBytes || torn) return;
    KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&]() { rotate(*opened); })) {
      // It grows on, and the next record tries again.
      if (!rotationFailed) {
        dprintf(STDERR_FILENO, "warden: the audit trail %s cannot be rotated: %s\n",
                opened->name.c_str(), exception->getDescription().cStr());
      }
      rotationFailed = true;
    } else {
      rotationFailed = false;
    }
  }
}

bool AuditTrail::append(Json object) {
  rotateIfFull(512);
  if (lost > 0) {
    uint64_t count = lost;
    if (!write({{"message", "records could not be written"}, {"lost", count}})) return false;
    lost = 0;
  }
  return write(kj::mv(object));
}

int AuditTrail::allocate(File& file) {
  if (!file.canAllocate || file.allocated >= file.size + LEAST_ALLOCATED_BYTES) return 0;
  int result;
  do {
    result = fallocate(file.lines, FALLOC_FL_KEEP_SIZE, file.size, ALLOCATED_BYTES);
  } while (result < 0 && errno == EINTR);
  if (result == 0) {
    file.allocated = file.size + ALLOCATED_BYTES;
  } else if (errno == EOPNOTSUPP || errno == ENOSYS) {
    file.canAllocate = false;
  } else {
    return errno;
  }
  return 0;
}

kj::Maybe<AuditProblem> AuditTrail::problem() {
  KJ_IF_MAYBE (opened, file) {
    int problem = allocate(*opened);
    if (problem == 0 && announced) {
      // Says that it has been so, and finds out whether it is still.
      if (write({{"message", "the trail can be written again"}, {"lost", lost}})) {
        lost = 0;
        announced = false;
      }
      problem = error;
    }
    if (problem != 0) {
      announce(problem);
      return AuditProblem{problem, describe(problem)};
    }
  }
  return nullptr;
}

kj::String AuditTrail::describe(int problem) const {
  kj::StringPtr name = "stderr"_kj;
  KJ_IF_MAYBE (opened, file) {
    name = opened->name.c_str();
  }
  return kj::str("the audit trail ", name, " cannot be written: ", strerrordesc_np(problem));
}

}  // namespace warden
