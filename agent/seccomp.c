#include "seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/bpf_common.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bounds.h"
#include "util.h"
#include "wire.h"

/* Newer than some headers. */
#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW (1u << 2)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1u << 5)
#endif

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define X(name, x86_64, arm64) {#name, x86_64},
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#define X(name, x86_64, arm64) {#name, arm64},
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
/* Both take their numbers from asm-generic; riscv64 adds its own. */
#define X(name, x86_64, arm64) {#name, arm64},
#define MORE_CALLS {"riscv_hwprobe", 258}, {"riscv_flush_icache", 259},
#else
#define NATIVE_ARCH 0
#define X(name, x86_64, arm64) {#name, -1},
#endif

enum {
    X32_BIT = 0x40000000, /* of a system call's number, on x86_64: the same architecture, other calls */
    MAX_ARGUMENTS = 6,
    MAX_CONDITION = 7, /* instructions */
    DEFAULT_ERRNO = EPERM,
};

static const struct {
    const char *name;
    short number;
} calls[] = {
#include "syscall_table.h"
#ifdef MORE_CALLS
    MORE_CALLS
#endif
};

static const struct {
    const char *name;
    uint32_t value;
    bool with_errno;
} actions[] = {
    {"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD, false},
    {"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, false},
    {"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, false},
    {"SCMP_ACT_TRAP", SECCOMP_RET_TRAP, false},
    {"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, true},
    {"SCMP_ACT_TRACE", SECCOMP_RET_TRACE, true},
    {"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, false},
    {"SCMP_ACT_LOG", SECCOMP_RET_LOG, false},
};

static const struct {
    const char *name;
    unsigned value;
} flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", 0}, /* there is one thread */
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0}, /* of use to supervisors only, which are refused */
};

/* Jump offsets of a comparison are filled in when it is known where its rule ends. */
enum { FAIL = 255 };

struct filter_writer {
    struct sock_filter *code;
    size_t size, length;
    bool full;
};

/* ---- what is understood ---- */

static size_t find_action(const char *name)
{
    size_t i = 0;
    while (i < COUNT(actions) && strcmp(actions[i].name, name) != 0)
        i++;
    return i;
}

static size_t find_flag(const char *name)
{
    size_t i = 0;
    while (i < COUNT(flags) && strcmp(flags[i].name, name) != 0)
        i++;
    return i;
}

static int find_call(const char *name)
{
    for (size_t i = 0; i < COUNT(calls); i++)
        if (strcmp(calls[i].name, name) == 0)
            return calls[i].number;
    return -1;
}

static const char *const comparisons[] = {
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ",
};
enum comparison { NOT_EQUAL, LESS, LESS_EQUAL, EQUAL, GREATER_EQUAL, GREATER, MASKED_EQUAL };

static size_t find_comparison(const char *name)
{
    size_t i = 0;
    while (i < COUNT(comparisons) && strcmp(comparisons[i], name) != 0)
        i++;
    return i;
}

bool seccomp_available(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    return NATIVE_ARCH && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

Kata__LinuxSeccomp *seccomp_keep(struct arena *arena, const Kata__LinuxSeccomp *profile)
{
    size_t length = wire_size(&profile->base);
    uint8_t *packed = xcalloc(1, length + 1);
    wire_pack(&profile->base, packed);
    arena_init(arena, MAX_MESSAGE_MEMORY);
    Kata__LinuxSeccomp *copy = wire_unpack(arena, profile->base.descriptor, packed, length);
    free(packed);
    return copy;
}

static const char *unfit_rule(const Kata__LinuxSyscall *rule)
{
    if (find_action(rule->action) == COUNT(actions))
        return "seccomp: a rule's action is not supported";
    if (rule->n_args > MAX_ARGUMENTS)
        return "seccomp: a rule compares too many arguments";
    for (size_t i = 0; i < rule->n_args; i++)
        if (rule->args[i]->index >= MAX_ARGUMENTS || find_comparison(rule->args[i]->op) == COUNT(comparisons))
            return "seccomp: a rule's comparison is not supported";
    return NULL;
}

const char *seccomp_unfit(const Kata__LinuxSeccomp *profile)
{
    if (!seccomp_available())
        return "seccomp: the guest's kernel has no filters";
    if (wire_size(&profile->base) > MAX_SECCOMP_BYTES)
        return "seccomp: the profile is too large";
    if (find_action(profile->default_action) == COUNT(actions))
        return "seccomp: the default action is not supported";
    for (size_t i = 0; i < profile->n_flags; i++)
        if (find_flag(profile->flags[i]) == COUNT(flags))
            return "seccomp: a flag is not supported";
    for (size_t i = 0; i < profile->n_syscalls; i++) {
        const char *why = unfit_rule(profile->syscalls[i]);
        if (why)
            return why;
    }
    return NULL;
}

/* ---- translation ---- */

static void put_instruction(struct filter_writer *writer, unsigned code, uint8_t jump_true, uint8_t jump_false, uint32_t value)
{
    if (writer->length == writer->size) {
        writer->full = true;
        return;
    }
    writer->code[writer->length++]
        = (struct sock_filter){.code = (uint16_t)code, .jt = jump_true, .jf = jump_false, .k = value};
}

static void put_load(struct filter_writer *writer, size_t offset)
{
    put_instruction(writer, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void put_compare(struct filter_writer *writer, unsigned how, uint32_t value, uint8_t jump_true, uint8_t jump_false)
{
    put_instruction(writer, BPF_JMP | BPF_K | how, jump_true, jump_false, value);
}

/* One comparison of a 64-bit argument, in halves; goes on behind itself when it holds, to FAIL when not. */
static void put_condition(struct filter_writer *writer, const Kata__LinuxSeccompArg *wanted)
{
    /* Both architectures are little-endian. */
    size_t low_at = offsetof(struct seccomp_data, args) + 8 * (size_t)wanted->index, high_at = low_at + 4;
    enum comparison op = (enum comparison)find_comparison(wanted->op);
    uint64_t value = op == MASKED_EQUAL ? wanted->value_two : wanted->value;
    uint32_t low = (uint32_t)value, high = (uint32_t)(value >> 32);
    put_load(writer, high_at);
    switch (op) {
    case MASKED_EQUAL:
        put_instruction(writer, BPF_ALU | BPF_AND | BPF_K, 0, 0, (uint32_t)(wanted->value >> 32));
        put_compare(writer, BPF_JEQ, high, 0, FAIL);
        put_load(writer, low_at);
        put_instruction(writer, BPF_ALU | BPF_AND | BPF_K, 0, 0, (uint32_t)wanted->value);
        put_compare(writer, BPF_JEQ, low, 0, FAIL);
        break;
    case EQUAL:
        put_compare(writer, BPF_JEQ, high, 0, FAIL);
        put_load(writer, low_at);
        put_compare(writer, BPF_JEQ, low, 0, FAIL);
        break;
    case NOT_EQUAL:
        put_compare(writer, BPF_JEQ, high, 0, 2);
        put_load(writer, low_at);
        put_compare(writer, BPF_JEQ, low, FAIL, 0);
        break;
    case GREATER:
    case GREATER_EQUAL:
        put_compare(writer, BPF_JGT, high, 3, 0);
        put_compare(writer, BPF_JEQ, high, 0, FAIL);
        put_load(writer, low_at);
        put_compare(writer, op == GREATER ? BPF_JGT : BPF_JGE, low, 0, FAIL);
        break;
    case LESS:
    case LESS_EQUAL:
        put_compare(writer, BPF_JGT, high, FAIL, 0);
        put_compare(writer, BPF_JEQ, high, 0, 2);
        put_load(writer, low_at);
        put_compare(writer, op == LESS ? BPF_JGE : BPF_JGT, low, FAIL, 0);
        break;
    }
}

/* Turns FAIL into the way to the first instruction behind the rule. */
static void close_rule(struct filter_writer *writer, size_t start)
{
    for (size_t at = start; at < writer->length; at++) {
        struct sock_filter *instruction = &writer->code[at];
        uint8_t to_end = (uint8_t)(writer->length - at - 1);
        if (BPF_CLASS(instruction->code) != BPF_JMP)
            continue;
        if (instruction->jt == FAIL)
            instruction->jt = to_end;
        if (instruction->jf == FAIL)
            instruction->jf = to_end;
    }
}

static uint32_t action_value(const char *name, bool has_errno, uint32_t given)
{
    size_t i = find_action(name);
    uint32_t number = actions[i].with_errno ? (has_errno ? given : DEFAULT_ERRNO) & SECCOMP_RET_DATA : 0;
    return actions[i].value | number;
}

static void put_syscall(struct filter_writer *writer, const Kata__LinuxSyscall *rule, int number)
{
    uint32_t action = action_value(
        rule->action, rule->errno_ret_case == KATA__LINUX_SYSCALL__ERRNO_RET_ERRNO_VALUE, rule->errno_value);
    size_t start = writer->length;
    put_compare(writer, BPF_JEQ, (uint32_t)number, 0, FAIL);
    for (size_t i = 0; i < rule->n_args; i++)
        put_condition(writer, rule->args[i]);
    put_instruction(writer, BPF_RET | BPF_K, 0, 0, action);
    close_rule(writer, start);
    if (rule->n_args)
        put_load(writer, offsetof(struct seccomp_data, nr)); /* the comparisons have overwritten it */
}

size_t seccomp_translate(const Kata__LinuxSeccomp *profile, struct sock_filter *code, size_t size)
{
    struct filter_writer writer = {.code = code, .size = size};
    put_load(&writer, offsetof(struct seccomp_data, arch));
    put_compare(&writer, BPF_JEQ, NATIVE_ARCH, 1, 0);
    put_instruction(&writer, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    put_load(&writer, offsetof(struct seccomp_data, nr));
#if defined(__x86_64__)
    put_compare(&writer, BPF_JGE, X32_BIT, 0, 1);
    put_instruction(&writer, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
#endif
    for (size_t i = 0; i < profile->n_syscalls; i++) {
        const Kata__LinuxSyscall *rule = profile->syscalls[i];
        for (size_t j = 0; j < rule->n_names; j++) {
            int number = find_call(rule->names[j]);
            if (number >= 0)
                put_syscall(&writer, rule, number);
        }
    }
    put_instruction(&writer, BPF_RET | BPF_K, 0, 0, action_value(profile->default_action, false, 0));
    return writer.full ? 0 : writer.length;
}

const char *seccomp_apply(const Kata__LinuxSeccomp *profile)
{
    static struct sock_filter code[BPF_MAXINSNS];
    struct sock_fprog program = {.filter = code};
    size_t length = seccomp_translate(profile, code, COUNT(code));
    if (!length)
        return "seccomp: the profile has too many rules";
    program.len = (unsigned short)length;
    unsigned chosen = 0;
    for (size_t i = 0; i < profile->n_flags; i++)
        chosen |= flags[find_flag(profile->flags[i])].value;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, chosen, &program) < 0)
        return strerror(errno);
    return NULL;
}
