/* System call filters, as the OCI specification describes them. */
#ifndef SECCOMP_H
#define SECCOMP_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent.pb-c.h"
#include "arena.h"

/* The kernel can filter. */
bool seccomp_available(void);
/* A copy that lives on, in an arena of its own that is set up here; NULL if it has no room. */
Kata__LinuxSeccomp *seccomp_keep(struct arena *arena, const Kata__LinuxSeccomp *profile);
/* Returns NULL, or why the profile cannot be applied. */
const char *seccomp_unfit(const Kata__LinuxSeccomp *profile);

/* Translates a profile that is not unfit. Returns the number of instructions, 0 when they do not fit into "size".
 *
 * Rules are tried in the order they are written; the first whose system call and arguments match decides. System
 * calls of another architecture than the guest's own end the process. Names the table does not know are passed over:
 * what cannot be named here falls to the default action. */
size_t seccomp_translate(const Kata__LinuxSeccomp *profile, struct sock_filter *code, size_t size);
/* Applies a profile to this process for good. Returns NULL, or why it failed. */
const char *seccomp_apply(const Kata__LinuxSeccomp *profile);

#endif
