/* Storages: what the host wants mounted in the guest before a container starts. */
#ifndef STORAGE_H
#define STORAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent.pb-c.h"

/* The agent's side. Counts one more user of a storage's mount point. Returns NULL, or why it is refused. */
const char *storage_claim(const Kata__Storage *storage);
/* What was claimed first is mounted now. */
void storage_mounted(const char *mount_point);
/* One user less; the last one unmounts it. */
void storage_release(const char *mount_point);
void storage_release_all(void);
/* The drivers there are, for GetGuestDetails. */
size_t storage_drivers(const char *const **names);

/* The child's side: mounts those that were claimed and not mounted yet, waiting for their devices to appear.
 * Ends the child with a message on failure. */
void storage_mount_new(Kata__Storage *const *storages, size_t count);

#endif
