/* Devices of the guest, as the host names them. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent.pb-c.h"

/* How long a device that was just plugged in may take to appear. */
void device_set_timeout(unsigned seconds);
/* The drivers there are, for GetGuestDetails. */
size_t device_drivers(const char *const **names);
bool device_driver_is_known(const char *name);

/* The child's side: finds a device by its node ("/dev/vda") or, for "blk", its PCI path ("02/00"), and waits for it.
 * Writes the path of its node. Returns false when it did not appear. */
bool device_wait(const char *driver, const char *source, char *path, size_t size);
/* Waits for the devices of a container. Ends the child with a message on failure. */
void device_prepare(Kata__Device *const *devices, size_t count);
/* The guest's number of one of them, by the path it has in the container. Returns whether there is one. */
bool device_number(const char *container_path, dev_t *number);
size_t device_prepared_count(void);
void device_each_prepared(void (*take)(void *data, mode_t type, dev_t number), void *data);
/* Makes the nodes of all of them, with "make", unless they are there. */
void device_make_nodes(void (*make)(const char *, mode_t, dev_t, mode_t, uid_t, gid_t));

#endif
