/* The agent's server on a socket of the host, for tests: everything but the boot and main().
 *
 *   host unix PATH      a listening socket, as vsock in a guest
 *   host serial PATH    connections to PATH follow each other on one "port", as on virtio-serial in a guest
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conn.h"
#include "log.h"
#include "loop.h"
#include "signals.h"
#include "util.h"

static bool serial;

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
    if (argc != 3 || strlen(argv[2]) >= sizeof address.sun_path)
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
