#include "privhelper/cgroups-devices.h"

#include <kj/vector.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint8_t RESULT = BPF_REG_0;
constexpr uint8_t CONTEXT = BPF_REG_1;  // of struct bpf_cgroup_dev_ctx
constexpr uint8_t TYPE = BPF_REG_2;
constexpr uint8_t MAJOR = BPF_REG_3;
constexpr uint8_t MINOR = BPF_REG_4;

// Instructions as in Documentation/bpf/standardization/instruction-set.rst.
bpf_insn load(uint8_t to, size_t offset) {
  return {.code = BPF_LDX | BPF_MEM | BPF_W,
          .dst_reg = to,
          .src_reg = CONTEXT,
          .off = static_cast<int16_t>(offset),
          .imm = 0};
}

bpf_insn keepBits(uint8_t in, int32_t mask) {
  return {.code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = in, .src_reg = 0, .off = 0, .imm = mask};
}

bpf_insn skipUnless(uint8_t value, int32_t equals, int16_t count) {
  return {.code = BPF_JMP | BPF_JNE | BPF_K,
          .dst_reg = value,
          .src_reg = 0,
          .off = count,
          .imm = equals};
}

void answer(kj::Vector<bpf_insn>& program, int32_t value) {
  program.add(bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K,
                       .dst_reg = RESULT,
                       .src_reg = 0,
                       .off = 0,
                       .imm = value});
  program.add(bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0});
}

int bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

}  // namespace

kj::String deviceRuleText(const DeviceRule& rule) {
  auto minor = rule.minor == ANY_MINOR ? kj::str('*') : kj::str(rule.minor);
  return kj::str("c ", rule.major, ':', minor, " rwm");
}

kj::Array<bpf_insn> deviceProgram() {
  kj::Vector<bpf_insn> program;
  // access_type holds the kind of access above, the type of device below.
  program.add(load(TYPE, offsetof(bpf_cgroup_dev_ctx, access_type)));
  program.add(load(MAJOR, offsetof(bpf_cgroup_dev_ctx, major)));
  program.add(load(MINOR, offsetof(bpf_cgroup_dev_ctx, minor)));
  program.add(keepBits(TYPE, 0xffff));
  program.add(skipUnless(TYPE, BPF_DEVCG_DEV_CHAR, 1));
  program.add(bpf_insn{.code = BPF_JMP | BPF_JA, .dst_reg = 0, .src_reg = 0, .off = 2, .imm = 0});
  answer(program, 0);
  for (const DeviceRule& rule : ALLOWED_DEVICES) {
    bool any = rule.minor == ANY_MINOR;
    program.add(skipUnless(MAJOR, rule.major, any ? 2 : 3));
    if (!any) program.add(skipUnless(MINOR, rule.minor, 2));
    answer(program, 1);
  }
  answer(program, 0);
  return program.releaseAsArray();
}

void attachDeviceProgram(int cgroup) {
  auto program = deviceProgram();
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.expected_attach_type = BPF_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(program.begin());
  load.insn_cnt = program.size();
  load.license = reinterpret_cast<uint64_t>("none");  // it calls no function of the kernel
  Fd fd(step("load device program", [&] { return bpf(BPF_PROG_LOAD, load); }));

  // Without BPF_F_ALLOW_MULTI and BPF_F_ALLOW_OVERRIDE: one program, which takes the place of the
  // one before, and none below.
  bpf_attr attach{};
  attach.target_fd = cgroup;
  attach.attach_bpf_fd = fd.get();
  attach.attach_type = BPF_CGROUP_DEVICE;
  step("attach device program", [&] { return bpf(BPF_PROG_ATTACH, attach); });
}

}  // namespace warden::privhelper
