#include "mountopt.h"

#include <string.h>
#include <sys/mount.h>

#include "util.h"

#ifndef MS_LAZYTIME
#define MS_LAZYTIME (1 << 25)
#endif

static const struct {
    const char *name;
    unsigned long set, clear;
} flag_names[] = {
    {"defaults", 0, 0},
    {"ro", MS_RDONLY, 0}, {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0}, {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0}, {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0}, {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0}, {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"remount", MS_REMOUNT, 0},
    {"mand", MS_MANDLOCK, 0}, {"nomand", 0, MS_MANDLOCK},
    {"noatime", MS_NOATIME, 0}, {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0}, {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0}, {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0}, {"nostrictatime", 0, MS_STRICTATIME},
    {"lazytime", MS_LAZYTIME, 0}, {"nolazytime", 0, MS_LAZYTIME},
};

static const struct {
    const char *name;
    unsigned long flags;
} propagation_names[] = {
    {"private", MS_PRIVATE}, {"rprivate", MS_PRIVATE | MS_REC},
    {"shared", MS_SHARED}, {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE}, {"rslave", MS_SLAVE | MS_REC},
    {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

static bool parse_flag(struct mount_options *parsed, const char *option)
{
    for (size_t i = 0; i < COUNT(flag_names); i++) {
        if (strcmp(flag_names[i].name, option) == 0) {
            parsed->flags = (parsed->flags | flag_names[i].set) & ~flag_names[i].clear;
            return true;
        }
    }
    for (size_t i = 0; i < COUNT(propagation_names); i++) {
        if (strcmp(propagation_names[i].name, option) == 0) {
            parsed->propagation = propagation_names[i].flags;
            return true;
        }
    }
    if (strcmp(option, "bind") == 0 || strcmp(option, "rbind") == 0) {
        parsed->bind = true;
        parsed->recursive_bind = option[0] == 'r';
        return true;
    }
    return false;
}

bool mount_options_parse(struct mount_options *parsed, char *const *options, size_t count)
{
    memset(parsed, 0, sizeof *parsed);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (parse_flag(parsed, options[i]))
            continue;
        size_t length = strlen(options[i]);
        if (used + length + 2 > sizeof parsed->data)
            return false;
        if (used)
            parsed->data[used++] = ',';
        memcpy(parsed->data + used, options[i], length + 1);
        used += length;
    }
    return true;
}
