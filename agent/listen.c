#include "listen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "conn.h"
#include "console.h"
#include "log.h"
#include "loop.h"
#include "util.h"

enum { BACKLOG = 128, KERNEL_EVENTS_GROUP = 1 };

#define PORTS_FOLDER "/sys/class/virtio-ports"

static bool agent_port_open, console_port_open, console_wanted;

/* ---- vsock ---- */

struct listener {
    struct source source;
    void (*take)(int fd);
};

/* Edges only: when accept fails for want of descriptors, the next connection is what wakes us again. */
static void accept_ready(struct source *source, uint32_t events)
{
    struct listener *listener = container_of(source, struct listener, source);
    (void)events;
    int fd;
    while ((fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0 || errno == EINTR)
        if (fd >= 0)
            listener->take(fd);
    if (errno != EAGAIN)
        log_line(LOG_WARN, "accept: %m");
}

static void listen_vsock(struct listener *listener, unsigned cid, unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0) {
        log_line(LOG_DEBUG, "no vsock port %u: %m", port);
        if (fd >= 0)
            close(fd);
        return;
    }
    listener->source = (struct source){.fd = fd, .ready = accept_ready};
    loop_add(&listener->source, EPOLLIN | EPOLLET);
}

/* ---- virtio-serial ---- */

static void find_ports(void);

static void agent_port_lost(void)
{
    agent_port_open = false;
}

static void open_agent_port(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        log_line(LOG_ERROR, "%s: %m", path);
        return;
    }
    agent_port_open = true;
    conn_add_serial(fd, agent_port_lost);
}

static void look_at_port(const char *entry)
{
    char path[300], name[64];
    snprintf(path, sizeof path, PORTS_FOLDER "/%s/name", entry);
    ssize_t length = read_file(path, name, sizeof name);
    if (length <= 0)
        return;
    name[strcspn(name, "\n")] = '\0';
    snprintf(path, sizeof path, "/dev/%s", entry);
    if (!agent_port_open && strcmp(name, "kata.agent") == 0)
        open_agent_port(path);
    if (console_wanted && !console_port_open && strcmp(name, "kata.console") == 0)
        console_port_open = console_start_serial(path);
}

static void find_ports(void)
{
    DIR *listing = opendir(PORTS_FOLDER);
    if (!listing)
        return;
    struct dirent *entry;
    while ((entry = readdir(listing)))
        if (entry->d_name[0] != '.')
            look_at_port(entry->d_name);
    closedir(listing);
}

/* A port's name arrives after the device itself, and ports can be plugged in: the kernel says when. */
static void kernel_event_ready(struct source *source, uint32_t events)
{
    (void)events;
    char text[4096];
    bool ports = false;
    ssize_t got;
    while ((got = recv(source->fd, text, sizeof text, MSG_DONTWAIT)) > 0 || errno == ENOBUFS) {
        if (got <= 0 || memmem(text, (size_t)got, "virtio-ports", strlen("virtio-ports")))
            ports = true;
        errno = 0;
    }
    if (ports)
        find_ports();
}

static void listen_kernel_events(void)
{
    static struct source source = {.fd = -1, .ready = kernel_event_ready};
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_EVENTS_GROUP};
    if (source.fd >= 0)
        return;
    source.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (source.fd < 0 || bind(source.fd, (struct sockaddr *)&address, sizeof address) < 0) {
        log_line(LOG_WARN, "no kernel events: %m");
        loop_close(&source);
        return;
    }
    loop_add(&source, EPOLLIN);
    find_ports(); /* what came between the first look and now */
}

/* ---- all ---- */

static struct listener agent_listener = {.take = conn_add_socket};
static struct listener log_listener = {.take = log_attach};
static struct listener console_listener = {.take = console_start_socket};

void listen_begin(const struct settings *settings)
{
    find_ports();
    listen_vsock(&agent_listener, settings->agent_cid, settings->agent_port);
    if (!agent_port_open)
        listen_kernel_events();
}

void listen_finish(const struct settings *settings)
{
    console_wanted = settings->debug_console;
    if (settings->debug_console && settings->debug_console_port)
        listen_vsock(&console_listener, VMADDR_CID_ANY, settings->debug_console_port);
    if (settings->log_port)
        listen_vsock(&log_listener, VMADDR_CID_ANY, settings->log_port);
    listen_kernel_events();
    find_ports();
}
