#pragma once
// How the command shows what the server says: for people, for scripts, as JSON.

#include <nlohmann/json_fwd.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

#include "schema/warden.pb.h"

namespace warden::client {

class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void write(int fd, std::string_view bytes);
// Writes all of it, also where somebody made a shared terminal non-blocking. Throws OutputError.
// When the reader of a pipe has gone, SIGPIPE ends the process as it does any other command.

bool isUtf8(std::string_view bytes);
// Well-formed as in Unicode 15, table 3-7: no overlong forms, no surrogates.

std::string shown(const std::string& bytes);
// A line of its own: printable on a terminal; into a pipe it goes as it is.

std::string printable(std::string_view bytes);
// For terminals and messages: control characters, and bytes that are not UTF-8, become \xNN, so
// that what a client named or a job printed cannot drive the reader's terminal.

nlohmann::ordered_json bytesToJson(std::string_view bytes);
// A JSON string where the bytes are UTF-8, else {"base64": "..."} (RFC 4648, with padding). Nothing
// is lost.

nlohmann::ordered_json infoToJson(const InfoResponse& info);
// Keys are the protocol's names; what the response lacks is absent.

std::string infoToText(const InfoResponse& info);
// A line for each value: its name, padded, and the value with its unit.

std::string dump(const nlohmann::ordered_json& value);
// One line, with its line end.

}  // namespace warden::client
