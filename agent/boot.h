/* What is done before and beside serving: mounts, the loopback device, the end. Where systemd is the first process it
 * has done most of it, and the agent is a service of it. */
#ifndef BOOT_H
#define BOOT_H

#include <stdbool.h>

/* Whether this process is a guest's agent: its first process, or a service that says so (KATA_AGENT_SERVICE=1). */
bool boot_expected(void);
/* /dev, /proc and /sys: all that is needed to find the settings and the way to the host. */
void boot_begin(void);
/* The rest a guest needs; once, as soon as nobody waits for an answer or when something needs it. */
void boot_finish(void);
/* End the guest: everything killed, unmounted and synced; then the machine is off, or begins anew. A service that is
 * told to begin anew only ends. */
_Noreturn void boot_power_off(void);
_Noreturn void boot_restart(void);

#endif
