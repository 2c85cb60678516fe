#include "unfit.h"

#include <stdbool.h>
#include <string.h>

#include "container.h"
#include "device.h"
#include "seccomp.h"
#include "util.h"

const char *unfit_process(const Kata__Process *process, const Kata__StringUser *string_user)
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

const char *unfit_container(const Kata__CreateContainerRequest *request)
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
