/* The guest's PID 1: boots what a guest needs, then serves the host until it is told to end. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot.h"
#include "cmdline.h"
#include "container.h"
#include "device.h"
#include "job.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "process.h"
#include "util.h"

enum { CMDLINE_BYTES = 4096 };

static struct settings settings;

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (!job_child_ended(pid, status))
            containers_child_ended(pid, status);
}

static void signal_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo info;
    while (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        /* The signals by which poweroff, halt and reboot ask a simple init. */
        if (info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2)
            boot_power_off();
        if (info.ssi_signo == SIGTERM)
            boot_restart();
    }
    reap();
}

static void watch_signals(void)
{
    static struct source source = {.ready = signal_ready};
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGUSR1);
    sigaddset(&wanted, SIGUSR2);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    signal(SIGPIPE, SIG_IGN);
    source.fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    if (source.fd < 0 || loop_add(&source, EPOLLIN) < 0) {
        log_line(LOG_CRITICAL, "signalfd: %m");
        _exit(1);
    }
}

static void read_settings(void)
{
    char cmdline[CMDLINE_BYTES] = "";
    if (read_file("/proc/cmdline", cmdline, sizeof cmdline) < 0)
        log_line(LOG_WARN, "/proc/cmdline: %m");
    const char *problem = settings_read(&settings, cmdline);
    if (problem) {
        /* As with Kata's own agent: better no guest than one that does not do what it was told. */
        log_line(LOG_CRITICAL, "%s", problem);
        _exit(1);
    }
    log_set_level((enum log_level)settings.log_level);
    process_set_pipe_size(settings.pipe_size);
    device_set_timeout(settings.hotplug_timeout_s);
}

static void finish(void)
{
    boot_finish();
    listen_finish(&settings);
}

int main(void)
{
    uint64_t cycles = cycle_counter();
    metrics_note_main(cycles, monotonic_ns());
    if (getpid() != 1) {
        fputs("kata-agent: this is the first process of a guest, not a program to run\n", stderr);
        return 2;
    }
    boot_begin();
    read_settings();
    loop_init();
    watch_signals();
    listen_begin(&settings);
    loop_run(finish);
    return 0;
}
