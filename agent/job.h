/* Work for the guest as a whole that may block: done in a child, answered when it ends. */
#ifndef JOB_H
#define JOB_H

#include <stdbool.h>
#include <sys/types.h>

#include "conn.h"

/* "done" is called with how it went, before the call is answered. */
void job_start(const struct call *call, void (*work)(const void *argument), const void *argument,
    void (*done)(bool success));
/* Returns whether the child was a job. */
bool job_child_ended(pid_t pid, int wait_status);

#endif
