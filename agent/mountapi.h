/* The mount system calls of Linux 5.2 and 5.12 that C libraries do not wrap yet. All return 0 (or a descriptor),
 * or -1 with errno. */
#ifndef MOUNTAPI_H
#define MOUNTAPI_H

#include <stdbool.h>

/* A detached copy of the mount at path (with all below it, if recursive): a descriptor. */
int mount_clone(const char *path, bool recursive);
/* Hangs such a copy in at path. */
int mount_attach(int tree, const char *path);
/* Adds the per-mount flags among MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC and the MS_*ATIME to the mount at path. */
int mount_restrict(const char *path, unsigned long flags);
/* Makes "." the root; what was the root is detached. */
int enter_root_here(void);

#endif
