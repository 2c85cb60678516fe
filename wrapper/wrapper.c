/* The wrapper of one built set: finds the Kata runtime or shim and becomes it, pointed at this set.
 *
 * Called as NAME it is the runtime's command line; called as containerd-shim-*, the shim; the name may go on with a
 * hypervisor (names.c). Nothing of what the caller gave is changed; `--config FILE` is put before the arguments when
 * the Go runtime's command line has none. `--artifacts` alone lists the set, `--verify` in front checks its files'
 * digests before anything is started. What becomes of a shim's configuration is told in shim.c.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wrapper.h"

extern char **environ;

/* Did the caller name a configuration? Only global options count: those before the command. */
static bool names_config(char **argv)
{
    static const char *const config_flags[] = {"config", "kata-config"};
    static const char *const value_flags[] = {"log", "log-format", "root", "rootless"};

    for (; *argv && (*argv)[0] == '-' && (*argv)[1] && strcmp(*argv, "--"); argv++) {
        for (size_t i = 0; i < sizeof config_flags / sizeof *config_flags; i++)
            if (after_flag(*argv, config_flags[i]))
                return true;
        for (size_t i = 0; i < sizeof value_flags / sizeof *value_flags; i++) {
            const char *rest = after_flag(*argv, value_flags[i]);
            if (rest && !*rest && argv[1]) {
                argv++; /* the next word is its value */
                break;
            }
        }
    }
    return false;
}

static int cannot_execute(const char *path)
{
    struct text err = {.fd = STDERR_FILENO};
    int why = errno;

    put(&err, the_set.name);
    put(&err, ": cannot execute ");
    put(&err, path);
    put(&err, ": ");
    put(&err, strerror(why));
    if (why == ENOENT)
        put(&err, " (its interpreter)");
    put(&err, "\n");
    flush(&err);
    return EXIT_CANNOT_EXECUTE;
}

static int become(const struct runtime *runtime, int argc, char **argv, char *config)
{
    char **words = malloc(((size_t)argc + 4) * sizeof *words);
    size_t count = 0;

    if (!words)
        return cannot_execute(runtime->path);
    words[count++] = (char *)runtime->path; /* execve does not write to it */
    if (config) {
        words[count++] = (char *)"--config";
        words[count++] = config;
    }
    for (int i = 1; i < argc; i++)
        words[count++] = argv[i];
    words[count] = NULL;
    execve(runtime->path, words, environ);
    return cannot_execute(runtime->path);
}

/* The Rust command line reads its own default configuration, and no option or variable changes that. */
static void say_not_configured(const char *path, const char *config)
{
    struct text err = {.fd = STDERR_FILENO};

    put(&err, the_set.name);
    put(&err, ": ");
    put(&err, path);
    put(&err, " cannot be told a configuration: it does not use ");
    put(&err, config);
    put(&err, "\n");
    flush(&err);
}

static int run_command(const struct call *call, int argc, char **argv)
{
    static struct runtime runtime;
    static char config[PATH_MAX];
    char **given = argc > 0 ? argv + 1 : argv;
    int status = find_runtime(call, &runtime);
    bool ours = !names_config(given);

    if (!status && ours)
        status = check_config(call, runtime.dialect, config);
    if (!status)
        status = check_sizes();
    if (status)
        return status;
    bool go = !strcmp(runtime.dialect, "go");
    if (ours && !go)
        say_not_configured(runtime.path, config);
    return become(&runtime, argc, argv, ours && go ? config : NULL);
}

/* Only `start` makes a VM: a `delete` must work even when the set was replaced under a running pod. Nothing is said on
 * stderr unless it is the end: container managers read a shim's address from both streams. */
static int run_shim(const struct call *call, int argc, char **argv)
{
    static struct runtime runtime;
    static char config[PATH_MAX];
    int status = find_runtime(call, &runtime);

    if (!status && is_start(argc, argv)) {
        status = check_config(call, runtime.dialect, config);
        if (!status)
            status = check_sizes();
        if (!status)
            status = settle_config(call, &runtime, argv, config);
    }
    return status ? status : become(&runtime, argc, argv, NULL);
}

int main(int argc, char **argv)
{
    struct call call;

    read_call(argc > 0 ? argv[0] : NULL, &call);
    if (call.unknown)
        return refuse_unknown(&call);
    if (call.role == ROLE_SHIM)
        return run_shim(&call, argc, argv);
    if (argc == 2 && !strcmp(argv[1], "--artifacts"))
        return print_artifacts();
    if (argc > 1 && !strcmp(argv[1], "--verify")) {
        /* What follows has stdout to itself. */
        int status = verify_artifacts(argc == 2 ? STDOUT_FILENO : STDERR_FILENO);
        return status || argc == 2 ? status : run_command(&call, argc - 1, argv + 1);
    }
    return run_command(&call, argc, argv);
}
