#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

enum { READERS = 4, KEPT_BYTES = 8192, LINE_BYTES = 512 };

static enum log_level threshold = LOG_INFO;
static int readers[READERS] = {-1, -1, -1, -1};
/* What was logged before somebody listened; when full, later lines are not kept (the first ones tell more). */
static char kept[KEPT_BYTES];
static size_t kept_length;

static const struct {
    const char *name;
    enum log_level level;
} names[] = {
    {"trace", LOG_TRACE}, {"debug", LOG_DEBUG}, {"info", LOG_INFO},
    {"warn", LOG_WARN}, {"warning", LOG_WARN}, {"error", LOG_ERROR},
    {"critical", LOG_CRITICAL}, {"fatal", LOG_CRITICAL}, {"panic", LOG_CRITICAL},
};

static const char *const shown[] = {"trace", "debug", "info", "warning", "error", "critical"};

void log_set_level(enum log_level level)
{
    threshold = level;
}

int log_level_by_name(const char *name)
{
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return (int)names[i].level;
    return -1;
}

static void send_line(int *reader, const char *line, size_t length)
{
    /* A reader that does not keep up loses lines; it never holds the agent up. */
    if (send(*reader, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
        close(*reader);
        *reader = -1;
    }
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level < threshold)
        return;
    char line[LINE_BYTES];
    int length = snprintf(line, sizeof line, "kata-agent: %s: ", shown[level]);
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (added < 0)
        return;
    size_t end = strlen(line);
    for (size_t i = 0; i < end; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?'; /* names come from outside: no control characters on the console */
    line[end++] = '\n';
    if (write(STDERR_FILENO, line, end) < 0) {
        /* No console: the log port may still have a reader. */
    }
    if (kept_length + end <= sizeof kept) {
        memcpy(kept + kept_length, line, end);
        kept_length += end;
    }
    for (size_t i = 0; i < READERS; i++)
        if (readers[i] >= 0)
            send_line(&readers[i], line, end);
}

void log_attach(int fd)
{
    size_t slot = 0;
    while (slot < READERS - 1 && readers[slot] >= 0)
        slot++;
    if (readers[slot] >= 0)
        close(readers[slot]);
    readers[slot] = fd;
    if (kept_length)
        send_line(&readers[slot], kept, kept_length);
}
