#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "paths.h"
#include "util.h"

#ifndef RNDRESEEDCRNG
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

enum { ENTROPY_BYTES = 512 };

static char failure[300];

static const char *failed(const char *what)
{
    snprintf(failure, sizeof failure, "%.200s: %s", what, strerror(errno));
    return failure;
}

const char *guest_set_time(int64_t seconds, int64_t microseconds)
{
    struct timeval now = {.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)microseconds};
    return settimeofday(&now, NULL) < 0 ? failed("cannot set the time") : NULL;
}

const char *guest_reseed(const uint8_t *data, size_t length)
{
    union {
        struct rand_pool_info info; /* ends in an array of no size */
        uint8_t room[sizeof(struct rand_pool_info) + ENTROPY_BYTES];
    } pool;
    int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return failed("/dev/random");
    const char *why = NULL;
    while (length && !why) {
        size_t piece = length < ENTROPY_BYTES ? length : ENTROPY_BYTES;
        pool.info.entropy_count = (int)piece * 8;
        pool.info.buf_size = (int)piece;
        memcpy(pool.info.buf, data, piece);
        if (ioctl(fd, RNDADDENTROPY, &pool) < 0)
            why = failed("cannot add random data");
        data += piece;
        length -= piece;
    }
    if (!why && ioctl(fd, RNDRESEEDCRNG) < 0)
        why = failed("cannot reseed");
    close(fd);
    return why;
}

/* ---- CPUs and memory ---- */

/* Writes 1 to "online" of every entry of a folder that begins with prefix and is a number after it. Returns how many
 * are online in the end. */
static unsigned online_all(const char *folder, const char *prefix)
{
    unsigned online = 0;
    DIR *listing = opendir(folder);
    if (!listing)
        return 0;
    struct dirent *entry;
    while ((entry = readdir(listing))) {
        uint64_t number;
        char state[8];
        if (!starts_with(entry->d_name, prefix) || !parse_u64(entry->d_name + strlen(prefix), &number))
            continue;
        char *path = xprintf("%s/%s/online", folder, entry->d_name);
        if (read_file(path, state, sizeof state) > 0 && state[0] == '0')
            write_file(path, "1");
        /* The first CPU often has no such file: it cannot go offline. */
        online += read_file(path, state, sizeof state) <= 0 || state[0] == '1';
        free(path);
    }
    closedir(listing);
    return online;
}

unsigned guest_online_cpus(void)
{
    return online_all("/sys/devices/system/cpu", "cpu");
}

void guest_online_memory(void)
{
    online_all("/sys/devices/system/memory", "memory");
}

uint64_t guest_memory_block(void)
{
    char text[32];
    if (read_file("/sys/devices/system/memory/block_size_bytes", text, sizeof text) < 0)
        return 0;
    return strtoull(text, NULL, 16);
}

bool guest_can_probe_memory(void)
{
    return access("/sys/devices/system/memory/probe", F_OK) == 0;
}

/* ---- files ---- */

const char *guest_set_dns(char *const *lines, size_t count)
{
    if (!count)
        return NULL;
    make_file(RESOLV_CONF);
    FILE *file = fopen(RESOLV_CONF, "we");
    if (!file)
        return failed(RESOLV_CONF);
    for (size_t i = 0; i < count; i++)
        fprintf(file, "%s\n", lines[i]);
    if (fclose(file) != 0)
        return failed(RESOLV_CONF);
    /* The root is read-only: the file is put over the one that is there, if there is one. */
    if (mount(RESOLV_CONF, "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
        return failed("/etc/resolv.conf");
    return NULL;
}

static const char *write_piece(const char *path, uint32_t mode, uint32_t uid, uint32_t gid, int64_t offset,
    int64_t file_size, const uint8_t *data, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (offset ? 0 : O_TRUNC), 0600);
    if (fd < 0)
        return failed(path);
    bool good = true;
    while (length && good) {
        ssize_t wrote = pwrite(fd, data, length, offset);
        good = wrote > 0;
        if (good) {
            data += wrote;
            length -= (size_t)wrote;
            offset += wrote;
        }
    }
    if (good && offset >= file_size)
        good = fchown(fd, uid, gid) == 0 && fchmod(fd, mode & 07777) == 0;
    const char *why = good ? NULL : failed(path);
    close(fd);
    return why;
}

static const char *make_link(const char *path, uint32_t uid, uint32_t gid, const uint8_t *data, size_t length)
{
    char target[4096];
    if (length >= sizeof target)
        return "the link's target is too long";
    memcpy(target, data, length);
    target[length] = '\0';
    unlink(path);
    if (symlink(target, path) < 0 || lchown(path, uid, gid) < 0)
        return failed(path);
    return NULL;
}

/* Makes the folders above a path, with folder_mode. None may be a link: that could lead out of the shared folder. */
static const char *make_parents(const char *path, uint32_t folder_mode)
{
    if (make_dirs(SHARED_FOLDER, 0755) < 0)
        return failed(SHARED_FOLDER);
    char *parent = xstrdup(path);
    const char *why = NULL;
    for (char *slash = strchr(parent + strlen(SHARED_FOLDER), '/'); slash && !why; slash = strchr(slash + 1, '/')) {
        struct stat found;
        *slash = '\0';
        if (mkdir(parent, folder_mode & 07777) < 0 && errno != EEXIST)
            why = failed(parent);
        else if (lstat(parent, &found) < 0 || !S_ISDIR(found.st_mode))
            why = "a link or a file is in the way";
        *slash = '/';
    }
    free(parent);
    return why;
}

const char *guest_copy_file(const char *path, uint32_t mode, uint32_t folder_mode, uint32_t uid, uint32_t gid,
    int64_t offset, int64_t file_size, const uint8_t *data, size_t length)
{
    if (!starts_with(path, SHARED_FOLDER) || !path_is_plain(path) || !path[strlen(SHARED_FOLDER)])
        return "the path is not below " SHARED_FOLDER;
    if (offset < 0)
        return "the offset is negative";
    const char *why = make_parents(path, folder_mode ? folder_mode : 0755);
    if (why)
        return why;
    if (S_ISLNK(mode))
        return make_link(path, uid, gid, data, length);
    if (S_ISDIR(mode)) {
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return failed(path);
        return chmod(path, mode & 07777) < 0 || lchown(path, uid, gid) < 0 ? failed(path) : NULL;
    }
    if (!S_ISREG(mode))
        return "only files, folders and links can be copied";
    return write_piece(path, mode, uid, gid, offset, file_size, data, length);
}
