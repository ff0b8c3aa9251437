// The backends that limit disk use, each on a real file system: the loop backend wherever the test
// runs, btrfs and xfs on images of their own, project quotas of ext4 where the test's directory has
// them.

#include "tests/unit/privhelper-disk-testing.h"

namespace warden::privhelper {
namespace {

TEST_P(DiskTest, saysWhichItIsAndWhy) {
  EXPECT_STREQ(disks().name().cStr(), GetParam().backend);
  EXPECT_GT(disks().reason().size(), 0u);
}

TEST_P(DiskTest, isUnlimitedAndRootsAtFirst) {
  Disk d = make("a");
  DiskLimits limits = d.disk->limits();
  EXPECT_EQ(limits.blocksHard, 0u);
  EXPECT_EQ(limits.inodesHard, 0u);
  EXPECT_EQ(writeFile(d.layer, "f", 16 * MIB).error, 0);
  struct stat status;
  KJ_SYSCALL(fstat(d.disk->directory(), &status));
  EXPECT_EQ(status.st_uid, 0u);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  KJ_SYSCALL(fstatat(AT_FDCWD, (depot / "a" / "tmp" / "rootfs" / "f").c_str(), &status, 0));
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), 16 * MIB);
}

TEST_P(DiskTest, refusesEverybodyWhatGoesPastTheLimit) {
  for (uid_t uid : {uid_t(0), VCAP}) {
    Disk d = make("a");
    setLimits(*d.disk, {0, 8 * 1024, 0, 0});
    int answer = inChild(uid, [&] {
      Written written = writeFile(d.layer, "f", 32 * MIB);
      if (written.error != GetParam().pastLimit) return 1;
      return written.bytes > 8 * MIB || written.bytes < 6 * MIB ? 2 : 0;
    });
    EXPECT_EQ(answer, 0) << "uid " << uid;
    EXPECT_LE(d.disk->usage().bytes, 8 * MIB);
    d.layer = nullptr;
    d.disk = nullptr;
    remove("a");
  }
}

TEST_P(DiskTest, changesTheLimitInAnyOrder) {
  Disk d = make("a");
  struct {
    uint64_t mib;
    bool fits;  // a little more than another MiB
  } steps[] = {{4, true},  {64, true}, {1, false}, {3, false},
               {32, true}, {0, true},  {2, false}, {16, true}};
  ASSERT_EQ(writeFile(d.layer, "first", 2 * MIB).error, 0);
  int number = 0;
  for (auto& step : steps) {
    setLimits(*d.disk, {0, step.mib * 1024, 0, 0});
    EXPECT_EQ(d.disk->limits().blocksHard, step.mib * 1024);
    Written written = writeFile(d.layer, "more" + std::to_string(number), MIB + 64 * 1024);
    EXPECT_EQ(written.error, step.fits ? 0 : GetParam().pastLimit)
        << step.mib << " MiB, step " << number;
    unlinkat(d.layer, ("more" + std::to_string(number++)).c_str(), 0);
  }
}

TEST_P(DiskTest, letsWhatIsOverALoweredLimitBeReadAndRemoved) {
  Disk d = make("a");
  ASSERT_EQ(writeFile(d.layer, "f", 8 * MIB).error, 0);
  setLimits(*d.disk, {0, 1024, 0, 0});
  EXPECT_NE(writeFile(d.layer, "g", MIB).error, 0);
  char byte;
  Fd file(openat(d.layer, "f", O_RDONLY));
  EXPECT_EQ(pread(file, &byte, 1, 8 * MIB - 1), 1);
  EXPECT_EQ(unlinkat(d.layer, "f", 0), 0);
  unlinkat(d.layer, "g", 0);
  file = nullptr;
  EXPECT_EQ(writeFile(d.layer, "h", MIB / 2).error, 0);
}

TEST_P(DiskTest, limitsInodesForEverybody) {
  if (!GetParam().inodes) GTEST_SKIP() << "bytes only";
  for (uid_t uid : {uid_t(0), VCAP}) {
    Disk d = make("a");
    uint64_t used = d.disk->usage().inodes;
    setLimits(*d.disk, {0, 0, 0, used + 100});
    EXPECT_EQ(d.disk->limits().inodesHard, used + 100);
    int answer = inChild(uid, [&] {
      int error;
      uint64_t made = makeFiles(d.layer, "f", 1000, error);
      return error != GetParam().pastLimit ? 255 : int(made);
    });
    EXPECT_EQ(answer, 100);
    EXPECT_EQ(d.disk->usage().inodes, used + 100);
    d.layer = nullptr;
    d.disk = nullptr;
    remove("a");
  }
}

TEST_P(DiskTest, changesTheInodeLimitInAnyOrder) {
  if (!GetParam().inodes) GTEST_SKIP() << "bytes only";
  Disk d = make("a");
  uint64_t used = d.disk->usage().inodes;
  int error;
  auto attempt = [&](uint64_t limit) {
    setLimits(*d.disk, {0, 0, 0, limit});
    uint64_t made = makeFiles(d.layer, "f", 400, error);
    EXPECT_TRUE(soon([&]() { return d.disk->usage().inodes == used + made; }));
    for (uint64_t i = 0; i < made; ++i)
      KJ_SYSCALL(unlinkat(d.layer, ("f" + std::to_string(i)).c_str(), 0));
    EXPECT_TRUE(soon([&]() { return d.disk->usage().inodes == used; }));
    return made;
  };
  EXPECT_EQ(attempt(used + 200), 200u);
  EXPECT_EQ(attempt(used + 300), 300u);
  EXPECT_EQ(attempt(used + 10), 10u);
  EXPECT_EQ(attempt(0), 400u);
  EXPECT_EQ(attempt(used), 0u);
  EXPECT_EQ(attempt(used + 50), 50u);
}

TEST_P(DiskTest, limitsInodesAndBytesAtOnce) {
  if (!GetParam().inodes) GTEST_SKIP() << "bytes only";
  Disk d = make("a");
  uint64_t used = d.disk->usage().inodes;
  setLimits(*d.disk, {0, 4 * 1024, 0, used + 5});
  int error;
  EXPECT_EQ(makeFiles(d.layer, "f", 10, error), 5u);
  EXPECT_EQ(error, GetParam().pastLimit);
  Written written = writeFile(d.layer, "f0", 16 * MIB);
  EXPECT_EQ(written.error, GetParam().pastLimit);
  EXPECT_LE(written.bytes, 4 * MIB);
  EXPECT_GE(written.bytes, 3 * MIB);
  EXPECT_LE(d.disk->usage().bytes, 4 * MIB);
}

TEST_P(DiskTest, refusesToLimitWhatItCannotCount) {
  Disk d = make("a");
  if (!GetParam().inodes) {
    try {
      setLimits(*d.disk, {0, 1024, 0, 10});
      ADD_FAILURE() << "no error";
    } catch (const StepError& e) {
      EXPECT_EQ(e.error(), ENOTSUP);
    }
    EXPECT_EQ(d.disk->limits().blocksHard, 0u);
  }
  for (DiskLimits limits :
       {DiskLimits{0, UINT64_MAX, 0, 0}, DiskLimits{UINT64_MAX / 1024 + 2, 0, 0, 0}}) {
    try {
      d.disk->setLimits(limits);
      ADD_FAILURE() << "no error";
    } catch (const StepError& e) {
      EXPECT_EQ(e.error(), ERANGE);
    }
  }
}

TEST_P(DiskTest, tellsWhatIsUsedAtOnce) {
  Disk d = make("a");
  DiskUsage before = d.disk->usage();
  EXPECT_LE(before.bytes, 64 * 1024u);
  ASSERT_EQ(writeFile(d.layer, "f", 5 * MIB).error, 0);
  DiskUsage after = d.disk->usage();
  EXPECT_GE(after.bytes - before.bytes, 5 * MIB);
  EXPECT_LE(after.bytes - before.bytes, 5 * MIB + 256 * 1024);
  if (GetParam().inodes) {
    EXPECT_EQ(after.inodes - before.inodes, 1u);
  }
  unlinkat(d.layer, "f", 0);
  // btrfs counts what is freed with its next commit.
  if (!GetParam().inodes) {
    KJ_SYSCALL(syncfs(d.layer));
  }
  EXPECT_TRUE(soon([&]() { return d.disk->usage().bytes <= before.bytes + 64 * 1024; }));
}

TEST_P(DiskTest, countsEachContainerByItself) {
  Disk a = make("a", 0);
  Disk b = make("b", 1);
  setLimits(*a.disk, {0, 1024, 0, 0});
  EXPECT_EQ(writeFile(a.layer, "f", 4 * MIB).error, GetParam().pastLimit);
  EXPECT_EQ(writeFile(b.layer, "f", 4 * MIB).error, 0);
  EXPECT_LE(a.disk->usage().bytes, MIB);
  EXPECT_GE(b.disk->usage().bytes, 4 * MIB);
}

TEST_P(DiskTest, holdsInAContainer) {
  // overlayfs writes with the rights of who mounted it.
  Disk d = make("a");
  {
    Overlay overlay(*d.disk, base);
    setLimits(*d.disk, {0, 8 * 1024, 0, 0});
    auto attempt = [&](const char* name) {
      Written written = writeFile(overlay.fd(), name, 32 * MIB);
      return written.error == GetParam().pastLimit && written.bytes <= 8 * MIB ? 0 : 1;
    };
    EXPECT_EQ(inUserNamespace([&] { return attempt("by-root"); }), 0);
    EXPECT_EQ(inUserNamespace([&] {
                if (setresuid(1000, 1000, 1000) < 0) return 2;
                return attempt("by-vcap");
              }),
              0);
    EXPECT_LE(d.disk->usage().bytes, 8 * MIB);
  }
}

TEST_P(DiskTest, letsNobodyInAContainerChangeWhoseFilesCount) {
  Disk d = make("a");
  setLimits(*d.disk, {0, 8 * 1024, 0, 0});
  {
    Overlay overlay(*d.disk, base);
    int answer = inUserNamespace([&] {
      Fd file(openat(overlay.fd(), "f", O_RDWR | O_CREAT, 0644));
      if (file == nullptr) return 10;
      fsxattr attributes{};
      if (ioctl(file, FS_IOC_FSGETXATTR, &attributes) < 0) return errno == ENOTTY ? 0 : 11;
      attributes.fsx_projid = 0;
      if (GetParam().open == openProject && ioctl(file, FS_IOC_FSSETXATTR, &attributes) == 0) {
        return 12;
      }
      // Nor stop new files from inheriting it.
      if (mkdirat(overlay.fd(), "directory", 0755) < 0) return 13;
      Fd directory(openat(overlay.fd(), "directory", O_RDONLY | O_DIRECTORY));
      if (directory == nullptr) return 13;
      int flags = 0;
      if (ioctl(directory, FS_IOC_GETFLAGS, &flags) == 0) {
        flags &= ~FS_PROJINHERIT_FL;
        ioctl(directory, FS_IOC_SETFLAGS, &flags);
      }
      if (ioctl(directory, FS_IOC_FSGETXATTR, &attributes) == 0) {
        attributes.fsx_xflags &= ~FS_XFLAG_PROJINHERIT;
        ioctl(directory, FS_IOC_FSSETXATTR, &attributes);
      }
      Written written = writeFile(directory, "g", 32 * MIB);
      return written.error == GetParam().pastLimit && written.bytes <= 8 * MIB ? 0 : 14;
    });
    EXPECT_EQ(answer, 0);
    EXPECT_GE(d.disk->usage().bytes, 6 * MIB);
  }
}

TEST_P(DiskTest, takesNoMoreFromTheDepotThanTheLimitHoweverMuchIsWrittenInAll) {
  if (GetParam().open != openLoop) GTEST_SKIP() << "of images";
  Disk d = make("a");
  setLimits(*d.disk, {0, 8 * 1024, 0, 0});
  for (int i = 0; i < 20; ++i) {
    std::string name = "f" + std::to_string(i);
    ASSERT_EQ(writeFile(d.layer, name, 7 * MIB).error, 0);
    ASSERT_EQ(unlinkat(d.layer, name.c_str(), 0), 0);
    KJ_SYSCALL(syncfs(d.layer));
  }
  uint64_t taken = 0;
  for (int i = 0; i < 100; ++i) {
    struct stat status;
    KJ_SYSCALL(stat((depot / "a" / "disk.img").c_str(), &status));
    taken = uint64_t(status.st_blocks) * 512;
    if (taken < 16 * MIB) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_LT(taken, 16 * MIB);
}

TEST_P(DiskTest, readsUsageQuickly) {
  Disk d = make("a");
  using Clock = std::chrono::steady_clock;
  auto start = Clock::now();
  constexpr int TIMES = 1000;
  for (int i = 0; i < TIMES; ++i)
    d.disk->usage();
  std::chrono::duration<double, std::micro> each = (Clock::now() - start) / TIMES;
  RecordProperty("usage_us", std::to_string(each.count()));
  // 100 on a quiet machine; others may be at work on this one.
  EXPECT_LT(each.count(), 500);
}

TEST_P(DiskTest, startsAnewInASlotThatWasUsedBefore) {
  {
    Disk d = make("a", 3);
    setLimits(*d.disk, {0, 1024, 0, 0});
    writeFile(d.layer, "f", MIB / 2);
  }
  // The tree of the first is not removed yet.
  Disk d = make("b", 3);
  EXPECT_EQ(d.disk->limits().blocksHard, 0u);
  EXPECT_LE(d.disk->usage().bytes, 64 * 1024u);
  EXPECT_EQ(writeFile(d.layer, "f", 4 * MIB).error, 0);
}

TEST_P(DiskTest, leavesNothingBehind) {
  const char* chosen = getenv("WARDEN_TEST_CYCLES");
  int cycles = chosen == nullptr ? 100 : atoi(chosen);
  for (int i = 0; i < cycles; ++i) {
    {
      Disk d = make("a", i % 16);
      setLimits(*d.disk, {0, 4096, 0, 0});
      ASSERT_EQ(writeFile(d.layer, "f", 64 * 1024).error, 0);
    }
    remove("a");
  }
  EXPECT_EQ(remains(), "");
}

TEST_P(DiskTest, removesWhatAServerThatWasKilledLeft) {
  // A process with a mount namespace of its own, as the server's broker.
  Pipe ready = makePipe();
  pid_t pid = fork();
  if (pid == 0) {
    unshare(CLONE_NEWNS);
    Disk d = make("a");
    setLimits(*d.disk, {0, 4096, 0, 0});
    writeFile(d.layer, "f", MIB);
    (void)!write(ready.writeEnd, "x", 1);
    for (;;)
      pause();
  }
  char byte;
  ASSERT_EQ(read(ready.readEnd, &byte, 1), 1);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  backend = GetParam().open(config, depotFd);
  remove("a");
  for (int i = 0; i < 100 && !remains().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(remains(), "");
}

TEST_P(DiskTest, hasRoomInTheDepotForItsFirstTablesAndForLittleElse) {
  if (GetParam().open != openLoop) GTEST_SKIP() << "no image";
  Disk d = make("a");
  struct stat before, after;
  auto image = (depot / "a" / "disk.img").string();
  KJ_SYSCALL(stat(image.c_str(), &before));
  uint64_t bytes = uint64_t(before.st_blocks) * 512;
  EXPECT_GE(bytes, MIB);
  EXPECT_LE(bytes, 5 * MIB / 2);
  // Inodes and their bitmap, of a first few hundred files, take no more.
  int error;
  EXPECT_EQ(makeFiles(d.layer, "f", 500, error), 500u);
  KJ_SYSCALL(syncfs(d.layer));
  KJ_SYSCALL(stat(image.c_str(), &after));
  EXPECT_LE(uint64_t(after.st_blocks) * 512, bytes + 100 * 1024);
}

INSTANTIATE_TEST_SUITE_P(Backends, DiskTest, testing::Values(LOOP, BTRFS, PROJECT, XFS),
                         [](const auto& info) { return std::string(info.param.label); });

TEST(DiskChoiceTest, limitsNothingWhereQuotasAreOff) {
  Config config = configOf("/tmp");
  config.server.diskQuotaEnabled = false;
  Fd depot = openDir("/tmp");
  auto backend = DiskBackend::choose(config, depot);
  EXPECT_STREQ(backend->name().cStr(), "none");
  std::string pattern = "/tmp/warden-disk-XXXXXX";
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  {
    Fd directory = openDir(pattern);
    auto disk = backend->make(0, directory);
    try {
      disk->setLimits({0, 1024, 0, 0});
      ADD_FAILURE() << "no error";
    } catch (const StepError& e) {
      EXPECT_EQ(e.error(), ENOTSUP);
      EXPECT_NE(std::string(e.what()).find("quotas are off"), std::string::npos);
    }
    EXPECT_THROW(disk->usage(), StepError);
  }
  fs::remove_all(pattern);
}

}  // namespace
}  // namespace warden::privhelper
