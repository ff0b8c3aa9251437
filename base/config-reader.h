#pragma once
// Strict reading of one YAML mapping: each key is asked for once by name, with its type and range;
// what was never asked for is an error. All errors name the file, the line and the full key.

#include <stdint.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace warden {

[[noreturn]] void failConfig(const std::string& file, const YAML::Mark& mark,
                             const std::string& text);
// Throws ConfigError "FILE:LINE: text".

class ConfigSection {
  // Each getter returns none where the key is absent or null, and throws ConfigError where the
  // value is of another type or out of range. Scalars are typed as YAML 1.1 does
  // (https://yaml.org/type/): 0755 is octal, yes and on are true, a quoted scalar is a string.

 public:
  ConfigSection(std::string file, std::string prefix, YAML::Node node);
  // `prefix` is what stands before this section's keys in messages: "server." or "" at the top.
  // Fails when `node` is neither a mapping nor null, or a key is repeated or no plain text.

  std::optional<std::string> text(const std::string& key);
  // A string without control characters.
  std::optional<std::string> path(const std::string& key);
  // An absolute path.
  std::optional<uint64_t> number(const std::string& key, uint64_t minimum, uint64_t maximum,
                                 const std::string& accepted = "");
  // `accepted` replaces the range in the message.
  std::optional<uint64_t> limit(const std::string& key);
  // As number, of any size; -1 reads as RLIM_INFINITY, as in setrlimit(2).
  std::optional<bool> flag(const std::string& key);
  std::vector<std::string> texts(const std::string& key);
  // A list of strings; empty where absent.
  std::vector<NamedAt> textsAt(const std::string& key);
  // Likewise, with the line of each.
  std::vector<std::string> keys() const;
  // Of a section whose keys are names, in their order in the file.
  ConfigSection section(const std::string& key);
  // Empty where absent.

  std::vector<ConfigSection> sections(const std::string& key);
  // Of a list of mappings; empty where absent.
  int line(const std::string& key) const;
  // Where the key's value stands, from 1; 0 where it is absent.

  bool has(const std::string& key) const;
  // True when the key is there and not null.

  void finish() const;
  // Fails for the first key that no getter was called for.

  [[noreturn]] void fail(const std::string& key, const std::string& what) const;
  // Throws ConfigError with the line of the key, or of the section where the key is absent.
  [[noreturn]] void failAt(int line, const std::string& key, const std::string& what) const;

 private:
  struct Entry {
    YAML::Mark keyMark;
    YAML::Node value;
    bool used = false;
  };

  std::string file;
  std::string prefix;
  YAML::Mark mark;
  std::map<std::string, Entry> entries;

  Entry* take(const std::string& key);
  std::string scalar(const std::string& key, const Entry& entry, const std::string& accepted) const;
};

// Where a value is absent, the default stays.
template <typename To, typename From>
void assign(To& target, const std::optional<From>& value) {
  if (value) target = static_cast<To>(*value);
}

template <typename To, typename From>
void assign(std::optional<To>& target, const std::optional<From>& value) {
  if (value) target = static_cast<To>(*value);
}

}  // namespace warden
