#pragma once
// Files of the host that tests give to containers, and requests about them.

#include <map>
#include <string>

#include "tests/support/test-client.h"
#include "tests/support/test-server.h"

namespace warden::test {

CreateRequest bindRequest(const std::string& handle, const std::string& source,
                          const std::string& target,
                          CreateRequest::BindMount::Mode mode = CreateRequest::BindMount::RO);
void addBind(CreateRequest& request, const std::string& source, const std::string& target,
             CreateRequest::BindMount::Mode mode = CreateRequest::BindMount::RO);
CreateRequest rootfsRequest(const std::string& handle, const std::string& rootfs);

void makeOwned(const std::string& directory, uid_t owner, mode_t mode = 0755);
void writeOwned(const std::string& path, const std::string& content, uid_t owner,
                mode_t mode = 0644);
void giveTree(const std::string& root, uid_t owner);
// To this user and the group of the same number.

std::string ownerOf(const std::string& path);
// "UID:GID MODE", with the mode in octal, set-id bits included; without following links.

size_t countWorkers(const TestServer& server);
// Processes of the porter that work for a client.

}  // namespace warden::test
