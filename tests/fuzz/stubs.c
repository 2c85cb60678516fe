/* What the fuzzed agent does instead of touching the machine: children, cgroups, mounts and the guest's own state.
 * A child is a number that reports itself ready and ends when it is killed. */
#include "stubs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "boot.h"
#include "cgroup.h"
#include "child.h"
#include "container.h"
#include "device_filter.h"
#include "guest.h"
#include "job.h"
#include "process.h"
#include "seccomp.h"
#include "spawn.h"
#include "util.h"

enum { FIRST_PID = 1 << 24, MAX_CHILDREN = 4096 }; /* above any real pid */

struct child {
    bool alive, killed, starts, silent;
    int report;
    int out;
};

jmp_buf stubs_power_off;

static struct child children[MAX_CHILDREN];
static size_t child_count;

static pid_t add_child(int report, int out, bool starts)
{
    if (child_count == MAX_CHILDREN) {
        errno = EAGAIN;
        return -1;
    }
    struct child *child = &children[child_count++];
    *child = (struct child){.alive = true, .starts = starts, .report = fcntl(report, F_DUPFD_CLOEXEC, 3)};
    child->out = out >= 0 ? fcntl(out, F_DUPFD_CLOEXEC, 3) : -1;
    return (pid_t)(FIRST_PID + child_count - 1);
}

/* A program's name decides what becomes of it: "fail…" reports an error, "mute…" says nothing, "out…" writes. */
pid_t spawn(struct launch *launch, int pid_ns, bool new_pid_ns)
{
    static const char ready = REPORT_READY, error[] = "Eno", text[] = "output";
    const char *name = launch->spec->args[0];
    (void)pid_ns;
    (void)new_pid_ns;
    static struct sock_filter code[256];
    if (launch->seccomp) /* what a child would do first, and pure */
        seccomp_translate(launch->seccomp, code, COUNT(code));
    pid_t pid = add_child(launch->report, launch->stdio[1], launch->create == NULL);
    if (pid < 0)
        return pid;
    if (strncmp(name, "fail", 4) == 0)
        send(launch->report, error, strlen(error), MSG_NOSIGNAL);
    else if (strncmp(name, "mute", 4) != 0)
        send(launch->report, &ready, 1, MSG_NOSIGNAL);
    if (strncmp(name, "out", 3) == 0 && launch->stdio[1] >= 0 && write(launch->stdio[1], text, strlen(text)) < 0)
        abort();
    return pid;
}

int spawn_descriptor(pid_t pid)
{
    (void)pid;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

pid_t spawn_job(int report, void (*work)(const void *argument), const void *argument)
{
    (void)work;
    (void)argument;
    pid_t pid = add_child(report, -1, false);
    if (pid >= 0)
        children[pid - FIRST_PID].killed = true;
    return pid;
}

int __wrap_kill(pid_t pid, int signum);

int __wrap_kill(pid_t pid, int signum)
{
    size_t index = (size_t)pid - FIRST_PID;
    if (pid < FIRST_PID || index >= child_count || !children[index].alive) {
        errno = ESRCH;
        return -1;
    }
    if (signum)
        children[index].killed = true;
    return 0;
}

static void close_child(struct child *child)
{
    if (child->report >= 0)
        close(child->report);
    if (child->out >= 0)
        close(child->out);
    child->report = child->out = -1;
}

bool stubs_run_children(void)
{
    bool happened = false;
    for (size_t i = 0; i < child_count; i++) {
        struct child *child = &children[i];
        char go;
        if (child->alive && child->report >= 0
            && (child->starts || recv(child->report, &go, 1, MSG_DONTWAIT) == 1)) {
            close(child->report); /* executed */
            child->report = -1;
            happened = true;
        }
        if (child->alive && child->killed) {
            child->alive = false;
            close_child(child);
            pid_t pid = (pid_t)(FIRST_PID + i);
            if (!job_child_ended(pid, 0))
                containers_child_ended(pid, SIGKILL);
            happened = true;
        }
    }
    return happened;
}

void stubs_kill_children(void)
{
    for (size_t i = 0; i < child_count; i++)
        children[i].killed = true;
    while (stubs_run_children()) {
    }
    child_count = 0;
}

/* ---- the machine ---- */

void boot_finish(void)
{
}

_Noreturn void boot_power_off(void)
{
    longjmp(stubs_power_off, 1); /* back to whoever runs the loop */
}

int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int __wrap_umount2(const char *target, int flags);
int __wrap_rmdir(const char *path);

int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
    (void)source, (void)target, (void)type, (void)flags, (void)data;
    abort(); /* only children mount */
}

int __wrap_umount2(const char *target, int flags)
{
    (void)target, (void)flags;
    return 0;
}

int __wrap_rmdir(const char *path)
{
    (void)path;
    return 0;
}

_Noreturn void child_fail(const char *format, ...)
{
    (void)format;
    abort(); /* there are no children */
}

/* ---- cgroups ---- */

const char *cgroup_set_limits(const char *id, const Kata__LinuxResources *limits)
{
    (void)id;
    return limits && limits->memory && limits->memory->limit == 1 ? "too small" : NULL;
}

int cgroup_freeze(const char *id, bool frozen)
{
    (void)id, (void)frozen;
    return 0;
}

void cgroup_kill(const char *id)
{
    (void)id;
}

void cgroup_remove(const char *id)
{
    (void)id;
}

unsigned long cgroup_oom_kills(const char *id)
{
    return strlen(id) > 4;
}

void cgroup_read_stats(const char *id, Kata__CpuUsage *cpu, Kata__ThrottlingData *throttling, Kata__MemoryStats *memory,
    Kata__PidsStats *pids)
{
    (void)id, (void)throttling, (void)memory, (void)pids;
    cpu->total_usage = 1;
}

bool device_filter_available(void)
{
    return false;
}

/* ---- the guest ---- */

const char *guest_set_time(int64_t seconds, int64_t microseconds)
{
    (void)seconds, (void)microseconds;
    return NULL;
}

const char *guest_reseed(const uint8_t *data, size_t length)
{
    unsigned sum = 0;
    while (length--) /* touches every byte, for the sanitizer to see */
        sum += *data++;
    return sum == 77 ? "unlucky" : NULL;
}

unsigned guest_online_cpus(void)
{
    return 1;
}

void guest_online_memory(void)
{
}

const char *guest_set_dns(char *const *lines, size_t count)
{
    size_t total = 0;
    while (count--)
        total += strlen(*lines++);
    return total > 1000 ? "too much" : NULL;
}

uint64_t guest_memory_block(void)
{
    return 1;
}

bool guest_can_probe_memory(void)
{
    return false;
}

const char *guest_copy_file(const char *path, uint32_t mode, uint32_t folder_mode, uint32_t uid, uint32_t gid,
    int64_t offset, int64_t file_size, const uint8_t *data, size_t length)
{
    (void)mode, (void)folder_mode, (void)uid, (void)gid, (void)offset, (void)file_size;
    return strlen(path) > 5 ? guest_reseed(data, length) : "too short";
}
