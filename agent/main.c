/* The guest's PID 1, or a service of it: boots what a guest needs, then serves the host until it is told to end. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "boot.h"
#include "cmdline.h"
#include "device.h"
#include "extension.h"
#include "files_limit.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "process.h"
#include "signals.h"
#include "util.h"

enum { CMDLINE_BYTES = 4096, EXTENSION_TIMEOUT_S = 3 };

static struct settings settings;

static char cmdline[CMDLINE_BYTES];

static void read_settings(void)
{
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

/* Before the host can ask for anything. As Kata's images do, the guest ends rather than run without one. */
static void mount_extensions(void)
{
    if (!extensions_named(cmdline))
        return;
    boot_finish(); /* they lie below /run */
    const char *problem = extensions_mount(cmdline, settings.hotplug_timeout_s);
    if (problem) {
        log_line(LOG_CRITICAL, "%s", problem);
        _exit(1);
    }
}

/* Under this name the program mounts them for another agent, and ends. */
static bool only_mounts(const char *called)
{
    const char *slash = strrchr(called, '/');
    return strcmp(slash ? slash + 1 : called, "kata-extensions") == 0;
}

static int mount_for_another(void)
{
    if (read_file("/proc/cmdline", cmdline, sizeof cmdline) < 0) {
        fprintf(stderr, "kata-extensions: /proc/cmdline: %m\n");
        return 1;
    }
    const char *problem = extensions_mount(cmdline, EXTENSION_TIMEOUT_S);
    if (problem)
        fprintf(stderr, "kata-extensions: %s\n", problem);
    return problem != NULL;
}

static void finish(void)
{
    boot_finish();
    listen_finish(&settings);
    metrics_note_idle();
}

int main(int count, char **words)
{
    uint64_t cycles = cycle_counter();
    if (count > 0 && only_mounts(words[0]))
        return mount_for_another();
    metrics_note_main(cycles, monotonic_ns());
    if (!boot_expected()) {
        fputs("kata-agent: this is the first process of a guest, not a program to run\n", stderr);
        return 2;
    }
    boot_begin();
    read_settings();
    files_limit_raise();
    mount_extensions();
    loop_init();
    signals_watch();
    listen_begin(&settings);
    loop_run(finish);
    return 0;
}
