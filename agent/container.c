#include "container.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "cgroup.h"
#include "log.h"
#include "paths.h"
#include "storage.h"
#include "util.h"

enum { FINISHED_PROCESS_KEPT_MS = 60000 };

struct sandbox sandbox = {.ipc_ns = -1, .uts_ns = -1, .pid_ns = -1};

static struct container *containers;
static size_t count;
static struct waiter *oom_waiters;
static size_t oom_waiter_count;

bool container_id_is_valid(const char *id)
{
    size_t length = strlen(id);
    if (length < 2 || length > MAX_NAME || !isalnum((unsigned char)id[0]))
        return false;
    for (const char *at = id; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr(".-_", *at))
            return false;
    return true;
}

struct container *container_find(const char *id)
{
    for (struct container *at = containers; at; at = at->next)
        if (!at->failed && strcmp(at->id, id) == 0)
            return at;
    return NULL;
}

struct container *container_first(void)
{
    return containers;
}

size_t container_count(void)
{
    return count;
}

struct container *container_add(const char *id)
{
    struct container *container = xcalloc(1, sizeof *container);
    container->id = xstrdup(id);
    container->next = containers;
    containers = container;
    count++;
    return container;
}

struct process *container_init(const struct container *container)
{
    return container->processes;
}

struct process *container_process(const struct container *container, const char *exec_id)
{
    if (!exec_id[0] || strcmp(exec_id, container->id) == 0)
        return container->processes;
    for (struct process *at = container->processes; at; at = at->next)
        if (at->state != PROCESS_FAILED && strcmp(at->id, exec_id) == 0)
            return at;
    return NULL;
}

size_t container_process_count(void)
{
    size_t total = 0;
    for (const struct container *container = containers; container; container = container->next)
        for (const struct process *at = container->processes; at; at = at->next)
            total++;
    return total;
}

/* ---- the sandbox's namespaces ---- */

static void adopt(int *kept, pid_t pid, const char *name)
{
    if (*kept >= 0)
        return;
    char *path = xprintf("/proc/%d/ns/%s", (int)pid, name);
    *kept = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
}

void container_is_ready(struct container *container)
{
    for (size_t i = 0; i < container->storage_count; i++)
        storage_mounted(container->storages[i]);
    if (!sandbox.created)
        return;
    pid_t pid = container_init(container)->pid;
    adopt(&sandbox.ipc_ns, pid, "ipc");
    adopt(&sandbox.uts_ns, pid, "uts");
    if (container->shares_pids)
        adopt(&sandbox.pid_ns, pid, "pid");
}

/* ---- the end ---- */

static void release_storages(struct container *container)
{
    while (container->storage_count) {
        char *mount_point = container->storages[--container->storage_count];
        storage_release(mount_point);
        free(mount_point);
    }
    free(container->storages);
    container->storages = NULL;
}

void container_forget(struct container *container)
{
    for (struct container **at = &containers; *at; at = &(*at)->next) {
        if (*at == container) {
            *at = container->next;
            break;
        }
    }
    count--;
    timer_cancel(&container->remove_timer);
    while (container->processes) {
        struct process *next = container->processes->next;
        process_free(container->processes);
        container->processes = next;
    }
    cgroup_remove(container->id);
    release_storages(container);
    char *folder = xprintf(CONTAINERS_FOLDER "/%s", container->id);
    char *rootfs = xprintf("%s/rootfs", folder);
    rmdir(rootfs);
    rmdir(folder);
    free(rootfs);
    free(folder);
    arena_clear(&container->seccomp_memory);
    free(container->id);
    free(container);
}

static bool all_reaped(const struct container *container)
{
    for (const struct process *at = container->processes; at; at = at->next)
        if (!at->reaped)
            return false;
    return true;
}

static void forget_if_gone(struct container *container)
{
    if (!all_reaped(container) || !(container->failed || container->removing))
        return;
    struct call call = container->remove_call;
    bool answer = container->removing;
    container_forget(container);
    if (answer)
        call_reply_empty(&call);
}

/* An exec whose end everybody has seen is forgotten; so is one that nobody asks about for a while. */
static void forget_finished_processes(struct container *container)
{
    struct process **at = &container->processes;
    if (*at)
        at = &(*at)->next;
    while (*at) {
        struct process *process = *at;
        bool read_out = !stream_is_open(&process->out) && !stream_is_open(&process->err);
        bool old = process->exited_ms + FINISHED_PROCESS_KEPT_MS < now_ms();
        if (process->reaped && (process->state == PROCESS_FAILED || (process->waited && (read_out || old)))) {
            *at = process->next;
            process_free(process);
        } else {
            at = &process->next;
        }
    }
}

static void note_oom_kills(struct container *container)
{
    unsigned long kills = cgroup_oom_kills(container->id);
    if (kills > container->oom_kills) {
        Kata__OomEvent event = KATA__OOM_EVENT__INIT;
        event.container_id = container->id;
        while (oom_waiters) {
            struct waiter *waiter = oom_waiters;
            oom_waiters = waiter->next;
            oom_waiter_count--;
            call_reply(&waiter->call, &event.base);
            free(waiter);
        }
    }
    container->oom_kills = kills;
}

void container_process_gone(struct container *container)
{
    note_oom_kills(container);
    /* The first process takes its pid namespace with it; where there is none, the rest must not linger. */
    if (container_init(container)->reaped)
        container_kill(container);
    forget_finished_processes(container);
    forget_if_gone(container);
}

void container_kill(struct container *container)
{
    cgroup_kill(container->id);
    for (struct process *at = container->processes; at; at = at->next)
        if (!at->reaped)
            kill(at->pid, SIGKILL);
}

static void remove_too_late(struct timer *timer)
{
    struct container *container = container_of(timer, struct container, remove_timer);
    container->removing = false;
    call_fail(&container->remove_call, STATUS_DEADLINE_EXCEEDED, "the container's processes do not end");
}

void container_remove(struct container *container, const struct call *call, unsigned timeout_s)
{
    container->removing = true;
    container->remove_call = *call;
    container->remove_timer.fire = remove_too_late;
    if (timeout_s)
        timer_arm(&container->remove_timer, (int64_t)timeout_s * 1000);
    container_kill(container);
    forget_if_gone(container);
}

void containers_child_ended(pid_t pid, int wait_status)
{
    for (struct container *container = containers; container; container = container->next) {
        for (struct process *at = container->processes; at; at = at->next) {
            if (at->pid == pid && !at->reaped) {
                process_ended(at, wait_status);
                container_process_gone(container);
                return;
            }
        }
    }
}

bool containers_expire(void)
{
    int64_t now = now_ms();
    bool waiting = false;
    for (struct container *container = containers; container; container = container->next) {
        for (struct process *at = container->processes; at; at = at->next)
            waiting |= process_expire(at, now);
        forget_finished_processes(container);
    }
    return waiting;
}

static void forget_lost_oom_waiters(void)
{
    for (struct waiter **at = &oom_waiters; *at;) {
        struct waiter *waiter = *at;
        if (call_alive(&waiter->call)) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        oom_waiter_count--;
        free(waiter);
    }
}

void containers_wait_oom(const struct call *call)
{
    if (oom_waiter_count >= MAX_OOM_WAITERS)
        forget_lost_oom_waiters();
    if (oom_waiter_count >= MAX_OOM_WAITERS) {
        call_fail(call, STATUS_RESOURCE_EXHAUSTED, "too many wait for this already");
        return;
    }
    oom_waiter_count++;
    struct waiter *waiter = xcalloc(1, sizeof *waiter);
    waiter->call = *call;
    waiter->next = oom_waiters;
    oom_waiters = waiter;
}

void containers_destroy(void)
{
    for (struct container *container = containers; container; container = container->next)
        container_kill(container);
    storage_release_all();
}
