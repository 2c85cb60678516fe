/* The runtime options that containerd writes to the stdin of `shim start`, read without taking them away.
 *
 * They are a google.protobuf.Any (1: type URL, 2: value) around runtimeoptions.v1.Options, whose field 2 is the path of
 * the configuration: ConfigPath in containerd's config.toml, --runtime-config-path of ctr. Without options stdin is
 * /dev/null. The same options come again when the container is created, and that is where Kata reads them.
 */

#define _GNU_SOURCE /* tee, pipe2 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "wrapper.h"

#define OPTIONS_TYPE "runtimeoptions.v1.Options"
#define ANY_OPTIONS "Options" /* of another runtime, such as containerd.runc.v1.Options */

enum { LENGTH_DELIMITED = 2, PATIENCE_MS = 1000, MOST = 1 << 16 };

struct bytes {
    const unsigned char *at;
    size_t left;
};

static bool read_varint(struct bytes *in, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; in->left && shift < 64; shift += 7) {
        unsigned char byte = *in->at++;
        in->left--;
        *number |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* A message whose fields are all strings, bytes or messages; the last one with each number counts. */
static bool read_fields(struct bytes in, struct bytes fields[4])
{
    uint64_t tag, length;

    memset(fields, 0, 4 * sizeof *fields);
    while (in.left) {
        if (!read_varint(&in, &tag) || (tag & 7) != LENGTH_DELIMITED || !(tag >> 3)
            || !read_varint(&in, &length) || length > in.left)
            return false;
        if (tag >> 3 < 4)
            fields[tag >> 3] = (struct bytes){in.at, (size_t)length};
        in.at += length;
        in.left -= (size_t)length;
    }
    return true;
}

static bool ends_in(struct bytes text, const char *end)
{
    size_t length = strlen(end);

    return text.left >= length && !memcmp(text.at + text.left - length, end, length);
}

static enum told path_in(struct bytes message, char path[PATH_MAX])
{
    struct bytes any[4], options[4];

    if (!message.left)
        return TOLD_NONE;
    if (!read_fields(message, any) || !ends_in(any[1], ANY_OPTIONS))
        return TOLD_UNKNOWN; /* something newer than we are */
    if (!ends_in(any[1], OPTIONS_TYPE))
        return TOLD_NONE; /* Kata ignores options of another type */
    if (!read_fields(any[2], options) || options[2].left >= PATH_MAX)
        return TOLD_UNKNOWN;
    if (!options[2].left)
        return TOLD_NONE;
    memcpy(path, options[2].at, options[2].left);
    path[options[2].left] = 0;
    return TOLD_PATH;
}

static bool is_null_device(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

enum told read_options(char path[PATH_MAX])
{
    static unsigned char bytes[MOST];
    struct pollfd in = {.fd = STDIN_FILENO};
    struct stat st;
    int copy[2], waiting = 0;
    ssize_t n = -1;

    if (fstat(STDIN_FILENO, &st))
        return TOLD_UNKNOWN;
    if (!S_ISFIFO(st.st_mode))
        return is_null_device(&st) ? TOLD_NONE : TOLD_UNKNOWN;
    /* All is written once the other end is closed. */
    if (poll(&in, 1, PATIENCE_MS) != 1 || !(in.revents & POLLHUP) || ioctl(STDIN_FILENO, FIONREAD, &waiting))
        return TOLD_UNKNOWN;
    if (waiting == 0)
        return TOLD_NONE;
    if (pipe2(copy, O_CLOEXEC))
        return TOLD_UNKNOWN;
    if (waiting <= MOST && tee(STDIN_FILENO, copy[1], (size_t)waiting, SPLICE_F_NONBLOCK) == waiting)
        n = read(copy[0], bytes, sizeof bytes);
    close(copy[0]);
    close(copy[1]);
    return n == waiting ? path_in((struct bytes){bytes, (size_t)n}, path) : TOLD_UNKNOWN;
}
