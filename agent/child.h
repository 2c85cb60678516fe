/* The child's side: from fork to execve. Everything here runs in the child and may block. */
#ifndef CHILD_H
#define CHILD_H

#include "process.h"

/* Sets the child up as the launch says, tells the agent, waits to be started if it is a container's first process,
 * and executes the program. */
_Noreturn void child_main(const struct launch *launch);

/* Closes what is the agent's, except for the way to report to it (and the descriptors of a launch). */
void child_begin(int report);
void child_reset_signals(void);

/* Tells the agent why the child cannot go on, and ends it. The text ends up with whoever made the call. */
_Noreturn void child_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* child_root.c: makes the container's file tree and moves into it. The mount namespace is the child's own. */
void child_enter_root(const Kata__CreateContainerRequest *request);
/* The last touches, once nothing needs to be written below the root any more. */
void child_protect_root(const Kata__Spec *spec);

/* child_identity.c: limits, user, groups, capabilities. */
void child_set_limits(const Kata__Process *process);
/* seccomp NULL: no filter. without_mknod: CAP_MKNOD is not to be had, whatever the process asks for. */
void child_become_user(const Kata__Process *process, const Kata__LinuxSeccomp *seccomp, bool without_mknod);
/* The user's folder, from the container's /etc/passwd, or "/". Returns whether it stands there. */
bool child_find_home(uid_t uid, char *home, size_t size);

/* child_terminal.c */
/* Opens a terminal of the container (or of the guest, if it has none) and makes it the child's. Returns the host's
 * end. guest_ptmx: opened before the root changed. */
int child_open_terminal(const Kata__Process *process, int guest_ptmx, bool make_console);

#endif
