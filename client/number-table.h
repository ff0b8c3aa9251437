#pragma once
// How a message of numbers is shown. The protobuf runtime in use has no reflection (LITE_RUNTIME),
// hence the tables of fields.

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace warden::client {

template <typename Message>
struct NumberField {
  const char* name;
  const char* unit;
  bool (Message::*has)() const;
  uint64_t (Message::*get)() const;
  uint64_t unlimited = UINT64_MAX;  // what is shown as such
};

#define WARDEN_NUMBER(type, name, unit) #name, unit, &type::has_##name, &type::name

// Where a limit is not set, the server says so with these (docs/PROTOCOL.md).
constexpr uint64_t UNLIMITED_MEMORY = 9223372036854771712u;
constexpr uint64_t UNLIMITED_BANDWIDTH = 0xffffffff;
constexpr uint64_t UNLIMITED_DISK = 0;

std::string quantity(uint64_t value, std::string_view unit);
// "4096 bytes"; large numbers of bytes also as MiB, GiB or TiB.

template <typename Message, size_t N>
nlohmann::ordered_json numbersToJson(const NumberField<Message> (&fields)[N],
                                     const Message& message) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& field : fields) {
    if ((message.*field.has)()) json[field.name] = (message.*field.get)();
  }
  return json;
}

class Table {
  // A line for each value: its name, padded, and the value.

 public:
  void row(std::string_view name, std::string_view value);

  template <typename Message, size_t N>
  void rows(const std::string& group, const NumberField<Message> (&fields)[N],
            const Message& message) {
    for (const auto& field : fields) {
      if (!(message.*field.has)()) continue;
      uint64_t value = (message.*field.get)();
      row(group + field.name, value == field.unlimited ? "unlimited" : quantity(value, field.unit));
    }
  }

  std::string text;
};

}  // namespace warden::client
