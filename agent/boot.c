#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "container.h"
#include "log.h"
#include "util.h"

struct boot_mount {
    const char *type, *target;
    unsigned long flags;
    const char *options;
};

static const struct boot_mount first_mounts[] = {
    {"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
    {"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
    {"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
};

static const struct boot_mount later_mounts[] = {
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666"},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755"},
    {"tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777"},
};

static void mount_all(const struct boot_mount *mounts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct boot_mount *wanted = &mounts[i];
        if (mount(wanted->type, wanted->target, wanted->type, wanted->flags, wanted->options) == 0 || errno == EBUSY)
            continue; /* the kernel may have mounted /dev itself */
        if (errno == ENOENT && mkdir(wanted->target, 0755) == 0
            && mount(wanted->type, wanted->target, wanted->type, wanted->flags, wanted->options) == 0)
            continue; /* an initramfs, or a new folder in a fresh file system */
        log_line(LOG_WARN, "cannot mount %s on %s: %m", wanted->type, wanted->target);
    }
}

static void open_console(void)
{
    /* The kernel gives no standard streams when /dev/console was missing; later descriptors must not take 0 to 2. */
    int fd;
    do
        fd = open("/dev/console", O_RDWR | O_NOCTTY);
    while (fd >= 0 && fd < STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* The process that serves the guest, and whether it is the first one or a service of the first one. None of what is
 * below touches a machine whose guest this process is not. */
static pid_t server;
static bool service;

bool boot_expected(void)
{
    const char *mark = getenv("KATA_AGENT_SERVICE");
    service = getpid() != 1 && mark && strcmp(mark, "1") == 0;
    return getpid() == 1 || service;
}

/* An initramfs unpacked into rootfs cannot be pivoted away from. A bind mount of it, moved over it, can. A service
 * takes along what is mounted below, in a mount namespace of its own: what systemd shares nothing can pivot in. */
static void leave_rootfs(void)
{
    struct statfs root;
    if (statfs("/", &root) < 0 || ((unsigned long)root.f_type != RAMFS_MAGIC && (unsigned long)root.f_type != TMPFS_MAGIC))
        return;
    bool alone = !service || (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    if (!alone || mount("/", "/", NULL, MS_BIND | (service ? MS_REC : 0), NULL) < 0 || chdir("/..") < 0 || chroot(".") < 0)
        log_line(LOG_ERROR, "cannot leave the initramfs' own mount, containers will not start: %m");
}

void boot_begin(void)
{
    server = getpid();
    leave_rootfs();
    if (service) {
        /* The first process has mounted all; what containers leave behind is still for us to reap. */
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        return;
    }
    mount_all(first_mounts, COUNT(first_mounts));
    open_console();
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return; /* a kernel without IPv4 */
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP | IFF_RUNNING;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
            log_line(LOG_WARN, "cannot bring lo up: %m");
    }
    close(fd);
}

void boot_finish(void)
{
    static bool done;
    if (done || getpid() != server)
        return;
    done = true;
    if (!service)
        mount_all(later_mounts, COUNT(later_mounts));
    cgroup_boot();
    raise_loopback();
}

static _Noreturn void end(int how)
{
    containers_destroy();
    if (getpid() != server)
        _exit(0);
    if (!service) {
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
        }
    }
    sync();
    reboot(how);
    log_line(LOG_CRITICAL, "cannot end the guest: %m");
    _exit(1);
}

/* A PC is switched off by ACPI. Without it the kernel would only halt, and the VMM would never know; restarting is
 * how such a machine (microvm, Firecracker) is left. */
static bool can_power_off(void)
{
#ifdef __x86_64__
    return access("/sys/firmware/acpi", F_OK) == 0;
#else
    return true;
#endif
}

void boot_power_off(void)
{
    end(can_power_off() ? RB_POWER_OFF : RB_AUTOBOOT);
}

void boot_restart(void)
{
    if (service) { /* the first process stops its services, and knows what comes then */
        containers_destroy();
        _exit(0);
    }
    end(RB_AUTOBOOT);
}
