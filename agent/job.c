#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"
#include "util.h"

struct job {
    struct job *next;
    pid_t pid;
    int report; /* read only once the child has ended: its one message waits in the socket */
    struct call call;
    void (*done)(bool success);
};

static struct job *jobs;

void job_start(const struct call *call, void (*work)(const void *argument), const void *argument,
    void (*done)(bool success))
{
    int report[2];
    pid_t pid = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) == 0) {
        pid = spawn_job(report[1], work, argument);
        close(report[1]);
        if (pid < 0)
            close(report[0]);
    }
    if (pid < 0) {
        done(false);
        call_fail(call, STATUS_INTERNAL, "cannot fork: %s", strerror(errno));
        return;
    }
    struct job *job = xcalloc(1, sizeof *job);
    *job = (struct job){.next = jobs, .pid = pid, .report = report[0], .call = *call, .done = done};
    jobs = job;
}

bool job_child_ended(pid_t pid, int wait_status)
{
    struct job **at = &jobs;
    while (*at && (*at)->pid != pid)
        at = &(*at)->next;
    struct job *job = *at;
    if (!job)
        return false;
    *at = job->next;
    char text[512] = "";
    ssize_t got = recv(job->report, text, sizeof text - 1, MSG_DONTWAIT);
    close(job->report);
    bool success = wait_status == 0;
    job->done(success);
    if (success)
        call_reply_empty(&job->call);
    else
        call_fail(&job->call, STATUS_INTERNAL, "%s", got > 1 ? text + 1 : "the work ended unexpectedly");
    free(job);
    return true;
}
