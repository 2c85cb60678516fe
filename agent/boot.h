/* What PID 1 does before and beside serving: mounts, the loopback device, the end. */
#ifndef BOOT_H
#define BOOT_H

/* /dev, /proc and /sys: all that is needed to find the settings and the way to the host. */
void boot_begin(void);
/* The rest a guest needs; once, as soon as nobody waits for an answer or when something needs it. */
void boot_finish(void);
/* End the guest: everything killed, unmounted and synced; then the machine is off, or begins anew. */
_Noreturn void boot_power_off(void);
_Noreturn void boot_restart(void);

#endif
