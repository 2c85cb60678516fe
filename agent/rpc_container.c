/* Containers: made, started, removed, limited, looked at. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "bounds.h"
#include "cgroup.h"
#include "container.h"
#include "device.h"
#include "device_filter.h"
#include "seccomp.h"
#include "services.h"
#include "storage.h"
#include "unfit.h"
#include "util.h"

/* ---- CreateContainer ---- */

/* Which pid namespace: what the specification names, the sandbox's, a new one, or the guest's. */
struct pid_choice {
    bool fresh;
    int joined; /* -1: none */
    bool opened; /* joined is ours to close */
};

/* Opened by the agent itself, so it must not wait for whatever else might lie at that path. */
static int open_namespace(const char *path)
{
    struct statfs found;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && (fstatfs(fd, &found) < 0 || found.f_type != NSFS_MAGIC)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static const char *choose_pids(struct container *container, const Kata__CreateContainerRequest *request,
    struct pid_choice *choice)
{
    const Kata__Linux *spec = request->oci->linux;
    *choice = (struct pid_choice){.joined = -1};
    for (size_t i = 0; spec && i < spec->n_namespaces; i++) {
        if (strcmp(spec->namespaces[i]->type, "pid") != 0)
            continue;
        if (choice->fresh)
            return "the pid namespace is named twice";
        choice->fresh = true;
        if (spec->namespaces[i]->path[0]) {
            choice->joined = open_namespace(spec->namespaces[i]->path);
            if (choice->joined < 0)
                return "the pid namespace's path names none";
            choice->opened = true;
        }
    }
    if ((request->sandbox_pidns || sandbox.share_pids) && !choice->opened) {
        container->shares_pids = true;
        choice->fresh = true;
        choice->joined = sandbox.pid_ns;
    }
    if (choice->joined >= 0)
        choice->fresh = false;
    return NULL;
}

static const char *claim_storages(struct container *container, const Kata__CreateContainerRequest *request)
{
    container->storages = xcalloc(request->n_storages + 1, sizeof *container->storages);
    for (size_t i = 0; i < request->n_storages; i++) {
        const char *why = storage_claim(request->storages[i]);
        if (why)
            return why;
        container->storages[container->storage_count++] = xstrdup(request->storages[i]->mount_point);
    }
    return NULL;
}

/* Rules about devices that this kernel cannot enforce by a program are enforced by a capability less. */
static bool needs_no_new_nodes(const Kata__Spec *spec)
{
    const Kata__LinuxResources *limits = spec->linux ? spec->linux->resources : NULL;
    return limits && limits->n_devices && !device_filter_available();
}

/* Returns why it failed, or NULL: then the child's report will answer the call. */
static const char *begin_container(struct container *container, const Kata__CreateContainerRequest *request,
    const struct call *call)
{
    struct pid_choice pids;
    if (request->oci->linux && request->oci->linux->seccomp) {
        container->seccomp = seccomp_keep(&container->seccomp_memory, request->oci->linux->seccomp);
        if (!container->seccomp)
            return "there is no memory for the seccomp profile";
    }
    container->no_new_nodes = needs_no_new_nodes(request->oci);
    const char *why = claim_storages(container, request);
    if (!why)
        why = choose_pids(container, request, &pids);
    if (why)
        return why;
    struct launch launch = {
        .spec = request->oci->process,
        .create = request,
        .seccomp = container->seccomp,
        .join = -1,
        .ipc_ns = sandbox.ipc_ns,
        .uts_ns = sandbox.uts_ns,
    };
    struct process *process = process_launch(container, request->container_id, &launch, pids.joined, pids.fresh);
    if (pids.opened)
        close(pids.joined);
    if (!process)
        return strerror(errno);
    process->launch = *call;
    return NULL;
}

void serve_create_container(const struct call *call, const void *message)
{
    const Kata__CreateContainerRequest *request = message;
    const char *why = unfit_container(request);
    if (why) {
        call_fail(call, STATUS_INVALID_ARGUMENT, "%s", why);
        return;
    }
    if (container_find(request->container_id)) {
        call_fail(call, STATUS_INTERNAL, "there is a container '%s' already", request->container_id);
        return;
    }
    if (container_count() >= MAX_CONTAINERS || container_process_count() >= MAX_PROCESSES) {
        call_fail(call, STATUS_RESOURCE_EXHAUSTED, "there are too many containers");
        return;
    }
    struct container *container = container_add(request->container_id);
    why = begin_container(container, request, call);
    if (why) {
        container_forget(container);
        call_fail(call, STATUS_INVALID_ARGUMENT, "%s", why);
    }
}

void serve_start_container(const struct call *call, const void *message)
{
    const Kata__StartContainerRequest *request = message;
    struct container *container = need_container(call, request->container_id);
    if (!container)
        return;
    struct process *process = container_init(container);
    if (process->state > PROCESS_READY || process->start_waits)
        call_fail(call, STATUS_INTERNAL, "the container '%s' cannot be started now", container->id);
    else
        process_start(process, call);
}

void serve_remove_container(const struct call *call, const void *message)
{
    const Kata__RemoveContainerRequest *request = message;
    struct container *container = need_container(call, request->container_id);
    if (!container)
        return;
    if (container->removing)
        call_fail(call, STATUS_INTERNAL, "the container '%s' is being removed already", container->id);
    else
        container_remove(container, call, request->timeout);
}

/* ---- cgroups ---- */

void serve_update_container(const struct call *call, const void *message)
{
    const Kata__UpdateContainerRequest *request = message;
    struct container *container = need_container(call, request->container_id);
    if (!container)
        return;
    const char *problem = cgroup_set_limits(container->id, request->resources);
    if (problem)
        call_fail(call, STATUS_INTERNAL, "limit %s", problem);
    else
        call_reply_empty(call);
}

void serve_stats_container(const struct call *call, const void *message)
{
    const Kata__ContainerRequest *request = message;
    struct container *container = need_container(call, request->container_id);
    if (!container)
        return;
    Kata__CpuUsage usage = KATA__CPU_USAGE__INIT;
    Kata__ThrottlingData throttling = KATA__THROTTLING_DATA__INIT;
    Kata__CpuStats cpu = KATA__CPU_STATS__INIT;
    Kata__MemoryData data = KATA__MEMORY_DATA__INIT;
    Kata__MemoryStats memory = KATA__MEMORY_STATS__INIT;
    Kata__PidsStats pids = KATA__PIDS_STATS__INIT;
    Kata__CgroupStats stats = KATA__CGROUP_STATS__INIT;
    Kata__StatsContainerResponse response = KATA__STATS_CONTAINER_RESPONSE__INIT;
    memory.usage = &data;
    cgroup_read_stats(container->id, &usage, &throttling, &memory, &pids);
    cpu.cpu_usage = &usage;
    cpu.throttling_data = &throttling;
    stats.cpu_stats = &cpu;
    stats.memory_stats = &memory;
    stats.pids_stats = &pids;
    response.cgroup_stats = &stats;
    call_reply(call, &response.base);
}

static void freeze(const struct call *call, const Kata__ContainerRequest *request, bool frozen)
{
    struct container *container = need_container(call, request->container_id);
    if (!container)
        return;
    if (cgroup_freeze(container->id, frozen) < 0)
        call_fail(call, STATUS_INTERNAL, "cannot %s: %s", frozen ? "pause" : "resume", strerror(errno));
    else
        call_reply_empty(call);
}

void serve_pause_container(const struct call *call, const void *message)
{
    freeze(call, message, true);
}

void serve_resume_container(const struct call *call, const void *message)
{
    freeze(call, message, false);
}

void serve_get_oom_event(const struct call *call, const void *message)
{
    (void)message;
    containers_wait_oom(call);
}
