#include "child.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files_limit.h"
#include "seccomp.h"
#include "util.h"

static const struct {
    const char *name;
    int resource;
} limit_names[] = {
    {"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA}, {"RLIMIT_FSIZE", RLIMIT_FSIZE}, {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC}, {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
};

void child_set_limits(const Kata__Process *process)
{
    files_limit_restore();
    for (size_t i = 0; i < process->n_rlimits; i++) {
        const Kata__PosixRlimit *wanted = process->rlimits[i];
        size_t at = 0;
        while (at < COUNT(limit_names) && strcmp(limit_names[at].name, wanted->type) != 0)
            at++;
        if (at == COUNT(limit_names))
            child_fail("there is no limit called '%.60s'", wanted->type);
        struct rlimit limit = {.rlim_cur = wanted->soft, .rlim_max = wanted->hard};
        if (setrlimit(limit_names[at].resource, &limit) < 0)
            child_fail("%s: %s", wanted->type, strerror(errno));
    }
}

/* In the order of their numbers in linux/capability.h. */
static const char *const capability_names[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
};

static uint64_t capability_set(char *const *names, size_t count)
{
    uint64_t set = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = starts_with(names[i], "CAP_") ? names[i] + 4 : "";
        size_t number = 0;
        while (number < COUNT(capability_names) && strcmp(capability_names[number], name) != 0)
            number++;
        if (number == COUNT(capability_names))
            child_fail("there is no capability called '%.60s'", names[i]);
        set |= 1ull << number;
    }
    return set;
}

static void limit_capabilities(uint64_t bounding)
{
    for (unsigned number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++)
        if (!(bounding >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
            child_fail("cannot drop capability %u: %s", number, strerror(errno));
}

static void set_capabilities(const Kata__LinuxCapabilities *wanted, uint64_t possible)
{
    const uint64_t effective = capability_set(wanted->effective, wanted->n_effective) & possible;
    const uint64_t permitted = capability_set(wanted->permitted, wanted->n_permitted) & possible;
    const uint64_t inheritable = capability_set(wanted->inheritable, wanted->n_inheritable) & possible;
    const uint64_t ambient = capability_set(wanted->ambient, wanted->n_ambient) & possible;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (unsigned half = 0; half < 2; half++) {
        data[half].effective = (uint32_t)(effective >> (32 * half));
        data[half].permitted = (uint32_t)(permitted >> (32 * half));
        data[half].inheritable = (uint32_t)(inheritable >> (32 * half));
    }
    if (syscall(SYS_capset, &header, data) < 0)
        child_fail("cannot set capabilities: %s", strerror(errno));
    for (unsigned number = 0; number < COUNT(capability_names); number++)
        if (ambient >> number & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0)
            child_fail("cannot raise the ambient capability CAP_%s: %s", capability_names[number], strerror(errno));
}

static void filter_calls(const Kata__LinuxSeccomp *seccomp)
{
    const char *problem = seccomp ? seccomp_apply(seccomp) : NULL;
    if (problem)
        child_fail("cannot filter system calls: %s", problem);
}

void child_become_user(const Kata__Process *process, const Kata__LinuxSeccomp *seccomp, bool without_mknod)
{
    const Kata__User *user = process->user;
    const Kata__LinuxCapabilities *capabilities = process->capabilities;
    uid_t uid = user ? user->uid : 0;
    gid_t gid = user ? user->gid : 0;
    const uint64_t possible = without_mknod ? ~(1ull << CAP_MKNOD) : ~0ull;
    /* Without the promise of no new privileges a filter needs CAP_SYS_ADMIN, which may go in a moment. */
    if (!process->no_new_privileges)
        filter_calls(seccomp);
    if (capabilities)
        limit_capabilities(capability_set(capabilities->bounding, capabilities->n_bounding) & possible);
    else
        limit_capabilities(possible); /* executing a program as root takes it all from there */
    if (capabilities) {
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
            child_fail("cannot keep capabilities: %s", strerror(errno));
    }
    if (setgroups(user ? user->n_additional_gids : 0, user ? user->additional_gids : NULL) < 0)
        child_fail("cannot set the groups: %s", strerror(errno));
    if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        child_fail("cannot become user %u, group %u: %s", uid, gid, strerror(errno));
    if (capabilities) {
        prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
        set_capabilities(capabilities, possible);
    }
    if (process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        child_fail("cannot forbid new privileges: %s", strerror(errno));
    if (process->no_new_privileges)
        filter_calls(seccomp);
}

bool child_find_home(uid_t uid, char *home, size_t size)
{
    /* name:password:uid:gid:comment:home:shell */
    char line[512];
    bool found = false;
    FILE *users = fopen("/etc/passwd", "re");
    while (users && !found && fgets(line, sizeof line, users)) {
        char *fields[7] = {line};
        size_t count = 1;
        for (char *at = line; *at && count < COUNT(fields); at++) {
            if (*at == ':') {
                *at = '\0';
                fields[count++] = at + 1;
            }
        }
        found = count == COUNT(fields) && strtoul(fields[2], NULL, 10) == uid && fields[2][0]
            && strlen(fields[5]) < size;
        if (found)
            strcpy(home, fields[5]);
    }
    if (users)
        fclose(users);
    if (!found)
        snprintf(home, size, "/");
    return found;
}
