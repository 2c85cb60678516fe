#include "extension.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "paths.h"
#include "util.h"
#include "verity.h"

#define PREFIX "kata.extension."
#define SUFFIX ".verity_params"

enum { MAX_NAME_BYTES = 64, MAX_WORD = 1024, DISK_POLL_MS = 10 };

static char refusal[768];

static const char *refuse(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static const char *refuse(const char *name, const char *format, ...)
{
    int length = snprintf(refusal, sizeof refusal, "extension %s: ", name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(refusal + length, sizeof refusal - (size_t)length, format, arguments);
    va_end(arguments);
    return refusal;
}

/* ---- the command line ---- */

/* The next word that names an extension, cut at its blanks; NULL at the end. */
static const char *next_word(const char *at, char *word, size_t size)
{
    for (;;) {
        at += strspn(at, " \t\n");
        size_t length = strcspn(at, " \t\n");
        if (!length)
            return NULL;
        if (starts_with(at, PREFIX) && memmem(at, length, SUFFIX, strlen(SUFFIX))) {
            if (length >= size)
                length = size - 1; /* too long to be right: what is left of it is refused */
            memcpy(word, at, length);
            word[length] = '\0';
            return at + strcspn(at, " \t\n");
        }
        at += length;
    }
}

bool extensions_named(const char *cmdline)
{
    char word[MAX_WORD];
    return next_word(cmdline, word, sizeof word) != NULL;
}

/* ---- the disk ---- */

/* The disk of that serial number, "/dev/vdb". */
static bool find_disk(const char *serial, char *path, size_t size)
{
    DIR *listing = opendir("/sys/block");
    bool found = false;
    struct dirent *entry;
    while (listing && !found && (entry = readdir(listing))) {
        char file[300], text[64];
        snprintf(file, sizeof file, "/sys/block/%s/serial", entry->d_name);
        if (entry->d_name[0] == '.' || read_file(file, text, sizeof text) < 0)
            continue;
        text[strcspn(text, "\n")] = '\0';
        found = strcmp(text, serial) == 0 && (size_t)snprintf(path, size, "/dev/%s", entry->d_name) < size;
    }
    if (listing)
        closedir(listing);
    return found;
}

static bool wait_for_disk(const char *serial, unsigned timeout_s, char *path, size_t size)
{
    const struct timespec pause = {.tv_nsec = DISK_POLL_MS * 1000000};
    int64_t until = now_ms() + (int64_t)timeout_s * 1000;
    while (!find_disk(serial, path, size)) {
        if (now_ms() >= until)
            return false;
        nanosleep(&pause, NULL);
    }
    /* Opening it waits until the kernel has read its partition table. */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool partition(const char *disk, int number, char *path, size_t size)
{
    struct stat found;
    const char *between = isdigit((unsigned char)disk[strlen(disk) - 1]) ? "p" : "";
    return (size_t)snprintf(path, size, "%s%s%d", disk, between, number) < size && stat(path, &found) == 0
           && S_ISBLK(found.st_mode);
}

/* ---- one extension ---- */

static bool is_name(const char *name)
{
    if (!name[0] || strlen(name) >= MAX_NAME_BYTES)
        return false;
    for (const char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && *at != '-' && *at != '_')
            return false;
    return true;
}

static bool is_mounted(const char *folder)
{
    struct statfs found;
    return statfs(folder, &found) == 0 && (unsigned long)found.f_type == EROFS_SUPER_MAGIC_V1;
}

/* Whether there are digests is the image's word, not the command line's: an image that has them is never mounted
 * without. Writes the path of what to mount. */
static const char *open_checked(const char *name, const char *params, const char *disk, char *node, size_t size)
{
    char data[80], digests[80], mapped[MAX_NAME_BYTES + 16];
    bool has_data = partition(disk, 1, data, sizeof data), has_digests = partition(disk, 2, digests, sizeof digests);
    if (has_digests && !params[0])
        return refuse(name, "its image has digests, but the command line has no root hash for them");
    if (!has_digests && params[0])
        return refuse(name, "the command line has a root hash, but its image has no digests");
    if (!params[0]) {
        snprintf(node, size, "%s", has_data ? data : disk);
        return NULL;
    }
    struct verity verity;
    const char *wrong = verity_parse(&verity, params);
    if (wrong)
        return refuse(name, PREFIX "%s" SUFFIX ": %s", name, wrong);
    snprintf(mapped, sizeof mapped, "extension-%.*s", MAX_NAME_BYTES - 1, name);
    if (verity_open(&verity, mapped, data, digests, node, size) < 0)
        return refuse(name, "cannot check %s by dm-verity: %s", data, strerror(errno));
    char link[MAX_NAME_BYTES + 32];
    snprintf(link, sizeof link, "/dev/mapper/%s", mapped); /* where others look for it by name */
    if (symlink(node, link) < 0 && errno != EEXIST)
        log_line(LOG_WARN, "%s: %m", link);
    return NULL;
}

static const char *mount_extension(const char *name, const char *params, unsigned timeout_s)
{
    char serial[MAX_NAME_BYTES + 16], disk[64], node[80], target[MAX_NAME_BYTES + sizeof EXTENSIONS_FOLDER];
    if (!is_name(name))
        return refuse(name, "that is no name of an extension");
    snprintf(target, sizeof target, EXTENSIONS_FOLDER "%.*s", MAX_NAME_BYTES - 1, name);
    if (is_mounted(target))
        return NULL; /* by units of the root file system, before its agent started */
    snprintf(serial, sizeof serial, "extension-%.*s", MAX_NAME_BYTES - 1, name);
    if (!wait_for_disk(serial, timeout_s, disk, sizeof disk))
        return refuse(name, "no disk with the serial number %s appeared", serial);
    const char *wrong = open_checked(name, params, disk, node, sizeof node);
    if (wrong)
        return wrong;
    snprintf(target, sizeof target, EXTENSIONS_FOLDER "%.*s", MAX_NAME_BYTES - 1, name);
    if (make_dirs(target, 0755) < 0 || mount(node, target, "erofs", MS_RDONLY | MS_NODEV, NULL) < 0)
        return refuse(name, "cannot mount %s on %s: %s", node, target, strerror(errno));
    log_line(LOG_INFO, "extension %s: %s on %s%s", name, node, target, params[0] ? ", checked by dm-verity" : "");
    return NULL;
}

const char *extensions_mount(const char *cmdline, unsigned timeout_s)
{
    char word[MAX_WORD];
    const char *wrong = NULL;
    for (const char *at = cmdline; !wrong && (at = next_word(at, word, sizeof word));) {
        char *name = word + strlen(PREFIX), *params = strchr(word, '=');
        if (params)
            *params++ = '\0';
        char *end = strstr(name, SUFFIX);
        if (!end || end[strlen(SUFFIX)])
            continue; /* another parameter, or the words are in a value */
        *end = '\0';
        wrong = mount_extension(name, params ? params : "", timeout_s);
    }
    return wrong;
}
