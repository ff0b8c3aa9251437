// The part of the registry that says which containers there are, in whatever state.

#include "frontend/registry.h"

namespace warden::frontend {

namespace {

void fill(ListResponse::Container& out, const DyingContainer& dying) {
  out.set_held_up_by(dying.heldUpBy.cStr());
  out.set_seconds(dying.seconds);
}

}  // namespace

std::vector<std::string> Registry::handles(const Requester& requester) const {
  std::vector<std::string> result;
  for (auto& [handle, entry] : entries) {
    if (!requester.mayTouch(entry.container->owner())) continue;
    auto state = entry.container->state();
    if (state == Container::State::ACTIVE || state == Container::State::STOPPED) {
      result.push_back(handle);
    }
  }
  return result;
}

kj::Promise<ListResponse> Registry::describeAll(const Requester& requester) {
  return services.helper.askState().then([this, &requester](HelperState state) {
    ListResponse response;
    for (auto& handle : handles(requester))
      response.add_handles(handle);
    std::map<ContainerId, const DyingContainer*> rest;
    for (auto& container : state.dying)
      rest.emplace(container.id, &container);
    for (auto& [handle, entry] : entries) {
      auto& id = entry.container->id();
      auto found = rest.find(id);
      if (requester.mayTouch(entry.container->owner())) {
        auto& out = *response.add_containers();
        out.set_id(id.text().cStr());
        out.set_handle(handle);
        out.set_state(nameOf(entry.container->state()).cStr());
        if (found != rest.end()) fill(out, *found->second);
      }
      if (found != rest.end()) rest.erase(found);
    }
    // What an earlier frontend or server has left: its handles are not known.
    for (auto& [id, container] : rest) {
      bool isBusiness = requester.isAdministrator();
      KJ_IF_MAYBE (owner, container->owner) isBusiness |= requester.mayTouch(*owner);
      if (!isBusiness) continue;
      auto& out = *response.add_containers();
      out.set_id(id.text().cStr());
      out.set_state(nameOf(Container::State::DESTROYED).cStr());
      fill(out, *container);
    }
    return response;
  });
}

}  // namespace warden::frontend
