#include "frontend/request-counts.h"

namespace warden::frontend {

const char* nameOfRequest(Message::Type type) {
  switch (type) {
    case Message::Create:
      return "create";
    case Message::Stop:
      return "stop";
    case Message::Destroy:
      return "destroy";
    case Message::Info:
      return "info";
    case Message::Spawn:
      return "spawn";
    case Message::Link:
      return "link";
    case Message::Run:
      return "run";
    case Message::Stream:
      return "stream";
    case Message::NetIn:
      return "net_in";
    case Message::NetOut:
      return "net_out";
    case Message::CopyIn:
      return "copy_in";
    case Message::CopyOut:
      return "copy_out";
    case Message::LimitMemory:
      return "limit_memory";
    case Message::LimitDisk:
      return "limit_disk";
    case Message::LimitBandwidth:
      return "limit_bandwidth";
    case Message::LimitCpu:
      return "limit_cpu";
    case Message::Ping:
      return "ping";
    case Message::List:
      return "list";
    case Message::Echo:
      return "echo";
    case Message::Whoami:
      return "whoami";
    case Message::Error:
      return "error";
  }
  return "unknown";
}

const char* nameOf(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::DONE:
      return "done";
    case RequestOutcome::FAILED:
      return "failed";
    case RequestOutcome::UNDECODABLE:
      return "undecodable";
    case RequestOutcome::GONE:
      return "gone";
  }
  return "unknown";
}

}  // namespace warden::frontend
