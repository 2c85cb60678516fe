/* Each console is a process of its own that carries bytes between the port and a terminal, so that nothing a person
 * does there can hold the agent up. */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "files_limit.h"
#include "log.h"
#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

enum { IDLE_PAUSE_MS = 100, BUFFER_BYTES = 4096 };

static void pause_briefly(void)
{
    const struct timespec pause = {.tv_nsec = IDLE_PAUSE_MS * 1000000};
    nanosleep(&pause, NULL);
}

/* The port and the terminal are both written until all is taken. Returns false when the other side is gone. */
static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t wrote = write(fd, bytes, size);
        if (wrote < 0 && (errno == EINTR || errno == EAGAIN)) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, IDLE_PAUSE_MS);
            if (wait.revents & (POLLHUP | POLLERR))
                return false;
            continue;
        }
        if (wrote <= 0)
            return false;
        bytes += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static bool carry(int from, int to)
{
    char buffer[BUFFER_BYTES];
    ssize_t got = read(from, buffer, sizeof buffer);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    return got > 0 && write_all(to, buffer, (size_t)got);
}

static _Noreturn void run_shell(int terminal)
{
    static char *const arguments[] = {"sh", NULL};
    static char *const environment[]
        = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux", NULL};
    static const char apology[] = "There is no /bin/sh in this guest.\r\n";
    setsid();
    ioctl(terminal, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++)
        dup2(terminal, i);
    if (terminal > 2)
        close(terminal);
    child_reset_signals();
    files_limit_restore();
    execve("/bin/sh", arguments, environment);
    write_all(STDOUT_FILENO, apology, strlen(apology));
    _exit(127);
}

/* Starts a shell. Returns the host's end of its terminal, or -1. */
static int open_shell(pid_t *pid)
{
    int unlock = 0;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int slave = -1;
    if (master >= 0 && ioctl(master, TIOCSPTLCK, &unlock) == 0)
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    *pid = slave >= 0 ? fork() : -1;
    if (*pid == 0)
        run_shell(slave);
    if (slave >= 0)
        close(slave);
    if (*pid < 0) {
        log_line(LOG_ERROR, "debug console: %m");
        if (master >= 0)
            close(master);
        return -1;
    }
    return master;
}

/* One shell, from start to end. Ends early when the host goes. */
static void serve_once(int port)
{
    pid_t pid;
    int terminal = open_shell(&pid);
    if (terminal < 0)
        return;
    struct pollfd ends[2] = {{.fd = port, .events = POLLIN}, {.fd = terminal, .events = POLLIN}};
    for (;;) {
        if (poll(ends, 2, -1) < 0 && errno != EINTR)
            break;
        if (ends[1].revents && !carry(terminal, port))
            break;
        if (ends[0].revents && !carry(port, terminal))
            break;
    }
    close(terminal); /* hangs the shell up */
    kill(pid, SIGHUP);
    waitpid(pid, NULL, 0);
}

static void wait_for_host(int port)
{
    struct pollfd wait = {.fd = port, .events = POLLIN};
    while (poll(&wait, 1, -1) <= 0 || wait.revents & POLLHUP)
        pause_briefly(); /* a serial port without a host is always ready to say so */
}

/* What a host typed last before it left is not for the next one's shell. Only once and at once: while the port still
 * counts as without a host, the next one's first bytes may be there already. */
static void drop_last_words(int port)
{
    char stale[BUFFER_BYTES];
    struct pollfd state = {.fd = port};
    if (poll(&state, 1, 0) == 1 && state.revents & POLLHUP)
        while (read(port, stale, sizeof stale) > 0) {
        }
}

static void start(int port, bool serial)
{
    pid_t pid = fork();
    if (pid == 0) {
        child_begin(port);
        do {
            if (serial)
                wait_for_host(port);
            serve_once(port);
            if (serial)
                drop_last_words(port);
        } while (serial);
        _exit(0);
    }
    if (pid < 0)
        log_line(LOG_ERROR, "debug console: %m");
    close(port);
}

void console_start_socket(int fd)
{
    start(fd, false);
}

bool console_start_serial(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        log_line(LOG_ERROR, "debug console: %s: %m", path);
        return false;
    }
    start(fd, true);
    return true;
}
