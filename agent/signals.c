#include "signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot.h"
#include "container.h"
#include "job.h"
#include "log.h"
#include "loop.h"

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

void signals_watch(void)
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
