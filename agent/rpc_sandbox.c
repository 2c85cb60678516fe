/* The guest as a whole: sandbox, details, time, randomness, CPUs, metrics, files. */
#include <stdlib.h>
#include <string.h>

#include "agent.pb-c.h"
#include "boot.h"
#include "bounds.h"
#include "container.h"
#include "device.h"
#include "guest.h"
#include "job.h"
#include "log.h"
#include "metrics.h"
#include "seccomp.h"
#include "services.h"
#include "storage.h"
#include "util.h"
#include "version.h"

enum { METRICS_BYTES = 8192, ONLINE_TRIES = 100, ONLINE_PAUSE_MS = 50 };

static void answer_empty(const struct call *call, const char *problem)
{
    if (problem)
        call_fail(call, STATUS_INTERNAL, "%s", problem);
    else
        call_reply_empty(call);
}

/* ---- the sandbox ---- */

static void mount_storages(const void *argument)
{
    const Kata__CreateSandboxRequest *request = argument;
    storage_mount_new(request->storages, request->n_storages);
}

static void drop_sandbox_storages(void)
{
    while (sandbox.storage_count) {
        char *mount_point = sandbox.storages[--sandbox.storage_count];
        storage_release(mount_point);
        free(mount_point);
    }
    free(sandbox.storages);
    sandbox.storages = NULL;
}

static void storages_done(bool success)
{
    for (size_t i = 0; success && i < sandbox.storage_count; i++)
        storage_mounted(sandbox.storages[i]);
    if (!success) {
        drop_sandbox_storages();
        sandbox.created = false;
    }
}

static const char *unfit_sandbox(const Kata__CreateSandboxRequest *request)
{
    if (request->n_kernel_modules)
        return "the guest loads no kernel modules: its kernel has built in what it needs";
    if (request->guest_hook_path[0])
        return "guest hooks are not supported";
    if (strlen(request->hostname) > 64)
        return "the host name is longer than 64 characters";
    return NULL;
}

static const char *claim_sandbox_storages(const Kata__CreateSandboxRequest *request)
{
    sandbox.storages = xcalloc(request->n_storages + 1, sizeof *sandbox.storages);
    for (size_t i = 0; i < request->n_storages; i++) {
        const char *why = storage_claim(request->storages[i]);
        if (why)
            return why;
        sandbox.storages[sandbox.storage_count++] = xstrdup(request->storages[i]->mount_point);
    }
    return NULL;
}

void serve_create_sandbox(const struct call *call, const void *message)
{
    const Kata__CreateSandboxRequest *request = message;
    if (sandbox.created) {
        call_fail(call, STATUS_INTERNAL, "there is a sandbox already");
        return;
    }
    const char *why = unfit_sandbox(request);
    if (!why)
        why = guest_set_dns(request->dns, request->n_dns);
    if (!why)
        why = claim_sandbox_storages(request);
    if (why) {
        drop_sandbox_storages();
        call_fail(call, STATUS_INVALID_ARGUMENT, "%s", why);
        return;
    }
    sandbox.created = true;
    sandbox.share_pids = request->sandbox_pidns;
    free(sandbox.hostname);
    sandbox.hostname = request->hostname[0] ? xstrdup(request->hostname) : NULL;
    if (request->n_storages)
        job_start(call, mount_storages, request, storages_done);
    else
        call_reply_empty(call);
}

void serve_destroy_sandbox(const struct call *call, const void *message)
{
    (void)message;
    call_reply_empty(call);
    /* As an init that is told its work is done: the host may stop the machine itself, or see it power off. */
    call_when_sent(call, boot_power_off);
}

/* ---- what there is ---- */

void serve_guest_details(const struct call *call, const void *message)
{
    const Kata__GuestDetailsRequest *request = message;
    Kata__AgentDetails details = KATA__AGENT_DETAILS__INIT;
    Kata__GuestDetailsResponse response = KATA__GUEST_DETAILS_RESPONSE__INIT;
    const char *const *names;
    details.version = (char *)AGENT_VERSION;
    details.init_daemon = true;
    details.n_device_handlers = device_drivers(&names);
    details.device_handlers = (char **)names;
    details.n_storage_handlers = storage_drivers(&names);
    details.storage_handlers = (char **)names;
    details.supports_seccomp = seccomp_available();
    if (request->mem_block_size)
        response.mem_block_size_bytes = guest_memory_block();
    if (request->mem_hotplug_probe)
        response.support_mem_hotplug_probe = guest_can_probe_memory();
    response.agent_details = &details;
    call_reply(call, &response.base);
}

void serve_get_metrics(const struct call *call, const void *message)
{
    (void)message;
    static char text[METRICS_BYTES];
    Kata__Metrics response = KATA__METRICS__INIT;
    metrics_write(text, sizeof text);
    response.metrics = text;
    call_reply(call, &response.base);
}

/* ---- CPUs and memory ---- */

struct online_wait {
    struct timer timer;
    struct call call;
    unsigned wanted;
    int tries;
    bool cpus_only;
};

/* Plugged CPUs appear one after another: look again until there are enough. */
static void online_again(struct timer *timer)
{
    struct online_wait *wait = container_of(timer, struct online_wait, timer);
    unsigned online = guest_online_cpus();
    if (online < wait->wanted && wait->tries-- > 0 && call_alive(&wait->call)) {
        timer_arm(timer, ONLINE_PAUSE_MS);
        return;
    }
    if (!wait->cpus_only)
        guest_online_memory();
    if (online < wait->wanted)
        call_fail(&wait->call, STATUS_INTERNAL, "only %u of %u CPUs came online", online, wait->wanted);
    else
        call_reply_empty(&wait->call);
    free(wait);
}

void serve_online_cpu_mem(const struct call *call, const void *message)
{
    const Kata__OnlineCpuMemRequest *request = message;
    struct online_wait *wait = xcalloc(1, sizeof *wait);
    wait->timer.fire = online_again;
    wait->call = *call;
    wait->wanted = request->nb_cpus;
    wait->tries = ONLINE_TRIES;
    wait->cpus_only = request->cpu_only;
    online_again(&wait->timer);
}

/* ---- time, randomness, files ---- */

void serve_set_date_time(const struct call *call, const void *message)
{
    const Kata__SetGuestDateTimeRequest *request = message;
    if (request->usec < 0 || request->usec > 999999)
        call_fail(call, STATUS_INVALID_ARGUMENT, "microseconds are 0 to 999999");
    else
        answer_empty(call, guest_set_time(request->sec, request->usec));
}

void serve_reseed_random(const struct call *call, const void *message)
{
    const Kata__ReseedRandomDevRequest *request = message;
    if (!request->data.len)
        call_fail(call, STATUS_INVALID_ARGUMENT, "there is no data to reseed from");
    else
        answer_empty(call, guest_reseed(request->data.data, request->data.len));
}

void serve_copy_file(const struct call *call, const void *message)
{
    const Kata__CopyFileRequest *request = message;
    answer_empty(call, guest_copy_file(request->path, request->file_mode, request->dir_mode, (uint32_t)request->uid,
        (uint32_t)request->gid, request->offset, request->file_size, request->data.data, request->data.len));
}
