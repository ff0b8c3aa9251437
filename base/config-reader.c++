#include "base/config-reader.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>

namespace warden {

namespace {

// yaml-cpp marks a plain scalar "?" and a quoted one "!".
bool isPlain(const YAML::Node& node) {
  return node.Tag() == "?" || node.Tag().empty();
}

bool isNull(const YAML::Node& node) {
  return !node.IsDefined() || node.IsNull() ||
         (node.IsScalar() && isPlain(node) && node.Scalar().empty());
}

// https://yaml.org/type/int.html, without base 60.
std::optional<uint64_t> parseNumber(std::string text) {
  if (text.empty() || text[0] == '_') return std::nullopt;
  std::erase(text, '_');
  const char* begin = text.data();
  const char* end = begin + text.size();
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    begin += 2;
  } else if (text.starts_with("0b")) {
    base = 2;
    begin += 2;
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
    begin += 1;
  }
  uint64_t value;
  auto [stop, error] = std::from_chars(begin, end, value, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// https://yaml.org/type/bool.html, without the single letters.
std::optional<bool> parseFlag(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return tolower(c); });
  if (text == "true" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "no" || text == "off") return false;
  return std::nullopt;
}

bool hasControlCharacter(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// A value as it may stand in a message: short, on one line.
std::string quote(const std::string& text) {
  std::string shown = text.substr(0, 60);
  std::replace_if(
      shown.begin(), shown.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return "'" + shown + (text.size() > 60 ? "...'" : "'");
}

}  // namespace

void failConfig(const std::string& file, const YAML::Mark& mark, const std::string& text) {
  // A mark without a position (an empty document) reads as the first line.
  int line = mark.is_null() ? 1 : mark.line + 1;
  throw ConfigError(file + ":" + std::to_string(line) + ": " + text);
}

ConfigSection::ConfigSection(std::string fileParam, std::string prefixParam, YAML::Node node)
    : file(std::move(fileParam)), prefix(std::move(prefixParam)), mark(node.Mark()) {
  if (isNull(node)) return;
  if (!node.IsMap()) {
    std::string name = prefix.empty() ? "the file" : prefix.substr(0, prefix.size() - 1);
    failConfig(file, mark, name + ": has another type; a mapping of keys to values is accepted");
  }
  for (const auto& pair : node) {
    if (!pair.first.IsScalar()) {
      failConfig(file, pair.first.Mark(), prefix + "?: a key is no plain text; text is accepted");
    }
    std::string key = pair.first.Scalar();
    if (entries.contains(key)) {
      failConfig(file, pair.first.Mark(),
                 prefix + key + ": is repeated; it stands in line " +
                     std::to_string(entries[key].keyMark.line + 1) +
                     " already, and once is accepted");
    }
    entries[key] = {pair.first.Mark(), pair.second, false};
  }
}

ConfigSection::Entry* ConfigSection::take(const std::string& key) {
  auto found = entries.find(key);
  if (found == entries.end()) return nullptr;
  found->second.used = true;
  return isNull(found->second.value) ? nullptr : &found->second;
}

bool ConfigSection::has(const std::string& key) const {
  auto found = entries.find(key);
  return found != entries.end() && !isNull(found->second.value);
}

void ConfigSection::fail(const std::string& key, const std::string& what) const {
  auto found = entries.find(key);
  YAML::Mark where = mark;
  if (found != entries.end()) {
    where = found->second.keyMark;
    if (!isNull(found->second.value)) where = found->second.value.Mark();
  }
  failConfig(file, where, prefix + key + ": " + what);
}

void ConfigSection::failAt(int line, const std::string& key, const std::string& what) const {
  throw ConfigError(file + ":" + std::to_string(line) + ": " + prefix + key + ": " + what);
}

std::string ConfigSection::scalar(const std::string& key, const Entry& entry,
                                  const std::string& accepted) const {
  if (!entry.value.IsScalar()) fail(key, "has another type; " + accepted + " is accepted");
  return entry.value.Scalar();
}

std::optional<std::string> ConfigSection::text(const std::string& key) {
  Entry* entry = take(key);
  if (entry == nullptr) return std::nullopt;
  std::string value = scalar(key, *entry, "a string");
  if (isPlain(entry->value) && (parseNumber(value) || parseFlag(value))) {
    fail(key,
         quote(value) + " is no string; a string is accepted, in quotes if it looks like this");
  }
  if (value.empty() || hasControlCharacter(value)) {
    fail(key, quote(value) + " is empty or has control characters; a line of text is accepted");
  }
  return value;
}

std::optional<std::string> ConfigSection::path(const std::string& key) {
  auto value = text(key);
  if (value && (*value)[0] != '/') {
    fail(key, quote(*value) + " is relative; an absolute path is accepted");
  }
  return value;
}

std::optional<uint64_t> ConfigSection::number(const std::string& key, uint64_t minimum,
                                              uint64_t maximum, const std::string& acceptedParam) {
  Entry* entry = take(key);
  if (entry == nullptr) return std::nullopt;
  std::string accepted = acceptedParam;
  if (accepted.empty()) {
    accepted = "a whole number from " + std::to_string(minimum) + " to " + std::to_string(maximum);
  }
  std::string value = scalar(key, *entry, accepted);
  auto parsed = isPlain(entry->value) ? parseNumber(value) : std::nullopt;
  if (!parsed) fail(key, quote(value) + " is no whole number; " + accepted + " is accepted");
  if (*parsed < minimum || *parsed > maximum) {
    fail(key, quote(value) + " is out of range; " + accepted + " is accepted");
  }
  return parsed;
}

std::optional<uint64_t> ConfigSection::limit(const std::string& key) {
  auto found = entries.find(key);
  if (found != entries.end() && found->second.value.IsScalar() && isPlain(found->second.value) &&
      found->second.value.Scalar() == "-1") {
    found->second.used = true;
    return RLIM_INFINITY;
  }
  return number(key, 0, UINT64_MAX, "a whole number of 64 bits, or -1 for no limit,");
}

std::optional<bool> ConfigSection::flag(const std::string& key) {
  Entry* entry = take(key);
  if (entry == nullptr) return std::nullopt;
  std::string value = scalar(key, *entry, "true or false");
  auto parsed = isPlain(entry->value) ? parseFlag(value) : std::nullopt;
  if (!parsed) fail(key, quote(value) + " is no truth value; true or false is accepted");
  return parsed;
}

std::vector<std::string> ConfigSection::texts(const std::string& key) {
  std::vector<std::string> result;
  for (auto& item : textsAt(key))
    result.push_back(std::move(item.text));
  return result;
}

std::vector<std::string> ConfigSection::keys() const {
  std::vector<std::pair<int, std::string>> found;
  for (auto& [key, entry] : entries)
    found.emplace_back(entry.keyMark.pos, key);
  std::sort(found.begin(), found.end());
  std::vector<std::string> result;
  for (auto& [position, key] : found)
    result.push_back(std::move(key));
  return result;
}

std::vector<NamedAt> ConfigSection::textsAt(const std::string& key) {
  std::vector<NamedAt> result;
  Entry* entry = take(key);
  if (entry == nullptr) return result;
  if (!entry->value.IsSequence()) fail(key, "has another type; a list of strings is accepted");
  for (const auto& item : entry->value) {
    if (!item.IsScalar() || item.Scalar().empty() || hasControlCharacter(item.Scalar())) {
      failConfig(file, item.Mark(), prefix + key + ": an item is no text; strings are accepted");
    }
    result.push_back(NamedAt{item.Scalar(), item.Mark().line + 1});
  }
  return result;
}

ConfigSection ConfigSection::section(const std::string& key) {
  Entry* entry = take(key);
  return ConfigSection(file, prefix + key + ".", entry == nullptr ? YAML::Node() : entry->value);
}

std::vector<ConfigSection> ConfigSection::sections(const std::string& key) {
  std::vector<ConfigSection> result;
  Entry* entry = take(key);
  if (entry == nullptr) return result;
  if (!entry->value.IsSequence()) fail(key, "has another type; a list of mappings is accepted");
  for (const auto& item : entry->value) {
    std::string name = prefix + key + "[" + std::to_string(result.size()) + "].";
    if (!item.IsMap()) {
      failConfig(file, item.Mark(),
                 name.substr(0, name.size() - 1) +
                     ": has another type; a mapping of keys to values is accepted");
    }
    result.emplace_back(file, name, item);
  }
  return result;
}

int ConfigSection::line(const std::string& key) const {
  auto found = entries.find(key);
  return found == entries.end() ? 0 : found->second.value.Mark().line + 1;
}

void ConfigSection::finish() const {
  const Entry* first = nullptr;
  std::string name;
  for (const auto& [key, entry] : entries) {
    if (entry.used || (first != nullptr && first->keyMark.line <= entry.keyMark.line)) continue;
    first = &entry;
    name = key;
  }
  if (first == nullptr) return;
  failConfig(file, first->keyMark,
             prefix + name + ": is not known; docs/OPERATING.md lists the keys that are accepted");
}

}  // namespace warden
