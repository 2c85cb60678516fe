/* Processes that the host asked for: a container's first one and those run in it later. */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent.pb-c.h"
#include "conn.h"
#include "loop.h"
#include "stream.h"

struct container;

enum process_state {
    PROCESS_PREPARING, /* forked; sets up its surroundings */
    PROCESS_READY,     /* waits for StartContainer */
    PROCESS_STARTING,  /* about to execute */
    PROCESS_RUNNING,
    PROCESS_FAILED,    /* could not be set up or executed; to be reaped */
    PROCESS_EXITED,
};

/* A call to be answered when the process ends. */
struct waiter {
    struct waiter *next;
    struct call call;
};

struct process {
    struct process *next; /* in its container */
    struct container *container;
    char *id; /* the container's id for its first process */
    pid_t pid;
    enum process_state state;
    int exit_code;
    bool terminal;
    bool waited; /* somebody has been told the exit code */
    bool reaped;
    int64_t exited_ms;
    struct source report; /* what the child tells while it sets itself up */
    struct call launch;   /* CreateContainer, StartContainer or ExecProcess, answered by that */
    struct call start;    /* StartContainer that came while it was still being set up */
    bool start_waits;
    char *failure;        /* why not; told once the child is reaped, so that all of it is gone by then */
    struct stream in, out, err;
    struct waiter *waiters;
};

/* What a child needs to know; all of it is inherited by fork. */
struct launch {
    const Kata__Process *spec;
    const Kata__CreateContainerRequest *create; /* NULL: run it in the container that is there */
    const Kata__LinuxSeccomp *seccomp; /* NULL: none */
    const struct container *container;
    int report;      /* SOCK_SEQPACKET to the agent */
    int stdio[3];    /* -1 with a terminal */
    int join;        /* exec: a pidfd of the container's first process */
    int ipc_ns, uts_ns; /* the sandbox's, to be joined; -1: make new ones */
};

/* One message of a child: the first byte says what it is, text may follow, a terminal may be attached. */
enum { REPORT_READY = 'R', REPORT_ERROR = 'E', REPORT_GO = 'G' };

/* Forks the child. pid_ns: a descriptor of the pid namespace to join (or a pidfd of a process in it), -1 for none; new_pid_ns: a fresh one.
 * Returns the process, hung into its container, or NULL (errno says why). */
struct process *process_launch(
    struct container *container, const char *id, struct launch *launch, int pid_ns, bool new_pid_ns);
/* Lets a process execute, as soon as it is ready (state PROCESS_PREPARING or PROCESS_READY); the call is answered when it has, or has failed. */
void process_start(struct process *process, const struct call *call);
void process_wait(struct process *process, const struct call *call);
/* Sends a signal. Returns 0, or -1 with errno; a process that has ended is fine. */
int process_signal(struct process *process, int signum);
void process_resize(struct process *process, const struct call *call, uint32_t rows, uint32_t columns);
/* A child was reaped. */
void process_ended(struct process *process, int wait_status);
/* Returns whether any call with a deadline still waits. */
bool process_expire(struct process *process, int64_t now);
void process_free(struct process *process);
/* Pipes between the agent and its processes get this size; 0 keeps the kernel's. */
void process_set_pipe_size(int bytes);

#endif
