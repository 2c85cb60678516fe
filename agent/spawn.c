#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child.h"
#include "log.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* A fork that can put the child into a pid namespace of its own. All arguments but the flags are null, so the
 * architectures' different orders of them do not matter. */
static pid_t fork_with(unsigned long flags)
{
    return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

pid_t spawn(struct launch *launch, int pid_ns, bool new_pid_ns)
{
    int own_ns = -1;
    if (pid_ns >= 0) {
        /* setns() moves only the children to come; for the time of one fork that is just what is wanted. */
        own_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        if (own_ns < 0)
            return -1;
        if (setns(pid_ns, CLONE_NEWPID) < 0) {
            int error = errno;
            close(own_ns);
            errno = error;
            return -1;
        }
    }
    pid_t pid = fork_with(new_pid_ns ? CLONE_NEWPID : 0);
    if (pid == 0)
        child_main(launch);
    int error = errno;
    if (own_ns >= 0) {
        if (setns(own_ns, CLONE_NEWPID) < 0)
            log_line(LOG_CRITICAL, "cannot return to the agent's pid namespace: %m");
        close(own_ns);
    }
    errno = error;
    return pid;
}

pid_t spawn_job(int report, void (*work)(const void *argument), const void *argument)
{
    pid_t pid = fork_with(0);
    if (pid)
        return pid;
    child_begin(report);
    work(argument);
    _exit(0);
}

int spawn_descriptor(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}
