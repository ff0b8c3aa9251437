#include "client/limit-options.h"

#include <charconv>
#include <map>

namespace warden::client {

namespace {

constexpr char UNLIMITED[] = "unlimited";

constexpr char SIZES[] =
    "\nA SIZE is a number of bytes, with K, M, G or T for powers of 1024, as in 100M.";

int shiftOf(char suffix) {
  switch (suffix) {
    case 'K':
      return 10;
    case 'M':
      return 20;
    case 'G':
      return 30;
    case 'T':
      return 40;
    default:
      return 0;
  }
}

// Options are read by functions that throw, so that each says what it accepts.
uint64_t sizeOf(const std::string& text) {
  if (auto size = parseSize(text)) return *size;
  throw CLI::ValidationError("'" + text + "' is no size: a number, and maybe K, M, G or T");
}

uint64_t sizeOr(const std::string& text, uint64_t unlimited) {
  return text == UNLIMITED ? unlimited : sizeOf(text);
}

uint64_t numberOf(const std::string& text) {
  uint64_t value;
  auto end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stop == end) return value;
  throw CLI::ValidationError("'" + text + "' is no number");
}

uint64_t numberOr(const std::string& text, uint64_t unlimited) {
  return text == UNLIMITED ? unlimited : numberOf(text);
}

using Text = const std::string&;

}  // namespace

std::optional<uint64_t> parseSize(const std::string& text) {
  int shift = text.empty() ? 0 : shiftOf(text.back());
  uint64_t value;
  auto end = text.data() + text.size() - (shift > 0 ? 1 : 0);
  auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value > UINT64_MAX >> shift) return std::nullopt;
  return value << shift;
}

LimitOptions::LimitOptions(CLI::App& app, Commands& commands, std::function<int()>& action)
    : app(app), commands(commands), action(action) {
  addLimitMemory();
  addLimitCpu();
  addLimitDisk();
  addLimitBandwidth();
  addNetIn();
  addNetOut();
}

template <typename Request>
CLI::App* LimitOptions::add(const char* name, const char* description, Request& request,
                            int (Commands::*run)(const Request&)) {
  auto* command = app.add_subcommand(name, description);
  command
      ->add_option_function<std::string>(
          "HANDLE", [&request](Text value) { request.set_handle(value); }, "of the container")
      ->required()
      ->type_name("");
  command->callback([this, &request, run] {
    action = [this, &request, run] { return (commands.*run)(request); };
  });
  return command;
}

void LimitOptions::addLimitMemory() {
  auto* command = add("limit-memory", "limit a container's memory, or print its limit", memory,
                      &Commands::limitMemory);
  command
      ->add_option_function<std::string>(
          "SIZE", [this](Text value) { memory.set_limit_in_bytes(sizeOr(value, UINT64_MAX)); },
          "memory, and memory and swap together; or unlimited; absent: print what is in force")
      ->type_name("");
  command->footer(SIZES);
}

void LimitOptions::addLimitCpu() {
  add("limit-cpu", "set a container's share of the processors, or print it", cpu,
      &Commands::limitCpu)
      ->add_option_function<std::string>(
          "SHARES", [this](Text value) { cpu.set_limit_in_shares(numberOf(value)); },
          "relative to the 1024 of a new container; absent: print what is in force")
      ->type_name("");
}

void LimitOptions::addLimitDisk() {
  using Request = LimitDiskRequest;
  struct Option {
    const char* name;
    void (Request::*set)(uint64_t);
    uint64_t (*parse)(Text, uint64_t);
    const char* type;
    const char* help;
  };
  static const Option OPTIONS[] = {
      {"--byte", &Request::set_byte, sizeOr, "SIZE", "hard limit on disk space"},
      {"--byte-limit", &Request::set_byte_limit, sizeOr, "SIZE", "as --byte"},
      {"--byte-hard", &Request::set_byte_hard, sizeOr, "SIZE", "as --byte"},
      {"--byte-soft", &Request::set_byte_soft, sizeOr, "SIZE", "soft limit on disk space"},
      {"--block", &Request::set_block, numberOr, "BLOCKS", "as --byte, in blocks of 1024 bytes"},
      {"--block-limit", &Request::set_block_limit, numberOr, "BLOCKS", "as --block"},
      {"--block-hard", &Request::set_block_hard, numberOr, "BLOCKS", "as --block"},
      {"--block-soft", &Request::set_block_soft, numberOr, "BLOCKS", "as --byte-soft, in blocks"},
      {"--inode", &Request::set_inode, numberOr, "INODES", "hard limit on files and directories"},
      {"--inode-limit", &Request::set_inode_limit, numberOr, "INODES", "as --inode"},
      {"--inode-hard", &Request::set_inode_hard, numberOr, "INODES", "as --inode"},
      {"--inode-soft", &Request::set_inode_soft, numberOr, "INODES",
       "soft limit on files and directories"},
  };
  auto* command =
      add("limit-disk", "limit a container's disk space and inodes, or print its limits", disk,
          &Commands::limitDisk);
  for (const auto& option : OPTIONS) {
    command
        ->add_option_function<std::string>(
            option.name,
            [this, &option](Text value) { (disk.*option.set)(option.parse(value, 0)); },
            option.help)
        ->type_name(option.type);
  }
  command->footer(
      std::string("\nWithout an option the limits in force are printed. 0 or 'unlimited' removes a "
                  "limit.\nOf several options for one limit, the later in the order -limit, none, "
                  "-hard counts, and blocks\ngo before bytes.") +
      SIZES);
}

void LimitOptions::addLimitBandwidth() {
  auto* command = add("limit-bandwidth", "limit what a container sends and what it receives",
                      bandwidth, &Commands::limitBandwidth);
  command
      ->add_option_function<std::string>(
          "RATE", [this](Text value) { bandwidth.set_rate(sizeOf(value)); },
          "SIZE a second, in each direction")
      ->required()
      ->type_name("");
  command
      ->add_option_function<std::string>(
          "BURST", [this](Text value) { bandwidth.set_burst(sizeOf(value)); },
          "SIZE that may pass at once")
      ->required()
      ->type_name("");
  command->footer(SIZES);
}

void LimitOptions::addNetIn() {
  auto* command = add("net-in", "map a tcp port of the host to one of a container, and print both",
                      netIn, &Commands::netIn);
  command
      ->add_option_function<uint32_t>(
          "--host-port", [this](const uint32_t& value) { netIn.set_host_port(value); },
          "of the host's external address (default: the next of the server's pool)")
      ->type_name("PORT");
  command
      ->add_option_function<uint32_t>(
          "--container-port", [this](const uint32_t& value) { netIn.set_container_port(value); },
          "(default: the same as the host's)")
      ->type_name("PORT");
}

void LimitOptions::addNetOut() {
  static const std::map<std::string, NetOutRequest::Protocol> PROTOCOLS = {
      {"tcp", NetOutRequest::TCP},
      {"udp", NetOutRequest::UDP},
      {"icmp", NetOutRequest::ICMP},
      {"all", NetOutRequest::ALL}};
  auto* command = add("net-out", "let a container open connections", netOut, &Commands::netOut);
  command
      ->add_option_function<std::string>(
          "--network", [this](Text value) { netOut.set_network(value); },
          "an address, a network as in 10.0.0.0/8, or a range as in 10.0.0.1-10.0.0.9 (default: "
          "any)")
      ->type_name("NETWORK");
  command
      ->add_option_function<uint32_t>(
          "--port", [this](const uint32_t& value) { netOut.set_port(value); }, "(default: any)")
      ->type_name("PORT");
  command
      ->add_option_function<std::string>(
          "--port-range", [this](Text value) { netOut.set_port_range(value); },
          "instead of --port, as in 8000:8080")
      ->type_name("FIRST:LAST");
  command
      ->add_option_function<std::string>(
          "--protocol", [this](Text value) { netOut.set_protocol(PROTOCOLS.at(value)); },
          "(default: tcp; all ignores ports)")
      ->check(CLI::IsMember(&PROTOCOLS))
      ->type_name("PROTOCOL");
  command
      ->add_option_function<int32_t>(
          "--icmp-type", [this](const int32_t& value) { netOut.set_icmp_type(value); },
          "0 to 255; -1: any")
      ->type_name("TYPE");
  command
      ->add_option_function<int32_t>(
          "--icmp-code", [this](const int32_t& value) { netOut.set_icmp_code(value); },
          "0 to 255; -1: any")
      ->type_name("CODE");
  command->add_flag_callback(
      "--log", [this] { netOut.set_log(true); },
      "have the kernel log each new connection that this lets pass");
  command->footer("\nNeeds --network, --port or --port-range. Rules add up.");
}

}  // namespace warden::client
