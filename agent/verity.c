#include "verity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util.h"

enum { SECTOR = 512, MAX_BLOCK = 1 << 20, DEFAULT_BLOCK = 4096, MAX_TABLE = 1536 };

/* ---- what the host says ---- */

static bool is_hex(const char *text)
{
    return text[0] && strspn(text, "0123456789abcdefABCDEF") == strlen(text);
}

static bool set_text(char *target, size_t size, const char *value)
{
    if (!is_hex(value) || strlen(value) >= size)
        return false;
    strcpy(target, value);
    return true;
}

static bool set_block_size(uint64_t *target, const char *value)
{
    return parse_u64(value, target) && *target >= SECTOR && *target <= MAX_BLOCK && !(*target & (*target - 1));
}

static bool set_field(struct verity *verity, const char *name, const char *value)
{
    if (strcmp(name, "root_hash") == 0)
        return set_text(verity->root_hash, sizeof verity->root_hash, value);
    if (strcmp(name, "salt") == 0)
        return set_text(verity->salt, sizeof verity->salt, value);
    if (strcmp(name, "data_blocks") == 0)
        return parse_u64(value, &verity->data_blocks) && verity->data_blocks > 0 && verity->data_blocks <= UINT64_MAX / MAX_BLOCK;
    if (strcmp(name, "data_block_size") == 0)
        return set_block_size(&verity->data_block_size, value);
    if (strcmp(name, "hash_block_size") == 0)
        return set_block_size(&verity->hash_block_size, value);
    return true;
}

const char *verity_parse(struct verity *verity, const char *text)
{
    *verity = (struct verity){.data_block_size = DEFAULT_BLOCK, .hash_block_size = DEFAULT_BLOCK};
    while (*text) {
        char field[VERITY_MAX_SALT + 32];
        size_t length = strcspn(text, ",");
        if (length >= sizeof field)
            return "a field is too long";
        memcpy(field, text, length);
        field[length] = '\0';
        text += length + (text[length] == ',');
        char *value = strchr(field, '=');
        if (!value)
            continue;
        *value++ = '\0';
        if (!set_field(verity, field, value))
            return "a field is malformed";
    }
    return !verity->root_hash[0] ? "it has no root_hash" : !verity->data_blocks ? "it has no data_blocks" : NULL;
}

/* ---- the kernel's device mapper: include/uapi/linux/dm-ioctl.h, Documentation/admin-guide/device-mapper/verity.rst ---- */

struct request {
    struct dm_ioctl head;
    struct dm_target_spec target;
    char table[MAX_TABLE];
};

static int call(int control, unsigned long what, struct request *request, const char *name)
{
    request->head.version[0] = DM_VERSION_MAJOR;
    request->head.data_size = sizeof *request;
    request->head.data_start = offsetof(struct request, target);
    snprintf(request->head.name, sizeof request->head.name, "%s", name);
    return ioctl(control, what, request);
}

static int load_target(int control, const struct verity *verity, const char *name, const char *data, const char *digests)
{
    struct request request = {.head = {.flags = DM_READONLY_FLAG, .target_count = 1}};
    request.target.length = verity->data_blocks * (verity->data_block_size / SECTOR);
    strcpy(request.target.target_type, "verity");
    int length = snprintf(request.table, sizeof request.table, "1 %s %s %llu %llu %llu 0 sha256 %s %s", data, digests,
                          (unsigned long long)verity->data_block_size, (unsigned long long)verity->hash_block_size,
                          (unsigned long long)verity->data_blocks, verity->root_hash, verity->salt[0] ? verity->salt : "-");
    if (length < 0 || (size_t)length >= sizeof request.table) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return call(control, DM_TABLE_LOAD, &request, name);
}

int verity_open(const struct verity *verity, const char *name, const char *data, const char *digests, char *node,
                size_t size)
{
    int control = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC);
    if (control < 0)
        return -1;
    struct request made = {.head = {.flags = 0}}, begun = {.head = {.flags = 0}}, undone = {.head = {.flags = 0}};
    int result = call(control, DM_DEV_CREATE, &made, name);
    if (result == 0) {
        result = load_target(control, verity, name, data, digests);
        if (result == 0)
            result = call(control, DM_DEV_SUSPEND, &begun, name); /* without the flag: it resumes */
        int problem = errno;
        if (result < 0)
            call(control, DM_DEV_REMOVE, &undone, name);
        errno = problem;
    }
    int problem = errno;
    close(control);
    errno = problem;
    /* Of the number, the low byte and what is above bit 20 are the minor's (new_encode_dev in linux/kdev_t.h). */
    unsigned minor = (unsigned)((made.head.dev & 0xff) | ((made.head.dev >> 12) & 0xfff00));
    snprintf(node, size, "/dev/dm-%u", minor);
    return result;
}
