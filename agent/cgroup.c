#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "log.h"
#include "paths.h"
#include "util.h"

#define GROUP CGROUP_FOLDER "/container-%s"
#define SUBTREE_CONTROL CGROUP_FOLDER "/cgroup.subtree_control"

static bool available;

void cgroup_boot(void)
{
    if (mount("cgroup2", CGROUP_FOLDER, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 && errno != EBUSY) {
        log_line(LOG_WARN, "no cgroups: %m");
        return;
    }
    available = true;
    char controllers[256], all[512] = "";
    if (read_file(CGROUP_FOLDER "/cgroup.controllers", controllers, sizeof controllers) < 0)
        return;
    for (char *rest, *name = strtok_r(controllers, " \n", &rest); name; name = strtok_r(NULL, " \n", &rest)) {
        size_t length = strlen(all);
        snprintf(all + length, sizeof all - length, " +%s", name);
    }
    if (write_file(SUBTREE_CONTROL, all) == 0)
        return;
    /* One that cannot be had spoils all: then each by itself. */
    for (char *rest, *request = strtok_r(all, " ", &rest); request; request = strtok_r(NULL, " ", &rest))
        if (write_file(SUBTREE_CONTROL, request) < 0)
            log_line(LOG_DEBUG, "cgroup controller %s: %m", request);
}

static void file_path(char *path, size_t size, const char *id, const char *file)
{
    snprintf(path, size, GROUP "/%s", id, file);
}

/* Returns 0, or -1 with errno. */
static int set(const char *id, const char *file, const char *value)
{
    char path[512];
    file_path(path, sizeof path, id, file);
    return write_file(path, value);
}

static bool get(const char *id, const char *file, char *text, size_t size)
{
    char path[512];
    file_path(path, sizeof path, id, file);
    return read_file(path, text, size) >= 0;
}

static uint64_t get_number(const char *id, const char *file)
{
    char text[64];
    return get(id, file, text, sizeof text) ? strtoull(text, NULL, 10) : 0; /* "max" is 0: no limit */
}

/* The number after a key in a file of "key number" lines. */
static uint64_t get_keyed(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            return strtoull(line + length + 1, NULL, 10);
    }
    return 0;
}

/* ---- limits ---- */

/* One line of the table that limits are turned into. */
struct limit {
    const char *file;
    char value[128];
    bool optional; /* the kernel may do without: there is nothing to limit then */
};

static size_t memory_limits(const Kata__LinuxMemory *memory, struct limit *limits)
{
    size_t count = 0;
    if (memory->limit > 0) {
        limits[count].file = "memory.max";
        snprintf(limits[count++].value, sizeof limits->value, "%lld", (long long)memory->limit);
    }
    if (memory->reservation > 0) {
        limits[count].file = "memory.low";
        snprintf(limits[count++].value, sizeof limits->value, "%lld", (long long)memory->reservation);
    }
    if (memory->swap > 0 && memory->limit > 0 && memory->swap >= memory->limit) {
        /* OCI counts memory and swap together, cgroup v2 swap alone. */
        limits[count].file = "memory.swap.max";
        limits[count].optional = true;
        snprintf(limits[count++].value, sizeof limits->value, "%lld", (long long)(memory->swap - memory->limit));
    }
    return count;
}

static size_t cpu_limits(const Kata__LinuxCpu *cpu, struct limit *limits)
{
    size_t count = 0;
    if (cpu->shares >= 2 && cpu->shares <= 262144) {
        /* The range 2…262144 of v1 onto 1…10000 of v2, as the OCI runtime specification maps it. */
        limits[count].file = "cpu.weight";
        snprintf(limits[count++].value, sizeof limits->value, "%llu",
            1 + (unsigned long long)(cpu->shares - 2) * 9999 / 262142);
    }
    if (cpu->quota > 0 || cpu->period > 0) {
        unsigned long long period = cpu->period ? cpu->period : 100000;
        limits[count].file = "cpu.max";
        if (cpu->quota > 0)
            snprintf(limits[count++].value, sizeof limits->value, "%lld %llu", (long long)cpu->quota, period);
        else
            snprintf(limits[count++].value, sizeof limits->value, "max %llu", period);
    }
    if (cpu->cpus[0]) {
        limits[count].file = "cpuset.cpus";
        snprintf(limits[count++].value, sizeof limits->value, "%.120s", cpu->cpus);
    }
    if (cpu->mems[0]) {
        limits[count].file = "cpuset.mems";
        snprintf(limits[count++].value, sizeof limits->value, "%.120s", cpu->mems);
    }
    return count;
}

const char *cgroup_set_limits(const char *id, const Kata__LinuxResources *wanted)
{
    static char problem[256];
    struct limit limits[8] = {0};
    size_t count = 0;
    if (!wanted)
        return NULL;
    if (wanted->memory)
        count += memory_limits(wanted->memory, limits);
    if (wanted->cpu)
        count += cpu_limits(wanted->cpu, limits + count);
    if (wanted->pids && wanted->pids->limit > 0) {
        limits[count].file = "pids.max";
        snprintf(limits[count++].value, sizeof limits->value, "%lld", (long long)wanted->pids->limit);
    }
    for (size_t i = 0; i < count; i++) {
        if (set(id, limits[i].file, limits[i].value) == 0 || (limits[i].optional && errno == ENOENT))
            continue;
        snprintf(problem, sizeof problem, "%s = %s: %s", limits[i].file, limits[i].value,
            errno == ENOENT ? "the guest's kernel has no such controller" : strerror(errno));
        return problem;
    }
    return NULL;
}

/* ---- the child's side ---- */

void cgroup_make(const char *id, const Kata__LinuxResources *limits)
{
    char path[512];
    snprintf(path, sizeof path, GROUP, id);
    if (available && mkdir(path, 0755) < 0 && errno != EEXIST)
        child_fail("cannot make the cgroup: %s", strerror(errno));
    const char *problem = cgroup_set_limits(id, limits);
    if (problem)
        child_fail("limit %s", problem);
}

int cgroup_open(const char *id)
{
    char path[512];
    snprintf(path, sizeof path, GROUP, id);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void cgroup_join(const char *id)
{
    if (available && set(id, "cgroup.procs", "0") < 0)
        child_fail("cannot join the cgroup: %s", strerror(errno));
}

/* ---- the agent's side ---- */

int cgroup_freeze(const char *id, bool frozen)
{
    return set(id, "cgroup.freeze", frozen ? "1" : "0");
}

void cgroup_kill(const char *id)
{
    set(id, "cgroup.freeze", "0");
    if (set(id, "cgroup.kill", "1") == 0)
        return;
    /* Before Linux 5.14 each process by itself; one forked meanwhile is in the next round. */
    char text[4096];
    for (int round = 0; round < 8 && get(id, "cgroup.procs", text, sizeof text) && text[0]; round++)
        for (char *rest, *pid = strtok_r(text, "\n", &rest); pid; pid = strtok_r(NULL, "\n", &rest))
            kill((pid_t)strtol(pid, NULL, 10), SIGKILL);
}

void cgroup_remove(const char *id)
{
    char path[512];
    snprintf(path, sizeof path, GROUP, id);
    if (available && rmdir(path) < 0 && errno != ENOENT)
        log_line(LOG_WARN, "cannot remove the cgroup of %s: %s", id, strerror(errno));
}

unsigned long cgroup_oom_kills(const char *id)
{
    char text[512];
    return get(id, "memory.events", text, sizeof text) ? (unsigned long)get_keyed(text, "oom_kill") : 0;
}

void cgroup_read_stats(const char *id, Kata__CpuUsage *cpu, Kata__ThrottlingData *throttling, Kata__MemoryStats *memory,
    Kata__PidsStats *pids)
{
    char text[4096];
    if (get(id, "cpu.stat", text, sizeof text)) {
        cpu->total_usage = get_keyed(text, "usage_usec") * 1000;
        cpu->usage_in_kernelmode = get_keyed(text, "system_usec") * 1000;
        cpu->usage_in_usermode = get_keyed(text, "user_usec") * 1000;
        throttling->periods = get_keyed(text, "nr_periods");
        throttling->throttled_periods = get_keyed(text, "nr_throttled");
        throttling->throttled_time = get_keyed(text, "throttled_usec") * 1000;
    }
    if (get(id, "memory.stat", text, sizeof text))
        memory->cache = get_keyed(text, "file");
    memory->usage->usage = get_number(id, "memory.current");
    memory->usage->max_usage = get_number(id, "memory.peak");
    memory->usage->limit = get_number(id, "memory.max");
    pids->current = get_number(id, "pids.current");
    pids->limit = get_number(id, "pids.max");
}
