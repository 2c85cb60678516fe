/* Containers: made, started, signalled, waited for, removed; and the processes run in them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "cgroup.h"
#include "container.h"
#include "device.h"
#include "device_filter.h"
#include "bounds.h"
#include "seccomp.h"
#include "services.h"
#include "spawn.h"
#include "storage.h"
#include "util.h"

struct container *need_container(const struct call *call, const char *id)
{
    struct container *container = container_find(id);
    if (!container)
        call_fail(call, STATUS_INVALID_ARGUMENT, "there is no container '%.200s'", id);
    return container;
}

struct process *need_process(const struct call *call, const char *id, const char *exec_id)
{
    struct container *container = need_container(call, id);
    struct process *process = container ? container_process(container, exec_id) : NULL;
    if (container && !process)
        call_fail(call, STATUS_NOT_FOUND, "there is no process '%.200s'", exec_id);
    return process;
}

/* ---- what is refused, rather than done without ---- */

static const char *unfit_process(const Kata__Process *process, const Kata__StringUser *string_user)
{
    if (!process)
        return "there is no process to run";
    if (!process->n_args || !process->args[0][0])
        return "the process has no arguments";
    if (process->selinux_label[0])
        return "SELinux labels are not supported";
    if (string_user && (string_user->uid[0] || string_user->gid[0] || string_user->n_additional_gids))
        return "users by name are not supported";
    return NULL;
}

static bool has_hooks(const Kata__Hooks *hooks)
{
    return hooks && (hooks->n_prestart || hooks->n_poststart || hooks->n_poststop || hooks->n_create_runtime
        || hooks->n_create_container || hooks->n_start_container);
}

static const char *unfit_spec(const Kata__Spec *spec)
{
    if (!spec)
        return "there is no OCI specification";
    if (!spec->root || !path_is_plain(spec->root->path))
        return "the root's path is not absolute";
    if (strlen(spec->hostname) > 64)
        return "the host name is longer than 64 characters";
    if (has_hooks(spec->hooks))
        return "hooks are not supported";
    if (!spec->linux)
        return NULL;
    if (spec->linux->n_uid_mappings || spec->linux->n_gid_mappings)
        return "user namespaces are not supported";
    if (spec->linux->mount_label[0])
        return "SELinux labels are not supported";
    return spec->linux->seccomp ? seccomp_unfit(spec->linux->seccomp) : NULL;
}

static const char *unfit_request(const Kata__CreateContainerRequest *request)
{
    if (!container_id_is_valid(request->container_id))
        return "the container id is not valid";
    const char *why = unfit_spec(request->oci);
    if (!why)
        why = unfit_process(request->oci->process, request->string_user);
    if (!why && (request->stdin_port || request->stdout_port || request->stderr_port))
        why = "standard streams over ports of their own are not supported";
    if (!why && request->n_shared_mounts)
        why = "mounts shared between containers are not supported";
    for (size_t i = 0; !why && i < request->n_devices; i++)
        if (!device_driver_is_known(request->devices[i]->type))
            why = "there is no device driver of that name";
    return why;
}

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
    if (request->oci->linux && request->oci->linux->seccomp)
        container->seccomp = seccomp_keep(request->oci->linux->seccomp);
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
    const char *why = unfit_request(request);
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

/* ---- processes ---- */

static const char *unfit_exec(const struct container *container, const Kata__ExecProcessRequest *request)
{
    size_t length = strlen(request->exec_id);
    if (!length || length > MAX_NAME)
        return "the exec id is empty or too long";
    if (request->stdin_port || request->stdout_port || request->stderr_port)
        return "standard streams over ports of their own are not supported";
    const struct process *init = container_init(container);
    if (init->reaped || init->state == PROCESS_PREPARING || init->state == PROCESS_FAILED)
        return "the container does not run";
    return unfit_process(request->process, request->string_user);
}

void serve_exec_process(const struct call *call, const void *message)
{
    const Kata__ExecProcessRequest *request = message;
    struct container *container = need_container(call, request->container_id);
    if (!container)
        return;
    const char *why = unfit_exec(container, request);
    if (why) {
        call_fail(call, STATUS_INVALID_ARGUMENT, "%s", why);
        return;
    }
    if (container_process(container, request->exec_id)) {
        call_fail(call, STATUS_INTERNAL, "there is a process '%s' already", request->exec_id);
        return;
    }
    if (container_process_count() >= MAX_PROCESSES) {
        call_fail(call, STATUS_RESOURCE_EXHAUSTED, "there are too many processes");
        return;
    }
    struct launch launch = {
        .spec = request->process,
        .seccomp = container->seccomp,
        .join = spawn_descriptor(container_init(container)->pid),
        .ipc_ns = -1,
        .uts_ns = -1,
    };
    struct process *process
        = launch.join >= 0 ? process_launch(container, request->exec_id, &launch, launch.join, false) : NULL;
    int error = errno;
    if (launch.join >= 0)
        close(launch.join);
    if (process)
        process->launch = *call;
    else
        call_fail(call, STATUS_INTERNAL, "cannot join the container: %s", strerror(error));
}

void serve_signal_process(const struct call *call, const void *message)
{
    const Kata__SignalProcessRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (!process)
        return;
    if (request->signal >= NSIG) {
        call_fail(call, STATUS_INVALID_ARGUMENT, "there is no signal %u", request->signal);
        return;
    }
    if (!request->exec_id[0] && request->signal == SIGKILL)
        container_kill(process->container);
    else if (process_signal(process, (int)request->signal) < 0) {
        call_fail(call, STATUS_INTERNAL, "cannot signal: %s", strerror(errno));
        return;
    }
    call_reply_empty(call);
}

void serve_wait_process(const struct call *call, const void *message)
{
    const Kata__WaitProcessRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (process)
        process_wait(process, call);
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
