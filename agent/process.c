#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container.h"
#include "log.h"
#include "spawn.h"
#include "util.h"

enum { EXIT_NOT_EXECUTED = 127 };

static int pipe_size;

void process_set_pipe_size(int bytes)
{
    pipe_size = bytes;
}

/* ---- what the child tells ---- */

static void fail_launch(struct process *process, const char *why)
{
    bool starting = process->state == PROCESS_STARTING;
    struct container *container = process->container;
    process->failure = xstrdup(why);
    loop_close(&process->report);
    process->state = PROCESS_FAILED;
    process->exit_code = EXIT_NOT_EXECUTED;
    if (process == container_init(container) && !starting)
        container->failed = true;
}

static void take_terminal(struct process *process, struct msghdr *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
        return;
    int master;
    memcpy(&master, CMSG_DATA(control), sizeof master);
    int writer = fcntl(master, F_DUPFD_CLOEXEC, 3);
    if (writer >= 0)
        stream_open(&process->in, writer, true);
    stream_open(&process->out, master, true);
}

static void launched(struct process *process)
{
    loop_close(&process->report);
    process->state = PROCESS_RUNNING;
    call_reply_empty(&process->launch);
}

static void child_is_ready(struct process *process)
{
    if (process != container_init(process->container)) {
        process->state = PROCESS_STARTING; /* an exec goes on at once; the end of the report tells that it runs */
        return;
    }
    process->state = PROCESS_READY;
    container_is_ready(process->container);
    call_reply_empty(&process->launch);
    if (process->start_waits)
        process_start(process, &process->start);
}

/* Reads one message. Returns false when there is none (now, or for ever). */
static bool take_report(struct process *process)
{
    char text[512];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec vector = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(process->report.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        /* The descriptor is closed on exec: that is how success looks. */
        if (process->state == PROCESS_STARTING)
            launched(process);
        else
            fail_launch(process, "the process ended while it was being set up");
        return false;
    }
    text[got] = '\0';
    if (text[0] == REPORT_READY && process->state == PROCESS_PREPARING) {
        take_terminal(process, &message);
        child_is_ready(process);
    } else {
        fail_launch(process, text + 1);
    }
    return process->report.fd >= 0;
}

static void report_arrived(struct source *source, uint32_t events)
{
    (void)events;
    take_report(container_of(source, struct process, report));
}

/* ---- beginning ---- */

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Three pipes: pairs[2 * i] is read from. Returns 0, or -1 with errno and nothing left open. */
static int make_pipes(int pairs[6])
{
    for (size_t i = 0; i < 3; i++) {
        if (pipe2(pairs + 2 * i, O_CLOEXEC) < 0) {
            int error = errno;
            close_all(pairs, 2 * i);
            errno = error;
            return -1;
        }
        if (pipe_size)
            fcntl(pairs[2 * i], F_SETPIPE_SZ, pipe_size);
    }
    return 0;
}

static struct process *add_process(struct container *container, const char *id, bool terminal)
{
    struct process *process = xcalloc(1, sizeof *process);
    process->container = container;
    process->id = xstrdup(id);
    process->terminal = terminal;
    process->report = (struct source){.fd = -1, .ready = report_arrived};
    stream_init(&process->in, true);
    stream_init(&process->out, false);
    stream_init(&process->err, false);
    struct process **last = &container->processes;
    while (*last)
        last = &(*last)->next;
    *last = process;
    return process;
}

struct process *process_launch(
    struct container *container, const char *id, struct launch *launch, int pid_ns, bool new_pid_ns)
{
    int pipes[6] = {-1, -1, -1, -1, -1, -1};
    int report[2];
    bool terminal = launch->spec->terminal;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0)
        return NULL;
    if (!terminal && make_pipes(pipes) < 0) {
        int error = errno;
        close_all(report, 2);
        errno = error;
        return NULL;
    }
    launch->container = container;
    launch->report = report[1];
    launch->stdio[0] = pipes[0];
    launch->stdio[1] = pipes[3];
    launch->stdio[2] = pipes[5];
    pid_t pid = spawn(launch, pid_ns, new_pid_ns);
    int error = errno;
    close(report[1]);
    close_all((int[]){pipes[0], pipes[3], pipes[5]}, 3);
    if (pid < 0) {
        close(report[0]);
        close_all((int[]){pipes[1], pipes[2], pipes[4]}, 3);
        errno = error;
        return NULL;
    }
    struct process *process = add_process(container, id, terminal);
    process->pid = pid;
    process->report.fd = report[0];
    loop_add(&process->report, EPOLLIN);
    if (!terminal) {
        stream_open(&process->in, pipes[1], false);
        stream_open(&process->out, pipes[2], false);
        stream_open(&process->err, pipes[4], false);
    }
    return process;
}

void process_start(struct process *process, const struct call *call)
{
    static const char go = REPORT_GO;
    if (process->state == PROCESS_PREPARING) {
        process->start = *call;
        process->start_waits = true;
        return;
    }
    process->launch = *call;
    process->state = PROCESS_STARTING;
    stream_announce(&process->out);
    if (send(process->report.fd, &go, 1, MSG_NOSIGNAL) < 0)
        fail_launch(process, "the process ended before it was started");
}

/* ---- life ---- */

/* Whether a process catches a signal, from the mask in /proc. */
static bool catches(pid_t pid, int signum)
{
    char *path = xprintf("/proc/%d/status", (int)pid);
    char text[4096];
    ssize_t length = read_file(path, text, sizeof text);
    free(path);
    const char *mask = length > 0 ? strstr(text, "\nSigCgt:\t") : NULL;
    return mask && (strtoull(mask + 9, NULL, 16) >> (signum - 1) & 1);
}

int process_signal(struct process *process, int signum)
{
    if (process->reaped)
        return 0;
    /* The first process of a pid namespace never gets a signal it has no handler for; a runtime that sends
     * SIGTERM wants it to end. */
    if (signum == SIGTERM && process == container_init(process->container) && !catches(process->pid, SIGTERM))
        signum = SIGKILL;
    return kill(process->pid, signum) < 0 && errno != ESRCH ? -1 : 0;
}

void process_resize(struct process *process, const struct call *call, uint32_t rows, uint32_t columns)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    if (!process->terminal || !stream_is_open(&process->out))
        call_fail(call, STATUS_UNAVAILABLE, "the process has no terminal");
    else if (rows > 65535 || columns > 65535)
        call_fail(call, STATUS_INVALID_ARGUMENT, "a terminal has at most 65535 rows and columns");
    else if (ioctl(process->out.source.fd, TIOCSWINSZ, &size) < 0)
        call_fail(call, STATUS_INTERNAL, "cannot resize the terminal: %s", strerror(errno));
    else
        call_reply_empty(call);
}

static void answer_wait(struct process *process, const struct call *call)
{
    Kata__WaitProcessResponse response = KATA__WAIT_PROCESS_RESPONSE__INIT;
    response.status = process->exit_code;
    process->waited = true;
    call_reply(call, &response.base);
}

void process_wait(struct process *process, const struct call *call)
{
    if (process->reaped) {
        answer_wait(process, call);
        return;
    }
    struct waiter *waiter = xcalloc(1, sizeof *waiter);
    waiter->call = *call;
    waiter->next = process->waiters;
    process->waiters = waiter;
}

void process_ended(struct process *process, int wait_status)
{
    /* What it said last may not have been read yet. */
    while (process->report.fd >= 0 && take_report(process)) {
    }
    if (process->report.fd >= 0)
        fail_launch(process, "the process ended while it was being set up");
    process->reaped = true;
    process->exited_ms = now_ms();
    if (process->failure) {
        call_fail(&process->launch, STATUS_INTERNAL, "%s", process->failure);
        if (process->start_waits && process == container_init(process->container) && process->container->failed)
            call_fail(&process->start, STATUS_INTERNAL, "the container was not created");
    }
    if (process->state != PROCESS_FAILED) {
        process->state = PROCESS_EXITED;
        process->exit_code
            = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    }
    while (process->waiters) {
        struct waiter *waiter = process->waiters;
        process->waiters = waiter->next;
        answer_wait(process, &waiter->call);
        free(waiter);
    }
    stream_close(&process->in);
    if (process->terminal)
        stream_drain(&process->out);
}

bool process_expire(struct process *process, int64_t now)
{
    bool waiting = stream_expire(&process->out, now);
    waiting |= stream_expire(&process->err, now);
    struct waiter **at = &process->waiters;
    while (*at) {
        struct waiter *waiter = *at;
        bool late = waiter->call.deadline_ms && waiter->call.deadline_ms <= now;
        if (!late && call_alive(&waiter->call)) {
            waiting |= waiter->call.deadline_ms != 0;
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        if (late)
            call_fail(&waiter->call, STATUS_DEADLINE_EXCEEDED, "the process still runs");
        free(waiter);
    }
    return waiting;
}

void process_free(struct process *process)
{
    loop_close(&process->report);
    stream_close(&process->in);
    stream_close(&process->out);
    stream_close(&process->err);
    while (process->waiters) {
        struct waiter *next = process->waiters->next;
        call_fail(&process->waiters->call, STATUS_NOT_FOUND, "the process is gone");
        free(process->waiters);
        process->waiters = next;
    }
    free(process->failure);
    free(process->id);
    free(process);
}
