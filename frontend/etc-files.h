#pragma once
// Who a container's users are, and the files in /etc that say so: the image's own, with vcap as
// this container has it.

#include <sys/stat.h>

#include <string>

#include "base/accounts.h"
#include "base/config.h"
#include "base/container-id.h"
#include "frontend/helper-client.h"
#include "frontend/network-pool.h"

namespace warden::frontend {

struct ContainerUser {
  // Whom a job runs as; ids are the container's.
  kj::String name;
  uint32_t uid;
  uint32_t gid;
  kj::Array<uint32_t> groups;
  kj::String home;

  ContainerUser copy() const;
};

struct ContainerSetup {
  EtcFiles files;
  ContainerImage image;
  ContainerUser vcap;
  ContainerUser root;
};

class ImageFacts {
  // What an image says about users. Read when first needed and again when the files have changed.

 public:
  explicit ImageFacts(Fd imageDirectory) : image(kj::mv(imageDirectory)) {}

  explicit ImageFacts(OpenedImage opened);
  // Of an image of which there are these descriptors only. Throws as accounts().

  uint32_t number() const { return imageNumber; }
  // Of OpenedImage; 0.

  struct Accounts {
    kj::Vector<PasswdEntry> passwd;
    kj::Vector<GroupEntry> group;
    kj::Maybe<ImageOwner> vcap;
    // Where the image has a vcap with both ids in 1..65535; other ids could name container root's
    // files, or nobody's.
  };

  const Accounts& accounts();
  // Throws an error for the client when a file is there but is no regular file, is larger than 1
  // MiB or cannot be read. Valid until the next call.

  bool hasDirectory(kj::StringPtr absolutePath) const;
  // As a process inside of the image would find it.

 private:
  struct Version {
    // Of one file; all zero: there is none.
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    timespec modified = {};
    timespec changed = {};
    bool operator==(const Version& other) const;
  };
  struct File {
    Fd fd;  // O_PATH
    Version version;
  };

  Fd image;  // none: what can be known is in `cached`
  uint32_t imageNumber = 0;
  bool hasRootHome = false;
  kj::Maybe<Accounts> cached;
  Version passwdVersion;
  Version groupVersion;

  File find(kj::StringPtr path) const;
  kj::Array<char> read(kj::StringPtr path, const File& file) const;
};

ContainerSetup setUpContainer(ImageFacts& image, const ContainerId& id, uint32_t vcapId,
                              const ContainerAddresses& addresses, const Config::Network& network,
                              const std::string& hostResolvConf);
// `vcapId`: vcap's uid and gid, in the container. Throws as ImageFacts::accounts.
//
// resolv.conf has network.dns_servers, or is the host's with a name server on the host itself
// (127.0.0.0/8, ::1) replaced by the address that the host has for the container.

}  // namespace warden::frontend
