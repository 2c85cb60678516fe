#include "device_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "device.h"
#include "util.h"

enum { MAX_RULES = 256, MAX_INSTRUCTIONS = 16 * MAX_RULES, ANY = -1 };

static const unsigned ALL_ACCESS = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

/* type 0, major or minor ANY: all of them. */
struct rule {
    unsigned type, access;
    long major, minor;
    bool allow;
};

/* What the standard nodes of a container are, and making nodes, which by itself opens nothing. */
static const struct rule always[] = {
    {BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_MKNOD, ANY, ANY, true},
    {BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_MKNOD, ANY, ANY, true},
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 1, 3, true},   /* null */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 1, 5, true},   /* zero */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 1, 7, true},   /* full */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 1, 8, true},   /* random */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 1, 9, true},   /* urandom */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 5, 0, true},   /* tty */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 5, 1, true},   /* console */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 5, 2, true},   /* ptmx */
    {BPF_DEVCG_DEV_CHAR, ALL_ACCESS, 136, ANY, true}, /* pts */
};

struct program {
    struct bpf_insn code[MAX_INSTRUCTIONS];
    size_t length;
};

/* ---- instructions ---- */

static void put(struct program *program, unsigned code, unsigned target, unsigned source, int offset, int value)
{
    program->code[program->length++] = (struct bpf_insn){.code = (uint8_t)code,
        .dst_reg = (uint8_t)(target & 15u), .src_reg = (uint8_t)(source & 15u), .off = (int16_t)offset, .imm = value};
}

static void put_return(struct program *program, bool allow)
{
    put(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allow);
    put(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* The context's three words: type and access into registers 2 and 3, the numbers into 4 and 5. */
static void put_beginning(struct program *program)
{
    static const unsigned load = BPF_LDX | BPF_MEM | BPF_W;
    put(program, load, BPF_REG_2, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
    put(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
    put(program, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
    put(program, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
    put(program, load, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
    put(program, load, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

/* Returns from the program when the rule matches; otherwise goes on behind it. A rule that matches everything must be
 * the last: the kernel refuses instructions that cannot be reached. Returns whether it is such a one. */
static bool put_rule(struct program *program, const struct rule *rule)
{
    size_t jumps[4], count = 0;
    static const unsigned unless = BPF_JMP | BPF_JNE | BPF_K;
    if (rule->type) {
        jumps[count++] = program->length;
        put(program, unless, BPF_REG_2, 0, 0, (int)rule->type);
    }
    if (rule->access != ALL_ACCESS) {
        /* Allowed when nothing else is asked for; denied when any of it is. */
        put(program, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
        put(program, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, (int)rule->access);
        jumps[count++] = program->length;
        if (rule->allow)
            put(program, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
        else
            put(program, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, 0, 0);
    }
    if (rule->major != ANY) {
        jumps[count++] = program->length;
        put(program, unless, BPF_REG_4, 0, 0, (int)rule->major);
    }
    if (rule->minor != ANY) {
        jumps[count++] = program->length;
        put(program, unless, BPF_REG_5, 0, 0, (int)rule->minor);
    }
    put_return(program, rule->allow);
    bool always_matches = count == 0;
    while (count--)
        program->code[jumps[count]].off = (int16_t)(program->length - jumps[count] - 1);
    return always_matches;
}

static int load(const struct program *program)
{
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uintptr_t)program->code;
    attributes.insn_cnt = (uint32_t)program->length;
    attributes.license = (uintptr_t)"Apache-2.0";
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}

bool device_filter_available(void)
{
    static int known = -1;
    if (known < 0) {
        struct program *program = xcalloc(1, sizeof *program);
        put_beginning(program);
        put_return(program, true);
        int fd = load(program);
        free(program);
        known = fd >= 0;
        if (fd >= 0)
            close(fd);
    }
    return known;
}

/* ---- rules ---- */

static struct rule understand(const Kata__LinuxDeviceCgroup *given)
{
    struct rule rule = {.allow = given->allow, .major = (long)given->major, .minor = (long)given->minor};
    switch (given->type[0]) {
    case 'b': rule.type = BPF_DEVCG_DEV_BLOCK; break;
    case 'c':
    case 'u': rule.type = BPF_DEVCG_DEV_CHAR; break;
    default: /* "a", or nothing: all, and then the numbers mean nothing */
        rule.major = rule.minor = ANY;
    }
    for (const char *at = given->access; *at; at++)
        rule.access |= *at == 'm' ? BPF_DEVCG_ACC_MKNOD
            : *at == 'r' ? BPF_DEVCG_ACC_READ
            : *at == 'w' ? BPF_DEVCG_ACC_WRITE : 0u;
    if (rule.major < 0)
        rule.major = ANY;
    if (rule.minor < 0)
        rule.minor = ANY;
    return rule;
}

static void put_device(void *data, mode_t type, dev_t number)
{
    struct rule rule = {
        .type = S_ISBLK(type) ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR,
        .access = ALL_ACCESS,
        .major = (long)major(number),
        .minor = (long)minor(number),
        .allow = true,
    };
    put_rule(data, &rule);
}

void device_filter_apply(const char *id, Kata__LinuxDeviceCgroup *const *rules, size_t count)
{
    if (!count || !device_filter_available())
        return;
    if (count + COUNT(always) + device_prepared_count() > MAX_RULES)
        child_fail("there are too many device rules");
    struct program *program = xcalloc(1, sizeof *program);
    put_beginning(program);
    for (size_t i = 0; i < COUNT(always); i++)
        put_rule(program, &always[i]);
    device_each_prepared(put_device, program);
    /* A later rule outweighs an earlier one, so the last is tried first. */
    bool decided = false;
    for (size_t i = count; i-- > 0 && !decided;) {
        struct rule rule = understand(rules[i]);
        decided = put_rule(program, &rule);
    }
    if (!decided)
        put_return(program, false);
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)cgroup_open(id);
    attributes.attach_bpf_fd = (uint32_t)load(program);
    attributes.attach_type = BPF_CGROUP_DEVICE;
    if ((int)attributes.target_fd < 0 || (int)attributes.attach_bpf_fd < 0
        || syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes) < 0)
        child_fail("cannot restrict devices: %s", strerror(errno));
    close((int)attributes.target_fd);
    close((int)attributes.attach_bpf_fd);
    free(program);
}
