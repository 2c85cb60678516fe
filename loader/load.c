/* The guest's first process where the kernel has its drivers as modules: loads them, then becomes the agent.
 *
 * It is for any agent: it leaves no mount, no file and no open descriptor behind. What to load, dependencies first, is
 * in /lib/modules/RELEASE/modules.load, a path below that folder on each line, a blank and parameters behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LIST "modules.load"

enum { PATH_BYTES = 512, TEXT_BYTES = 640, LIST_BYTES = 64 << 10 };

static char list[LIST_BYTES];

/* The kernel's log is the one place that is there before any console driver. */
static void say(const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list words;
    va_start(words, format);
    int length = vsnprintf(text, sizeof text, format, words);
    va_end(words);
    if (length <= 0)
        return;
    size_t bytes = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    if (write(log < 0 ? STDERR_FILENO : log, text, bytes) < 0) {
    } /* nobody is left to be told */
    if (log >= 0)
        close(log);
}

/* A driver for a machine that this one is not says ENODEV or EOPNOTSUPP, and one that is built in EEXIST. */
static int harmless(int error)
{
    return error == EEXIST || error == ENODEV || error == EOPNOTSUPP;
}

static void load(const char *folder, char *line)
{
    char path[PATH_BYTES];
    char *parameters = strchr(line, ' ');
    if (parameters)
        *parameters++ = '\0';
    if (snprintf(path, sizeof path, "%s/%s", folder, line) >= (int)sizeof path) {
        say("<3>load: the path is too long: %s\n", line);
        return;
    }
    int module = open(path, O_RDONLY | O_CLOEXEC);
    if (module < 0) {
        say("<3>load: %s: %s\n", path, strerror(errno));
        return;
    }
    if (syscall(SYS_finit_module, module, parameters ? parameters : "", 0) < 0 && !harmless(errno))
        say("<3>load: %s: %s\n", path, strerror(errno));
    close(module);
}

/* Reads the whole list, or nothing of it: half a list would be half a guest. */
static ssize_t read_list(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    size_t length = 0;
    ssize_t got;
    while (length < sizeof list - 1 && (got = read(file, list + length, sizeof list - 1 - length)) > 0)
        length += (size_t)got;
    close(file);
    errno = EFBIG;
    return length < sizeof list - 1 ? (ssize_t)length : -1;
}

static void load_all(void)
{
    struct utsname kernel;
    char folder[PATH_BYTES], path[PATH_BYTES + sizeof LIST];
    uname(&kernel);
    snprintf(folder, sizeof folder, "/lib/modules/%s", kernel.release);
    snprintf(path, sizeof path, "%s/" LIST, folder);
    ssize_t length = read_list(path);
    if (length < 0) {
        say("<3>load: %s: %s\n", path, strerror(errno));
        return;
    }
    for (char *line = list, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (*line)
            load(folder, line);
    }
}

/* The kernel gives its first process no console when the console's driver was a module. */
static void open_console(void)
{
    int file;
    do
        file = open("/dev/console", O_RDWR | O_NOCTTY);
    while (file >= 0 && file < STDERR_FILENO);
    if (file > STDERR_FILENO)
        close(file);
}

int main(int count, char **words, char **environment)
{
    (void)count;
    if (getpid() != 1) {
        fputs("load: this is the first process of a guest, not a program to run\n", stderr);
        return 2;
    }
    load_all();
    open_console();
    execve(AGENT, words, environment);
    say("<2>load: cannot start the agent " AGENT ": %s\n", strerror(errno));
    return 1;
}
