/* Which devices a container may use: a BPF program on its cgroup, as cgroup v2 has no device controller. */
#ifndef DEVICE_FILTER_H
#define DEVICE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent.pb-c.h"

/* The kernel takes such programs. Without them a container that has rules loses CAP_MKNOD instead: then there are no
 * device nodes in it but those it was given. */
bool device_filter_available(void);

/* The child's side: restricts the container's cgroup to what its rules allow, and to what every container may use.
 * Ends the child with a message on failure. */
void device_filter_apply(const char *id, Kata__LinuxDeviceCgroup *const *rules, size_t count);

#endif
