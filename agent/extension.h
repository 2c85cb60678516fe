/* Extension images: further read-only file systems that the host attaches as disks and names on the command line. */
#ifndef EXTENSION_H
#define EXTENSION_H

#include <stdbool.h>

/* Whether the kernel's command line names any. */
bool extensions_named(const char *cmdline);
/* Mounts each at /run/kata-extensions/NAME, checked by dm-verity where the image has digests. Waits that many seconds
 * for a disk to appear. Returns what is wrong with one, or NULL when all are in place. */
const char *extensions_mount(const char *cmdline, unsigned timeout_s);

#endif
