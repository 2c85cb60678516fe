/* dm-verity devices: a read-only view of a device that checks every block it reads. */
#ifndef VERITY_H
#define VERITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VERITY_MAX_HASH = 128, VERITY_MAX_SALT = 512 }; /* hexadecimal digits; the kernel's own limits */

struct verity {
    char root_hash[VERITY_MAX_HASH + 1], salt[VERITY_MAX_SALT + 1];
    uint64_t data_blocks, data_block_size, hash_block_size;
};

/* Reads the form of Kata's configuration: root_hash=…,salt=…,data_blocks=…; other fields are ignored. The sizes of
 * blocks are 4096 where they are left out. Returns what is wrong with it, or NULL. */
const char *verity_parse(struct verity *verity, const char *text);
/* Makes the device-mapper device of that name from the device with the data and the one with the digests (sha256, no
 * superblock), and writes the path of its node. Returns 0, or -1 with errno. */
int verity_open(const struct verity *verity, const char *name, const char *data, const char *digests, char *node,
                size_t size);

#endif
