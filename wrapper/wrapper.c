/* The wrapper of one built set: finds the Kata runtime or shim and becomes it, pointed at this set.
 *
 * Called as NAME it is the runtime's command line; called as containerd-shim-*, the shim. Nothing of what the caller
 * gave is changed; `--config FILE` is put before the arguments when the Go runtime's command line has none.
 * `--artifacts` alone lists the set, `--verify` in front checks its files' digests before anything is started.
 * A shim learns its configuration from the container manager (ConfigPath), so nothing is added there, except that
 * Go shims before Kata 4.0 fall back to KATA_CONF_FILE (later ones refuse any file but their own defaults, and Rust
 * shims let it override ConfigPath).
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "wrapper.h"

#define SHIM_PREFIX "containerd-shim-"
#define CONF_FILE "KATA_CONF_FILE"

extern char **environ;

/* Does this name decide the role? */
static bool role_from_name(const char *path, enum role *role)
{
    const char *name = base_name(path);

    if (!strncmp(name, SHIM_PREFIX, sizeof SHIM_PREFIX - 1))
        *role = ROLE_SHIM;
    else if (!strcmp(name, the_set.name))
        *role = ROLE_COMMAND;
    else
        return false;
    return true;
}

/* The name we were called by, or started by, or have on disk: the first that says something. */
static enum role role_of(const char *called)
{
    const char *started = (const char *)getauxval(AT_EXECFN);
    char exe[PATH_MAX];
    enum role role = ROLE_COMMAND;

    if ((called && role_from_name(called, &role)) || (started && role_from_name(started, &role)))
        return role;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        role_from_name(exe, &role);
    }
    return role;
}

/* `--name`, `-name`, `--name=value`: the Go runtime's flags take all three. NULL when it is another flag. */
static const char *after_flag(const char *argument, const char *flag)
{
    size_t length = strlen(flag);

    argument += argument[1] == '-' ? 2 : 1;
    if (strncmp(argument, flag, length) || (argument[length] && argument[length] != '='))
        return NULL;
    return argument + length;
}

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

/* containerd calls a shim with its action as the last word. Only `start` makes a VM: a `delete` must work even when
 * the set was replaced under a running pod. */
static bool is_start(int argc, char **argv)
{
    return argc > 1 && !strcmp(argv[argc - 1], "start");
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

static int run_command(int argc, char **argv)
{
    static struct runtime runtime;
    static char config[PATH_MAX];
    char **given = argc > 0 ? argv + 1 : argv;
    int status = find_runtime(ROLE_COMMAND, &runtime);
    bool ours = !names_config(given);

    if (!status && ours)
        status = check_config(runtime.dialect, config);
    if (!status)
        status = check_sizes();
    if (status)
        return status;
    bool go = !strcmp(runtime.dialect, "go");
    if (ours && !go)
        say_not_configured(runtime.path, config);
    return become(&runtime, argc, argv, ours && go ? config : NULL);
}

static int run_shim(int argc, char **argv)
{
    static struct runtime runtime;
    static char config[PATH_MAX];
    int status = find_runtime(ROLE_SHIM, &runtime);

    if (!status && is_start(argc, argv)) {
        status = check_config(runtime.dialect, config);
        if (!status)
            status = check_sizes();
        if (!status && the_set.conf_file_in_env && runtime.is_go && setenv(CONF_FILE, config, 0))
            return cannot_execute(runtime.path);
    }
    return status ? status : become(&runtime, argc, argv, NULL);
}

int main(int argc, char **argv)
{
    if (role_of(argc > 0 ? argv[0] : NULL) == ROLE_SHIM)
        return run_shim(argc, argv);
    if (argc == 2 && !strcmp(argv[1], "--artifacts"))
        return print_artifacts();
    if (argc > 1 && !strcmp(argv[1], "--verify")) {
        /* What follows has stdout to itself. */
        int status = verify_artifacts(argc == 2 ? STDOUT_FILENO : STDERR_FILENO);
        return status || argc == 2 ? status : run_command(argc - 1, argv + 1);
    }
    return run_command(argc, argv);
}
