/* Processes: run in a container, signalled, waited for. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "bounds.h"
#include "container.h"
#include "services.h"
#include "spawn.h"
#include "unfit.h"

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
