#pragma once
// The audit trail: a file of one JSON object a line, each with the time, a number and the digest of
// the line before (base/audit-chain.h), so that a line that was changed, taken out, put in or moved
// shows. FILE.head says what the last line is, so that a tail that was cut off shows, too.

#include <kj/memory.h>
#include <kj/string.h>

#include <optional>
#include <string>

#include "base/audit-chain.h"
#include "base/audit-journal.h"
#include "base/fd.h"

namespace warden {

struct AuditOptions {
  // The configuration's section `audit`; docs/OPERATING.md says more.

  enum class WhenUnwritable { REFUSE, CONTINUE };

  std::optional<std::string> helper;    // file of privileged operations; none: stderr
  std::optional<std::string> frontend;  // file of clients' requests; none: stderr
  bool journald = false;
  uint64_t rotateBytes = 100 << 20;
  uint32_t keep = 10;  // files, besides the current one; at least 1
  WhenUnwritable whenUnwritable = WhenUnwritable::REFUSE;
};

struct AuditProblem {
  int error;  // errno
  kj::String text;
};

class AuditTrail {
  // One process may have a trail open at a time. After the constructor it needs, of system calls:
  // clock_gettime, fallocate, fstat, ftruncate, lseek, openat, pread64, pwrite64, read, renameat,
  // sendmsg, unlinkat, write; and no path but names in its directory.

 public:
  AuditTrail(Fd directory, std::string name, uint64_t rotateBytes, uint32_t keep);
  // Opens or makes `name` and `name`.head in the directory, mode 0600, and goes on with the chain
  // that they hold; reads no more of it than its end. What it finds amiss, it keeps, and appends a
  // record that says so:
  //   - the last line has no end (the writer was killed): "torn_bytes", its length, and "before",
  //     the digest of the line before it;
  //   - the end is not what the head says (lines were cut off, or the machine lost power): "break";
  //   - the file was never a trail: it is renamed to `name`.before-TIME.
  // Fails when files cannot be opened or are no regular files.

  explicit AuditTrail(Fd stream);
  // No file: lines go to a pipe or terminal as they come. The chain starts anew.

  KJ_DISALLOW_COPY(AuditTrail);
  AuditTrail(AuditTrail&&) = default;

  void copyTo(AuditJournal journal) { this->journal = kj::mv(journal); }

  bool append(nlohmann::ordered_json object);
  // Adds "time", "seq" and "prev" in front and writes the line in one write(2). False: it could not
  // be written; nothing of it is in the file, and when writing is possible again a record says how
  // many were lost. Of each such outage there is one line on stderr. A line above
  // MAX_AUDIT_LINE_BYTES is replaced by one that says so.

  kj::Maybe<AuditProblem> problem();
  // Why a record could not be written now; none: there is room for it. Space for more than
  // a hundred ordinary records is allocated ahead (fallocate(2)), where the file system can do
  // that.

 private:
  struct File {
    Fd directory;
    std::string name;
    uint64_t rotateBytes;
    uint32_t keep;
    Fd lines;
    Fd head;
    uint64_t size = 0;
    uint64_t allocated = 0;  // up to this offset
    bool canAllocate = true;
    uint64_t first = 1;  // number of the oldest record that is kept

    void openLines();
    AuditTail tail() const;
    uint64_t firstAfterRotation() const;
    void makePlace();
    std::string numbered(uint64_t number) const { return name + "." + std::to_string(number); }
  };

  kj::Maybe<File> file;
  Fd stream;
  kj::Maybe<AuditJournal> journal;
  AuditLink last{0, noDigest()};
  uint64_t lost = 0;
  bool rotationFailed = false;
  bool announced = false;  // that it cannot be written; until problem() finds that it can
  int error = 0;           // of the last write; 0: it succeeded

  struct Torn {
    size_t bytes;
    std::string before;  // digest of the whole line in front of it
  };
  std::optional<Torn> torn;  // the file ends with a line without end, which the next record names

  void continueChain(File& file);
  void moveAwayForeign(File& file);
  void rotate(File& file);
  void rotateIfFull(size_t more);
  bool write(nlohmann::ordered_json object);
  int writeLine(const std::string& line);
  int writeToFile(File& file, const std::string& text);
  int writeHead(File& file);
  void announce(int problem);
  int allocate(File& file);
  kj::String describe(int problem) const;
};

}  // namespace warden
