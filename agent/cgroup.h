/* One cgroup (v2) a container. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>

#include "agent.pb-c.h"

/* Mounts the hierarchy and lets its children have controllers. */
void cgroup_boot(void);

/* The child's side; both end the child with a message on failure. */
void cgroup_make(const char *id, const Kata__LinuxResources *limits);
void cgroup_join(const char *id);
/* Its folder; -1 with errno. */
int cgroup_open(const char *id);

/* The agent's side. */
/* Returns NULL, or what cannot be set (valid until the next call). */
const char *cgroup_set_limits(const char *id, const Kata__LinuxResources *limits);
/* Returns 0, or -1 with errno. */
int cgroup_freeze(const char *id, bool frozen);
/* Kills every process in it, whoever forked it. */
void cgroup_kill(const char *id);
void cgroup_remove(const char *id);
unsigned long cgroup_oom_kills(const char *id);
void cgroup_read_stats(const char *id, Kata__CpuUsage *cpu, Kata__ThrottlingData *throttling, Kata__MemoryStats *memory,
    Kata__PidsStats *pids);

#endif
