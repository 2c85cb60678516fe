/* What the host asks of the guest as a whole. Texts that are returned say why it failed, and are valid until the next
 * call; NULL is success. */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const char *guest_set_time(int64_t seconds, int64_t microseconds);
/* Mixes data into the kernel's random state and makes it use it at once. */
const char *guest_reseed(const uint8_t *data, size_t length);
const char *guest_set_dns(char *const *lines, size_t count);
/* Brings all CPUs online that are there. Returns how many are. */
unsigned guest_online_cpus(void);
void guest_online_memory(void);
/* Bytes of a memory block that can be plugged in; 0 when memory cannot. */
uint64_t guest_memory_block(void);
bool guest_can_probe_memory(void);
/* One piece of a file below the shared folder. mode carries the type: regular file, folder or link (to "data"). */
const char *guest_copy_file(const char *path, uint32_t mode, uint32_t folder_mode, uint32_t uid, uint32_t gid,
    int64_t offset, int64_t file_size, const uint8_t *data, size_t length);

#endif
