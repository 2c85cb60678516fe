/* The agent's server on a socket of the host, for tests: everything but the boot and main().
 *
 *   host unix PATH      a listening socket, as vsock in a guest
 *   host serial PATH    connections to PATH are treated as virtio-serial ports
 *   host settings TEXT  prints what the agent reads from a kernel command line
 *   host seccomp FILE   prints the BPF program of a LinuxSeccomp message: code, jumps, constant
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "arena.h"
#include "bounds.h"
#include "cmdline.h"
#include "conn.h"
#include "log.h"
#include "loop.h"
#include "seccomp.h"
#include "signals.h"
#include "util.h"
#include "wire.h"

static bool serial;

static int print_settings(const char *cmdline)
{
    struct settings settings;
    const char *problem = settings_read(&settings, cmdline);
    if (problem) {
        puts(problem);
        return 1;
    }
    printf("cid=%u port=%u console=%d console_port=%u log_port=%u log=%d pipe=%d hotplug=%u\n", settings.agent_cid,
        settings.agent_port, settings.debug_console, settings.debug_console_port, settings.log_port,
        settings.log_level, settings.pipe_size, settings.hotplug_timeout_s);
    return 0;
}

static int print_filter(const char *path)
{
    static uint8_t bytes[1 << 18];
    static struct sock_filter code[BPF_MAXINSNS];
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    static struct arena memory;
    arena_init(&memory, MAX_MESSAGE_MEMORY);
    Kata__LinuxSeccomp *profile = wire_unpack(&memory, &kata__linux_seccomp__descriptor, bytes, length);
    const char *problem = profile ? seccomp_unfit(profile) : "no profile";
    if (problem) {
        puts(problem);
        return 1;
    }
    size_t count = seccomp_translate(profile, code, BPF_MAXINSNS);
    for (size_t i = 0; i < count; i++)
        printf("%u %u %u %u\n", code[i].code, code[i].jt, code[i].jf, code[i].k);
    arena_clear(&memory);
    fclose(file);
    return count ? 0 : 3;
}

static void port_lost(void)
{
}

static void accept_ready(struct source *source, uint32_t events)
{
    (void)events;
    int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 && serial)
        conn_add_serial(fd, port_lost);
    else if (fd >= 0)
        conn_add_socket(fd);
}

int main(int argc, char **argv)
{
    static struct source listener = {.ready = accept_ready};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc != 3)
        return 2;
    if (strcmp(argv[1], "settings") == 0)
        return print_settings(argv[2]);
    if (strcmp(argv[1], "seccomp") == 0)
        return print_filter(argv[2]);
    if (strlen(argv[2]) >= sizeof address.sun_path)
        return 2;
    serial = strcmp(argv[1], "serial") == 0;
    strcpy(address.sun_path, argv[2]);
    log_set_level(LOG_INFO);
    loop_init();
    signals_watch();
    listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener.fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener.fd, 128) < 0
        || loop_add(&listener, EPOLLIN) < 0) {
        perror(argv[2]);
        return 1;
    }
    loop_run(NULL);
    return 0;
}
