/* What the name we were called by says: runtime or shim, and for which of the set's hypervisors.
 *
 *   NAME, containerd-shim-NAME-v2          the set; its first hypervisor, by whichever runtime there is
 *   NAME-clh, containerd-shim-NAME-clh-v2  the configuration that Kata calls so: Cloud Hypervisor, Go
 *   …-qemu-runtime-rs…                     another: QEMU, Rust
 *
 * containerd makes the second of each pair from a runtime type: io.containerd.NAME-clh.v2.
 */

#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "wrapper.h"

#define SHIM_PREFIX "containerd-shim-"

static bool is_word(const char *text, const char *word, size_t length)
{
    return strlen(word) == length && !memcmp(text, word, length);
}

/* Do `length` bytes of text name a configuration, or at least a hypervisor, of the set? */
static bool names_flavour(const char *text, size_t length, struct call *call)
{
    for (size_t i = 0; i < the_set.config_count; i++)
        if (is_word(text, the_set.configs[i].flavour, length)) {
            call->hypervisor = the_set.configs[i].hypervisor;
            call->dialect = the_set.configs[i].dialect;
            return true;
        }
    for (size_t i = 0; i < the_set.config_count; i++) /* qemu, where there is only qemu-runtime-rs */
        if (is_word(text, the_set.configs[i].hypervisor, length)) {
            call->hypervisor = the_set.configs[i].hypervisor;
            return true;
        }
    return false;
}

/* A name that somebody chose for a link: it may end in a hypervisor's. */
static void read_foreign(const char *name, size_t length, struct call *call)
{
    for (size_t at = 0; at < length; at++) /* the longest first: qemu-tdx before tdx */
        if ((at == 0 || name[at - 1] == '-') && names_flavour(name + at, length - at, call))
            return;
}

static size_t without_version(const char *name)
{
    size_t length = strlen(name), end = length;

    while (end > 0 && name[end - 1] >= '0' && name[end - 1] <= '9')
        end--;
    return end < length && end >= 2 && name[end - 1] == 'v' && name[end - 2] == '-' ? end - 2 : length;
}

/* Fills `call` where this name says something. */
static bool read_name(const char *path, struct call *call)
{
    const char *name = base_name(path);
    size_t own = strlen(the_set.name);
    bool shim = !strncmp(name, SHIM_PREFIX, sizeof SHIM_PREFIX - 1);

    if (shim)
        name += sizeof SHIM_PREFIX - 1;
    size_t length = shim ? without_version(name) : strlen(name);
    bool ours = length >= own && !memcmp(name, the_set.name, own) && (length == own || name[own] == '-');
    if (!shim && !ours)
        return false;
    call->role = shim ? ROLE_SHIM : ROLE_COMMAND;
    if (!ours)
        read_foreign(name, length, call);
    else if (length > own && !names_flavour(name + own + 1, length - own - 1, call))
        call->unknown = name;
    return true;
}

/* The name we were called by, or started by, or have on disk: the first that says something. */
void read_call(const char *called, struct call *call)
{
    const char *started = (const char *)getauxval(AT_EXECFN);
    char exe[PATH_MAX];

    *call = (struct call){.role = ROLE_COMMAND};
    if ((called && read_name(called, call)) || (started && read_name(started, call)))
        return;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        read_name(exe, call);
        call->unknown = NULL; /* a file that was renamed is no request */
    }
}

bool is_meant(const struct call *call, const struct config *config)
{
    return (!call->hypervisor || !strcmp(call->hypervisor, config->hypervisor))
           && (!call->dialect || !strcmp(call->dialect, config->dialect));
}

int refuse_unknown(const struct call *call)
{
    struct text err = {.fd = STDERR_FILENO};

    put(&err, the_set.name);
    put(&err, ": called as ");
    put(&err, call->unknown);
    put(&err, ", but the set has no such hypervisor; it has:");
    for (size_t i = 0; i < the_set.config_count; i++) {
        put(&err, " ");
        put(&err, the_set.configs[i].flavour);
    }
    put(&err, "\n");
    flush(&err);
    return EXIT_CONFIG;
}
