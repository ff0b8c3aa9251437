// The part of a container that concerns its network.

#include <kj/debug.h>

#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

namespace {

kj::Exception portInUse(uint16_t port) {
  return clientErrorOf("host_port ", port,
                       " is mapped already; a port that no container has is accepted");
}

kj::Exception noPortLeft(const PortRange& range) {
  if (range.count == 0) {
    return clientErrorOf(
        "there is no pool of ports: the host's ephemeral ports leave none; ask for a host_port, or "
        "configure port.pool_start_port");
  }
  return clientErrorOf("all ports of the pool, ", range.first, " to ",
                       range.first + range.count - 1,
                       ", are in use; destroy a container, or configure a larger port.pool_size");
}

}  // namespace

void Container::keepPort(PortMapping mapping, Port&& port, UserShare&& share) {
  KJ_IF_MAYBE (held, resources) {
    mappings.push_back(mapping);
    saveSoon();
    held->ports.add(kj::mv(port));
    held->portShares.add(kj::mv(share));
  }
}

kj::Promise<PortMapping> Container::mapPort(Fd client, PortRequest request, UserShare share) {
  return change(changes,
                [this, request, client = kj::mv(client),
                 share = kj::mv(share)]() mutable -> kj::Promise<PortMapping> {
                  requireActive();
                  int socket = client;
                  auto mapped = [&]() {
                    KJ_IF_MAYBE (hostPort, request.hostPort) {
                      return mapThisPort(socket, *hostPort,
                                         request.containerPort.orDefault(*hostPort), kj::mv(share));
                    }
                    return mapNextPort(socket, request.containerPort, kj::mv(share), {});
                  }();
                  return mapped.attach(kj::mv(client));
                });
}

kj::Promise<PortMapping> Container::mapThisPort(int client, uint16_t hostPort,
                                                uint16_t containerPort, UserShare share) {
  KJ_IF_MAYBE (port, services.ports.take(hostPort)) {
    return services.helper.mapPort(client, containerId, hostPort, containerPort)
        .then([this, hostPort, containerPort, port = kj::mv(*port),
               share = kj::mv(share)](bool mapped) mutable {
          if (!mapped) kj::throwFatalException(portInUse(hostPort));
          PortMapping mapping{hostPort, containerPort};
          keepPort(mapping, kj::mv(port), kj::mv(share));
          return mapping;
        });
  }
  return portInUse(hostPort);
}

kj::Promise<PortMapping> Container::mapNextPort(int client, kj::Maybe<uint16_t> containerPort,
                                                UserShare share, kj::Vector<Port> unusable) {
  requireActive();
  KJ_IF_MAYBE (port, services.ports.next()) {
    auto hostPort = static_cast<uint16_t>(port->number());
    PortMapping mapping{hostPort, containerPort.orDefault(hostPort)};
    return services.helper.mapPort(client, containerId, mapping.hostPort, mapping.containerPort)
        .then([this, client, containerPort, mapping, port = kj::mv(*port), share = kj::mv(share),
               unusable = kj::mv(unusable)](bool mapped) mutable -> kj::Promise<PortMapping> {
          if (mapped) {
            keepPort(mapping, kj::mv(port), kj::mv(share));
            return mapping;
          }
          // Kept out of the pool until one has been found, so that none is tried twice.
          unusable.add(kj::mv(port));
          return mapNextPort(client, containerPort, kj::mv(share), kj::mv(unusable));
        });
  }
  return noPortLeft(services.ports.covers());
}

kj::Promise<void> Container::allowOut(Fd client, const OutRule& rule) {
  return change(changes, [this, rule, client = kj::mv(client)]() mutable {
    requireActive();
    return services.helper.allowOut(client, containerId, rule).then([this, rule]() {
      rules.push_back(rule);
      saveSoon();
    });
  });
}

}  // namespace warden::frontend
