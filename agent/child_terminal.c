#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

int child_open_terminal(const Kata__Process *process, int guest_ptmx, bool make_console)
{
    /* The container's own, so that ttyname() finds it there. */
    int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master >= 0 && guest_ptmx >= 0)
        close(guest_ptmx);
    if (master < 0)
        master = guest_ptmx;
    int unlock = 0;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
        child_fail("cannot open a terminal: %s", strerror(errno));
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        child_fail("cannot open the terminal's other end: %s", strerror(errno));
    if (process->user && process->user->uid && fchown(slave, process->user->uid, (gid_t)-1) < 0)
        child_fail("cannot hand over the terminal: %s", strerror(errno));
    if (process->console_size) {
        struct winsize size = {
            .ws_row = (unsigned short)process->console_size->height,
            .ws_col = (unsigned short)process->console_size->width};
        ioctl(slave, TIOCSWINSZ, &size);
    }
    char name[32];
    if (make_console && ttyname_r(slave, name, sizeof name) == 0 && make_file("/dev/console") == 0)
        mount(name, "/dev/console", NULL, MS_BIND, NULL); /* a convenience: some programs write there */
    ioctl(slave, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++)
        dup2(slave, i);
    close(slave);
    return master;
}
