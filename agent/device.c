#include "device.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "util.h"

enum { POLL_MS = 10, MAX_DEVICES = 64 };

static const char *const drivers[] = {"blk", "mmioblk", "nvdimm"};
static unsigned timeout_s = 3;

/* The container's devices; only ever filled in its own child. */
static struct {
    const char *container_path;
    mode_t type;
    dev_t number;
} prepared[MAX_DEVICES];
static size_t prepared_count;

void device_set_timeout(unsigned seconds)
{
    timeout_s = seconds;
}

size_t device_drivers(const char *const **names)
{
    *names = drivers;
    return COUNT(drivers);
}

bool device_driver_is_known(const char *name)
{
    for (size_t i = 0; i < COUNT(drivers); i++)
        if (strcmp(drivers[i], name) == 0)
            return true;
    return false;
}

/* Finds a folder's entry that ends (or, with "begins", starts) with a text. */
static bool find_entry(const char *folder, const char *text, bool begins, char *name, size_t size)
{
    DIR *listing = opendir(folder);
    if (!listing)
        return false;
    bool found = false;
    struct dirent *entry;
    while (!found && (entry = readdir(listing))) {
        size_t length = strlen(entry->d_name), wanted = strlen(text);
        if (entry->d_name[0] == '.' || length < wanted || length >= size)
            continue;
        found = strncmp(entry->d_name + (begins ? 0 : length - wanted), text, wanted) == 0;
        if (found)
            memcpy(name, entry->d_name, length + 1);
    }
    closedir(listing);
    return found;
}

/* Follows a PCI path, "slot[.function]/slot[.function]…" in hexadecimal, from the root bus to a virtio block device. */
static bool block_at_pci_path(const char *source, char *path, size_t size)
{
    char folder[512] = "/sys/devices/pci0000:00";
    for (const char *at = source; *at;) {
        char *end, suffix[16], name[256];
        unsigned long slot = strtoul(at, &end, 16), function = 0;
        if (*end == '.')
            function = strtoul(end + 1, &end, 16);
        if (!isxdigit((unsigned char)*at) || slot > 31 || function > 7 || (*end && *end != '/'))
            return false;
        at = *end ? end + 1 : end;
        snprintf(suffix, sizeof suffix, ":%02lx.%lu", slot, function);
        if (!find_entry(folder, suffix, false, name, sizeof name) || strlen(folder) + strlen(name) + 2 > sizeof folder)
            return false;
        strcat(strcat(folder, "/"), name);
    }
    char name[256];
    if (!find_entry(folder, "virtio", true, name, sizeof name) || strlen(folder) + strlen(name) + 8 > sizeof folder)
        return false;
    strcat(strcat(strcat(folder, "/"), name), "/block");
    if (!find_entry(folder, "vd", true, name, sizeof name))
        return false;
    return (size_t)snprintf(path, size, "/dev/%s", name) < size;
}

static bool find_node(const char *driver, const char *source, char *path, size_t size)
{
    struct stat found;
    if (source[0] == '/') {
        if (!starts_with(source, "/dev/") || !path_is_plain(source) || strlen(source) >= size)
            return false;
        strcpy(path, source);
    } else if (strcmp(driver, "blk") != 0 || !block_at_pci_path(source, path, size)) {
        return false;
    }
    return stat(path, &found) == 0;
}

bool device_wait(const char *driver, const char *source, char *path, size_t size)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000};
    int64_t until = now_ms() + (int64_t)timeout_s * 1000;
    while (!find_node(driver, source, path, size)) {
        if (now_ms() >= until)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

void device_prepare(Kata__Device *const *devices, size_t count)
{
    if (count > MAX_DEVICES)
        child_fail("a container has at most %d devices", MAX_DEVICES);
    for (size_t i = 0; i < count; i++) {
        const Kata__Device *device = devices[i];
        /* A block device's id is its PCI path; vm_path is where the host thinks it is. */
        const char *source = strcmp(device->type, "blk") == 0 && device->id[0] && device->vm_path[0] != '/'
            ? device->id : device->vm_path;
        char path[64];
        struct stat found;
        if (!device_wait(device->type, source, path, sizeof path) || stat(path, &found) < 0)
            child_fail("the device %.200s did not appear", source);
        prepared[prepared_count].container_path = device->container_path;
        prepared[prepared_count].type = found.st_mode & S_IFMT;
        prepared[prepared_count++].number = found.st_rdev;
    }
}

bool device_number(const char *container_path, dev_t *number)
{
    for (size_t i = 0; i < prepared_count; i++) {
        if (strcmp(prepared[i].container_path, container_path) == 0) {
            *number = prepared[i].number;
            return true;
        }
    }
    return false;
}

size_t device_prepared_count(void)
{
    return prepared_count;
}

void device_each_prepared(void (*take)(void *data, mode_t type, dev_t number), void *data)
{
    for (size_t i = 0; i < prepared_count; i++)
        take(data, prepared[i].type, prepared[i].number);
}

void device_make_nodes(void (*make)(const char *, mode_t, dev_t, mode_t, uid_t, gid_t))
{
    for (size_t i = 0; i < prepared_count; i++)
        if (path_is_plain(prepared[i].container_path))
            make(prepared[i].container_path, prepared[i].type, prepared[i].number, 0660, 0, 0);
}
