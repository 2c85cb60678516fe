#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "device.h"
#include "log.h"
#include "mountopt.h"
#include "util.h"

struct mounted {
    struct mounted *next;
    char *mount_point;
    unsigned users;
    bool fresh; /* claimed, not mounted yet */
};

static struct mounted *table;

static struct mounted **find_mounted(const char *mount_point)
{
    struct mounted **at = &table;
    while (*at && strcmp((*at)->mount_point, mount_point) != 0)
        at = &(*at)->next;
    return at;
}

/* ---- drivers; all run in the child ---- */

static void mount_or_fail(const Kata__Storage *storage, const char *source, const char *default_type)
{
    struct mount_options options;
    const char *type = storage->fstype[0] ? storage->fstype : default_type;
    if (!mount_options_parse(&options, storage->options, storage->n_options))
        child_fail("storage %.200s: too many options", storage->mount_point);
    if (make_dirs(storage->mount_point, 0755) < 0)
        child_fail("storage %.200s: cannot make the mount point: %s", storage->mount_point, strerror(errno));
    unsigned long flags = options.flags;
    if (options.bind || strcmp(type, "bind") == 0)
        flags |= MS_BIND | (options.recursive_bind ? MS_REC : 0);
    if (mount(source, storage->mount_point, type, flags, options.data) < 0)
        child_fail("storage %.150s: cannot mount %.100s (%.40s): %s", storage->mount_point, source, type, strerror(errno));
    if (flags & MS_BIND && options.flags
        && mount(NULL, storage->mount_point, NULL, MS_BIND | MS_REMOUNT | options.flags, NULL) < 0)
        child_fail("storage %.200s: cannot set its options: %s", storage->mount_point, strerror(errno));
}

static void set_group(const Kata__Storage *storage)
{
    if (storage->fs_group && chown(storage->mount_point, (uid_t)-1, storage->fs_group->group_id) < 0)
        child_fail("storage %.200s: cannot set its group: %s", storage->mount_point, strerror(errno));
}

static void mount_share(const Kata__Storage *storage)
{
    mount_or_fail(storage, storage->source, "virtiofs");
}

static void mount_9p(const Kata__Storage *storage)
{
    mount_or_fail(storage, storage->source, "9p");
}

static void mount_block(const Kata__Storage *storage)
{
    char path[64];
    if (!device_wait(storage->driver, storage->source, path, sizeof path))
        child_fail("storage %.150s: the device %.100s did not appear", storage->mount_point, storage->source);
    mount_or_fail(storage, path, "ext4");
    set_group(storage);
}

/* upperdir and workdir may be named before they exist. */
static void mount_overlay(const Kata__Storage *storage)
{
    static const char *const made[] = {"upperdir=", "workdir="};
    for (size_t i = 0; i < storage->n_options; i++)
        for (size_t j = 0; j < COUNT(made); j++)
            if (starts_with(storage->options[i], made[j]) && make_dirs(storage->options[i] + strlen(made[j]), 0755) < 0)
                child_fail("storage %.200s: %.200s: %s", storage->mount_point, storage->options[i], strerror(errno));
    mount_or_fail(storage, storage->source[0] ? storage->source : "overlay", "overlay");
}

static void mount_memory(const Kata__Storage *storage)
{
    mount_or_fail(storage, storage->source[0] ? storage->source : "tmpfs", "tmpfs");
    set_group(storage);
}

static void mount_bind(const Kata__Storage *storage)
{
    mount_or_fail(storage, storage->source, "bind");
}

/* A plain folder of the guest, with the mode the options name. */
static void make_local(const Kata__Storage *storage)
{
    unsigned long mode = 0;
    for (size_t i = 0; i < storage->n_options; i++)
        if (starts_with(storage->options[i], "mode="))
            mode = strtoul(storage->options[i] + 5, NULL, 8);
    if (make_dirs(storage->mount_point, 0755) < 0)
        child_fail("storage %.200s: %s", storage->mount_point, strerror(errno));
    if (mode && chmod(storage->mount_point, (mode_t)mode & 07777) < 0)
        child_fail("storage %.200s: %s", storage->mount_point, strerror(errno));
    set_group(storage);
}

static const struct {
    const char *name;
    void (*mount)(const Kata__Storage *storage);
} mount_drivers[] = {
    {"virtio-fs", mount_share}, {"9p", mount_9p}, {"overlayfs", mount_overlay},
    {"blk", mount_block}, {"mmioblk", mount_block}, {"nvdimm", mount_block},
    {"ephemeral", mount_memory}, {"local", make_local}, {"bind", mount_bind},
};

static size_t find_driver(const char *name)
{
    size_t i = 0;
    while (i < COUNT(mount_drivers) && strcmp(mount_drivers[i].name, name) != 0)
        i++;
    return i;
}

void storage_mount_new(Kata__Storage *const *storages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct mounted *entry = *find_mounted(storages[i]->mount_point);
        if (!entry || !entry->fresh)
            continue;
        mount_drivers[find_driver(storages[i]->driver)].mount(storages[i]);
        entry->fresh = false; /* in this child's copy: the same mount point named twice is mounted once */
    }
}

/* ---- the agent's side ---- */

size_t storage_drivers(const char *const **names)
{
    static const char *list[COUNT(mount_drivers)];
    for (size_t i = 0; i < COUNT(mount_drivers); i++)
        list[i] = mount_drivers[i].name;
    *names = list;
    return COUNT(mount_drivers);
}

const char *storage_claim(const Kata__Storage *storage)
{
    if (find_driver(storage->driver) == COUNT(mount_drivers))
        return "there is no storage driver of that name";
    if (!path_is_plain(storage->mount_point) || !storage->mount_point[1])
        return "the mount point is not an absolute path";
    struct mounted **at = find_mounted(storage->mount_point);
    if (!*at) {
        *at = xcalloc(1, sizeof **at);
        (*at)->mount_point = xstrdup(storage->mount_point);
        (*at)->fresh = true;
    }
    (*at)->users++;
    return NULL;
}

void storage_mounted(const char *mount_point)
{
    struct mounted *entry = *find_mounted(mount_point);
    if (entry)
        entry->fresh = false;
}

static void remove_entry(struct mounted **at)
{
    struct mounted *entry = *at;
    /* Also when it should not be mounted: a child may have failed half-way through its list. */
    if (umount2(entry->mount_point, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        log_line(LOG_WARN, "cannot unmount %s: %s", entry->mount_point, strerror(errno));
    rmdir(entry->mount_point);
    *at = entry->next;
    free(entry->mount_point);
    free(entry);
}

void storage_release(const char *mount_point)
{
    struct mounted **at = find_mounted(mount_point);
    if (*at && --(*at)->users == 0)
        remove_entry(at);
}

void storage_release_all(void)
{
    /* New entries go to the end, so the last in the list may lie on top of the first. */
    while (table) {
        struct mounted **last = &table;
        while ((*last)->next)
            last = &(*last)->next;
        remove_entry(last);
    }
}
