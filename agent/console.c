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
#include "spawn.h"
#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

enum { IDLE_PAUSE_MS = 100, CLOSED_PAUSES = 12, BUFFER_BYTES = 4096 };

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

/* A port carries no window size, and programs on a terminal without one guess badly: what a VT100 had. */
static const struct winsize usual_window = {.ws_row = 24, .ws_col = 80};

/* Starts a shell. Returns the host's end of its terminal, or -1. */
static int open_shell(pid_t *pid)
{
    int unlock = 0;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int slave = -1;
    if (master >= 0 && ioctl(master, TIOCSPTLCK, &unlock) == 0)
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave >= 0)
        ioctl(slave, TIOCSWINSZ, &usual_window);
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

/* One shell, from start to end. Ends early when the host goes. Returns whether the shell ended by itself. */
static bool serve_once(int port)
{
    pid_t pid;
    int terminal = open_shell(&pid);
    bool ended = false;
    if (terminal < 0)
        return false;
    /* A job left in the background keeps the terminal open, so the shell itself is watched too. */
    int shell = spawn_descriptor(pid);
    struct pollfd ends[3]
        = {{.fd = port, .events = POLLIN}, {.fd = terminal, .events = POLLIN}, {.fd = shell, .events = POLLIN}};
    for (;;) {
        if (poll(ends, 3, -1) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        ended = ends[1].revents ? !carry(terminal, port) : ends[2].revents != 0;
        if (ended)
            break;
        if (ends[0].revents && !carry(port, terminal))
            break;
    }
    /* The terminal passes on what was written to it in its own time. */
    while (ended && poll(&ends[1], 1, IDLE_PAUSE_MS) == 1 && carry(terminal, port)) {
    }
    close(terminal); /* hangs the shell up */
    if (shell >= 0)
        close(shell);
    kill(pid, SIGHUP);
    waitpid(pid, NULL, 0);
    return ended;
}

/* A host that only reads counts too: the first prompt comes without a key pressed. */
static void wait_for_host(int port)
{
    struct pollfd wait = {.fd = port, .events = POLLIN | POLLOUT};
    while (poll(&wait, 1, -1) <= 0 || wait.revents & POLLHUP)
        pause_briefly(); /* a serial port without a host is always ready to say so */
}

/* What a host typed last before it left is not for the next one's shell. Only once and at once: while the port still
 * counts as without a host, the next one's first bytes may be there already. Returns whether the host has left. */
static bool drop_last_words(int port)
{
    char stale[BUFFER_BYTES];
    struct pollfd state = {.fd = port};
    if (poll(&state, 1, 0) != 1 || !(state.revents & POLLHUP))
        return false;
    while (read(port, stale, sizeof stale) > 0) {
    }
    return true;
}

static int open_port(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        log_line(LOG_ERROR, "debug console: %s: %m", path);
    return fd;
}

/* A closed port is the only way to tell the host that its shell has ended: the VMM sees it. The first pause lets the
 * last output go before, which travels in another queue than the news of the close. The port stays closed for more
 * than a second, as QEMU reports only the latest change of a second. */
static int hang_up(int port, const char *path)
{
    pause_briefly();
    close(port);
    for (int i = 0; i < CLOSED_PAUSES; i++)
        pause_briefly();
    return open_port(path);
}

static _Noreturn void serve_serial(int port, const char *path)
{
    while (port >= 0) {
        wait_for_host(port);
        bool ended = serve_once(port);
        if (!drop_last_words(port) && ended)
            port = hang_up(port, path);
    }
    _exit(1);
}

/* `path`: of the serial port, to open it again; NULL for a socket, which is one shell. */
static void start(int port, const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        child_begin(port);
        if (path)
            serve_serial(port, path);
        serve_once(port);
        _exit(0);
    }
    if (pid < 0)
        log_line(LOG_ERROR, "debug console: %m");
    close(port);
}

void console_start_socket(int fd)
{
    start(fd, NULL);
}

bool console_start_serial(const char *path)
{
    int fd = open_port(path);
    if (fd < 0)
        return false;
    start(fd, path);
    return true;
}
