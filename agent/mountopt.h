/* Mount options as fstab and OCI write them. */
#ifndef MOUNTOPT_H
#define MOUNTOPT_H

#include <stdbool.h>
#include <stddef.h>

struct mount_options {
    unsigned long flags;       /* MS_* */
    unsigned long propagation; /* MS_PRIVATE and the like, perhaps with MS_REC; 0: none asked for */
    bool bind, recursive_bind;
    char data[4096];           /* the rest, comma-separated, for the file system itself */
};

/* Returns false when the options do not fit. */
bool mount_options_parse(struct mount_options *parsed, char *const *options, size_t count);

#endif
