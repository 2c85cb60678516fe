#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "container.h"
#include "device.h"
#include "device_filter.h"
#include "log.h"
#include "storage.h"
#include "util.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { EXIT_FAILED = 127 };

static int report = -1;

void child_fail(const char *format, ...)
{
    char text[400];
    text[0] = REPORT_ERROR;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text + 1, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (length > 0)
        send(report, text, strlen(text), MSG_NOSIGNAL);
    _exit(EXIT_FAILED);
}

static void report_ready(int terminal)
{
    static char ready = REPORT_READY;
    char control[CMSG_SPACE(sizeof terminal)] = {0};
    struct iovec vector = {.iov_base = &ready, .iov_len = 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (terminal >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof terminal);
        memcpy(CMSG_DATA(header), &terminal, sizeof terminal);
    }
    if (sendmsg(report, &message, MSG_NOSIGNAL) < 0)
        _exit(EXIT_FAILED); /* the agent is gone: nobody to tell */
    if (terminal >= 0)
        close(terminal);
}

static void wait_for_go(void)
{
    char go;
    ssize_t got;
    do
        got = recv(report, &go, 1, 0);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        _exit(EXIT_FAILED);
}

static void close_range_or_each(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return;
    for (unsigned fd = first; fd <= last && fd < 65536; fd++)
        close((int)fd);
}

static int by_number(const void *left, const void *right)
{
    return *(const int *)left - *(const int *)right;
}

/* The agent's descriptors are closed on exec, but a container may wait long to be started, and would keep the pipes
 * of others open until then. */
static void close_all_but(int *keep, size_t count)
{
    qsort(keep, count, sizeof keep[0], by_number);
    unsigned next = 3;
    for (size_t i = 0; i < count; i++) {
        if (keep[i] < (int)next)
            continue;
        close_range_or_each(next, (unsigned)keep[i] - 1);
        next = (unsigned)keep[i] + 1;
    }
    close_range_or_each(next, ~0u);
}

void child_begin(int fd)
{
    report = fd;
    close_all_but(&fd, 1);
}

void child_reset_signals(void)
{
    sigset_t none;
    for (int signum = 1; signum < NSIG; signum++)
        signal(signum, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- namespaces ---- */

static const struct {
    const char *name;
    int flag;
} namespace_names[] = {
    {"mount", CLONE_NEWNS}, {"uts", CLONE_NEWUTS}, {"ipc", CLONE_NEWIPC},
    {"network", CLONE_NEWNET}, {"cgroup", CLONE_NEWCGROUP}, {"pid", 0 /* made by fork */},
};

static int namespace_flag(const char *name)
{
    for (size_t i = 0; i < COUNT(namespace_names); i++)
        if (strcmp(namespace_names[i].name, name) == 0)
            return namespace_names[i].flag;
    child_fail("the namespace type '%s' is not supported", name);
}

static void join_namespace(int fd, int flag, const char *what)
{
    if (setns(fd, flag) < 0)
        child_fail("cannot join the %s namespace: %s", what, strerror(errno));
}

static void enter_namespaces(const struct launch *launch, const Kata__Linux *spec)
{
    int fresh = CLONE_NEWNS; /* always: the guest's own tree is not the container's to change */
    for (size_t i = 0; spec && i < spec->n_namespaces; i++) {
        const Kata__LinuxNamespace *wanted = spec->namespaces[i];
        int flag = namespace_flag(wanted->type);
        if (flag == CLONE_NEWIPC && launch->ipc_ns >= 0) {
            join_namespace(launch->ipc_ns, flag, "sandbox's ipc");
        } else if (flag == CLONE_NEWUTS && launch->uts_ns >= 0) {
            join_namespace(launch->uts_ns, flag, "sandbox's uts");
        } else if (flag && flag != CLONE_NEWNS && wanted->path[0]) {
            int fd = open(wanted->path, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                child_fail("%s: %s", wanted->path, strerror(errno));
            join_namespace(fd, flag, wanted->type);
            close(fd);
        } else {
            fresh |= flag;
        }
    }
    if (unshare(fresh) < 0)
        child_fail("cannot make namespaces: %s", strerror(errno));
    /* The hostname is the namespace's; without one of its own the guest's would change. */
    bool own_name = fresh & CLONE_NEWUTS || launch->uts_ns >= 0;
    const char *hostname = launch->create->oci->hostname;
    if (!hostname[0] && fresh & CLONE_NEWUTS && sandbox.hostname)
        hostname = sandbox.hostname;
    if (hostname[0] && own_name && sethostname(hostname, strlen(hostname)) < 0)
        child_fail("cannot set the host name: %s", strerror(errno));
}

static void join_container(const struct launch *launch)
{
    cgroup_join(launch->container->id);
    if (setns(launch->join, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP) < 0)
        child_fail("cannot join the container: %s", strerror(errno));
    close(launch->join);
    if (chdir("/") < 0)
        child_fail("the container's root: %s", strerror(errno));
}

/* ---- the program ---- */

static void set_oom_score(const Kata__Process *process)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)process->oom_score_adj);
    if (process->oom_score_adj && write_file("/proc/self/oom_score_adj", text) < 0)
        child_fail("oomScoreAdj %s: %s", text, strerror(errno));
}

static void take_stdio(const struct launch *launch, const Kata__Process *process)
{
    for (int i = 0; i < 3; i++) {
        /* /dev/stdout leads back to the pipe, which its user must be allowed to open. */
        uid_t owner = process->user ? process->user->uid : 0;
        if (owner && fchown(launch->stdio[i], owner, (gid_t)-1) < 0)
            child_fail("cannot hand over the standard streams: %s", strerror(errno));
        if (dup2(launch->stdio[i], i) < 0)
            child_fail("cannot set up the standard streams: %s", strerror(errno));
    }
}

static void enter_folder(const Kata__Process *process)
{
    const char *folder = process->cwd[0] ? process->cwd : "/";
    if (chdir(folder) == 0)
        return;
    if (errno == ENOENT)
        make_dirs(folder, 0755);
    if (chdir(folder) < 0)
        child_fail("cannot change to the working folder %.200s: %s", folder, strerror(errno));
}

static char **null_terminated(char *const *words, size_t count)
{
    char **copy = xcalloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = words[i];
    return copy;
}

static _Noreturn void execute(const Kata__Process *process)
{
    extern char **environ;
    char **arguments = null_terminated(process->args, process->n_args);
    environ = null_terminated(process->env, process->n_env);
    char home[300];
    if (!getenv("HOME")) {
        child_find_home(process->user ? process->user->uid : 0, home, sizeof home);
        setenv("HOME", home, 0);
    }
    umask(0022);
    execvp(arguments[0], arguments);
    child_fail("exec %.200s: %s", arguments[0], strerror(errno));
}

static void set_up_container(const struct launch *launch)
{
    const Kata__CreateContainerRequest *request = launch->create;
    storage_mount_new(request->storages, request->n_storages);
    device_prepare(request->devices, request->n_devices);
    const Kata__LinuxResources *limits = request->oci->linux ? request->oci->linux->resources : NULL;
    cgroup_make(request->container_id, limits);
    if (limits)
        device_filter_apply(request->container_id, limits->devices, limits->n_devices);
    cgroup_join(request->container_id);
    enter_namespaces(launch, request->oci->linux);
    child_enter_root(request);
}

void child_main(const struct launch *launch)
{
    const Kata__Process *process = launch->spec;
    int keep[] = {launch->report, launch->stdio[0], launch->stdio[1], launch->stdio[2], launch->ipc_ns, launch->uts_ns,
        launch->join};
    report = launch->report;
    /* Until the program is executed, nobody in the namespaces it joins may look into the agent's memory and files. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    setsid();
    close_all_but(keep, COUNT(keep));
    set_oom_score(process);
    int guest_ptmx = process->terminal ? open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    if (launch->create)
        set_up_container(launch);
    else
        join_container(launch);
    int terminal = -1;
    if (process->terminal)
        terminal = child_open_terminal(process, guest_ptmx, launch->create != NULL);
    else
        take_stdio(launch, process);
    if (launch->create)
        child_protect_root(launch->create->oci);
    report_ready(terminal);
    if (launch->create)
        wait_for_go();
    child_reset_signals();
    child_set_limits(process);
    enter_folder(process);
    child_become_user(process, launch->seccomp, launch->container->no_new_nodes);
    execute(process);
}
