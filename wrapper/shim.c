/* How a shim learns its configuration, so that it never runs with another one without a word.
 *
 * The container manager names it (ConfigPath), and then it must be one that this name and this shim can be meant to
 * read. Where it does not, a shim would take the machine's default configuration, which is not this set's.
 * KATA_CONF_FILE leads it here up to Kata 3.x; from 4.0 on it may only name what is a default place already, and
 * anything else is refused here, in words that say what to do. Rust shims let that variable override ConfigPath, so it
 * is set for them only when there is certainly none: containerd's options come on stdin, CRI-O's do not.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wrapper.h"

#define CONF_FILE "KATA_CONF_FILE"
#define DEFAULT_FILE "configuration.toml"

struct words {
    const char *action;  /* the first word that is no flag */
    const char *address; /* containerd's socket; CRI-O gives an empty one */
    bool strange;        /* there is a flag that we do not know */
};

static struct words read_words(char **argv)
{
    static const char *const values[] = {"address", "bundle", "id", "namespace", "publish-binary", "socket"};
    static const char *const switches[] = {"debug", "info", "v"};
    struct words words = {NULL, NULL, false};

    for (argv++; *argv && (*argv)[0] == '-' && (*argv)[1] && strcmp(*argv, "--"); argv++) {
        const char *rest = NULL;
        size_t i;
        for (i = 0; i < sizeof values / sizeof *values && !(rest = after_flag(*argv, values[i])); i++)
            ;
        if (rest && (*rest || argv[1])) {
            const char *value = *rest ? rest + 1 : *++argv;
            if (i == 0)
                words.address = value;
            continue;
        }
        for (i = 0; i < sizeof switches / sizeof *switches && !rest; i++)
            rest = after_flag(*argv, switches[i]);
        words.strange |= !rest;
    }
    words.action = *argv && !strcmp(*argv, "--") ? argv[1] : *argv;
    return words;
}

bool is_start(int argc, char **argv)
{
    if (argc < 2)
        return false;
    struct words words = read_words(argv);
    /* A flag from the future may have a value that looks like an action; the action comes last. */
    const char *action = words.strange ? argv[argc - 1] : words.action;
    return action && !strcmp(action, "start");
}

static bool same_place(const char *a, const char *b)
{
    struct stat one, other;

    return !stat(a, &one) && !stat(b, &other) && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* Is it what a runtime of this dialect takes anyway, and so accepts from KATA_CONF_FILE? */
static bool is_default_place(const char *config, const char *dialect)
{
    static const char *const folders[] = {"/etc", "/usr/share/defaults", "/opt/kata/share/defaults"};
    const char *below = strcmp(dialect, "go") ? "/kata-containers/runtime-rs" : "/kata-containers";
    char folder[PATH_MAX], file[PATH_MAX];

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (join(folder, folders[i], below + 1) && join(file, folder, DEFAULT_FILE) && same_place(config, file))
            return true;
    return false;
}

/* Which of the set's configurations this is; NULL: a file of somebody else, who will know. */
static const struct config *config_at(const char *path)
{
    char own[PATH_MAX];

    for (size_t i = 0; i < the_set.config_count; i++)
        if (join(own, the_set.prefix, the_set.configs[i].path) && (!strcmp(own, path) || same_place(own, path)))
            return &the_set.configs[i];
    return NULL;
}

static int refuse_told(const struct call *call, const struct runtime *runtime, const struct config *told)
{
    struct text err = {.fd = STDERR_FILENO};

    put(&err, the_set.name);
    put(&err, ": ConfigPath is the configuration ");
    put(&err, told->flavour);
    if (strcmp(told->dialect, runtime->dialect)) {
        put(&err, ", which the ");
        put(&err, strcmp(runtime->dialect, "go") ? "Rust" : "Go");
        put(&err, " shim ");
        put(&err, runtime->path);
        put(&err, " does not understand");
    } else {
        put(&err, ", but the shim was called for ");
        put(&err, call->hypervisor);
    }
    put(&err, "\n  use runtime_type io.containerd.");
    put(&err, the_set.name);
    put(&err, "-");
    put(&err, told->flavour);
    put(&err, ".v2 with it, or another ConfigPath\n");
    flush(&err);
    return EXIT_CONFIG;
}

static int refuse_untold(const char *config)
{
    struct text err = {.fd = STDERR_FILENO};

    put(&err, the_set.name);
    put(&err, ": containerd names no configuration, and since Kata 4.0 a shim takes one from nobody else\n"
              "  set ConfigPath = ");
    put_json(&err, config);
    put(&err, " in the runtime's options (ctr: --runtime-config-path)\n");
    flush(&err);
    return EXIT_CONFIG;
}

int settle_config(const struct call *call, const struct runtime *runtime, char **argv, const char *config)
{
    static char path[PATH_MAX];
    const char *address = read_words(argv).address;
    enum told told = address && *address ? read_options(path) : TOLD_UNKNOWN;

    if (told == TOLD_PATH) {
        const struct config *own = config_at(path);
        bool fits = !own || (is_meant(call, own) && !strcmp(own->dialect, runtime->dialect));
        return fits ? 0 : refuse_told(call, runtime, own);
    }
    const char *given = getenv(CONF_FILE);
    if (given && *given)
        return 0; /* what a person chose; a runtime that refuses it says so */
    bool accepted = the_set.conf_file_in_env || is_default_place(config, runtime->dialect);
    if (told == TOLD_NONE && !accepted)
        return refuse_untold(config);
    if (accepted && (told == TOLD_NONE || runtime->is_go) && setenv(CONF_FILE, config, 1))
        return EXIT_CONFIG;
    return 0;
}
