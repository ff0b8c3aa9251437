#include "base/access.h"

#include <gtest/gtest.h>

namespace warden {
namespace {

std::string cut(const std::string& path, const std::vector<HostPrefix>& prefixes,
                HostUse use = HostUse::READ) {
  auto found = findPrefix(prefixes, use, path);
  return found ? found->prefix.path + " | " + found->rest : "none";
}

TEST(FindPrefixTest, cutsAPathWhereThePrefixEnds) {
  std::vector<HostPrefix> prefixes{{"/srv/a"}};
  EXPECT_EQ(cut("/srv/a", prefixes), "/srv/a | ");
  EXPECT_EQ(cut("/srv/a/", prefixes), "/srv/a | ./");
  EXPECT_EQ(cut("/srv/a/b/c", prefixes), "/srv/a | b/c");
  EXPECT_EQ(cut("/srv/a/b/", prefixes), "/srv/a | b/");
}

TEST(FindPrefixTest, comparesWholeNames) {
  std::vector<HostPrefix> prefixes{{"/srv/a"}};
  for (const char* path : {"/srv/ab", "/srv/ab/c", "/srv", "/srv/", "/", "/x/srv/a", "/srv/b",
                           "srv/a", "", "a", "/srv/a.", "/srv/.a"}) {
    EXPECT_EQ(cut(path, prefixes), "none") << path;
  }
}

TEST(FindPrefixTest, readsSlashesAndDotsAsTheKernelDoes) {
  std::vector<HostPrefix> prefixes{{"/srv/a"}};
  for (const char* path :
       {"//srv/a/b", "/srv//a/b", "/./srv/./a/./b", "/srv/a//b", "/srv/a/.//./b"})
    EXPECT_EQ(cut(path, prefixes), "/srv/a | b") << path;
  EXPECT_EQ(cut("/srv/a/.", prefixes), "/srv/a | ./");
  EXPECT_EQ(cut("/srv/a/..b", prefixes), "/srv/a | ..b");
  EXPECT_EQ(cut("/srv/a/.b", prefixes), "/srv/a | .b");
}

TEST(FindPrefixTest, leavesTheWayUpToWhoeverOpens) {
  std::vector<HostPrefix> prefixes{{"/srv/a"}};
  EXPECT_EQ(cut("/srv/a/../b", prefixes), "/srv/a | ../b");
  EXPECT_EQ(cut("/srv/b/../a", prefixes), "none");
  EXPECT_EQ(cut("/../srv/a", prefixes), "none");
}

TEST(FindPrefixTest, takesTheLongestThatGrantsTheUse) {
  std::vector<HostPrefix> prefixes{
      {"/", true, false}, {"/srv", true, true}, {"/srv/a", true, false}};
  EXPECT_EQ(cut("/srv/a/b", prefixes), "/srv/a | b");
  EXPECT_EQ(cut("/srv/a/b", prefixes, HostUse::WRITE), "/srv | a/b");
  EXPECT_EQ(cut("/etc", prefixes), "/ | etc");
  EXPECT_EQ(cut("/etc", prefixes, HostUse::WRITE), "none");
  EXPECT_EQ(cut("/", prefixes), "/ | ./");
  EXPECT_EQ(cut("/srv", {}), "none");
}

TEST(IsSystemTargetTest, isTheRootAndWhatTheContainersSystemIs) {
  for (const char* target : {"/", "//", "/.", "/proc", "/proc/", "/proc/self", "//sys",
                             "/./dev/null", "", "relative", ".", ".."}) {
    EXPECT_TRUE(isSystemTarget(target)) << target;
  }
  for (const char* target : {"/process", "/mnt/proc", "/device", "/system/x", "/etc/hosts", "/tmp"})
    EXPECT_FALSE(isSystemTarget(target)) << target;
}

Config::Access accessWith(Config::AccessRule rule) {
  Config::Access access;
  rule.user = NamedAt{"1000", 1};
  access.rules.push_back(std::move(rule));
  return access;
}

PeerCredentials user(uid_t uid) {
  return {1, uid, uid, nullptr};
}

TEST(GrantTest, isEverythingThatTheUserMayOpenWhereNothingIsSaid) {
  for (auto access : {Config::Access(), accessWith({})}) {
    AccessPolicy policy(access, "w.yml");
    for (uid_t uid : {0, 1000, 1001}) {
      auto& grant = policy.grantOf(user(uid));
      EXPECT_FALSE(grant.imagesAreVouchedFor) << uid;
      EXPECT_TRUE(findPrefix(grant.images, HostUse::READ, "/any/where"));
      EXPECT_TRUE(findPrefix(grant.bindMounts, HostUse::WRITE, "/any/where"));
      EXPECT_TRUE(findPrefix(grant.copies, HostUse::WRITE, "/any/where"));
    }
  }
}

TEST(GrantTest, isNothingToWhomTheConfigurationDenies) {
  Config::Access access;
  access.otherwiseAllowed = false;
  auto& grant = AccessPolicy(access, "w.yml").grantOf(user(1000));
  EXPECT_TRUE(grant.images.empty() && grant.bindMounts.empty() && grant.copies.empty());
}

TEST(GrantTest, vouchesForImagesThatTheConfigurationNames) {
  Config::AccessRule rule;
  rule.images = {"/srv/images"};
  AccessPolicy policy(accessWith(rule), "w.yml");
  auto& grant = policy.grantOf(user(1000));
  EXPECT_TRUE(grant.imagesAreVouchedFor);
  EXPECT_FALSE(findPrefix(grant.images, HostUse::READ, "/etc"));
  EXPECT_FALSE(policy.grantOf(user(1001)).imagesAreVouchedFor);
}

}  // namespace
}  // namespace warden
