/* Where a child process begins. */
#ifndef SPAWN_H
#define SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "process.h"

/* Forks a child that sets itself up as the launch says. pid_ns: a pid namespace to join, -1 for none.
 * Returns its pid, or -1 with errno. */
pid_t spawn(struct launch *launch, int pid_ns, bool new_pid_ns);

/* A pidfd of a child. -1, with errno, when there is none. */
int spawn_descriptor(pid_t pid);

/* Forks a child that does one piece of work; it may end itself with child_fail. */
pid_t spawn_job(int report, void (*work)(const void *argument), const void *argument);

#endif
