/* System call filters, as the OCI specification describes them. */
#ifndef SECCOMP_H
#define SECCOMP_H

#include <stdbool.h>

#include "agent.pb-c.h"

bool seccomp_available(void);
/* Returns NULL, or why the profile cannot be applied. */
const char *seccomp_unfit(const Kata__LinuxSeccomp *profile);

#endif
