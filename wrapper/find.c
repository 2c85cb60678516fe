/* Finding the Kata runtime or shim: $KATA_RUNTIME, then PREFIX, /opt/kata and PATH; never a wrapper. */

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wrapper.h"

#define SHIM "containerd-shim-kata-v2"
#define GO_COMMAND "kata-runtime"
#define RUST_COMMAND "kata-ctl"
#define KATA_PREFIX "/opt/kata"
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Where to look below a prefix, and for what. kata-deploy keeps the shim of the Rust runtime in a folder of its
 * own, since both shims have the same name. */
struct candidate {
    enum role role;
    const char *dialect;
    const char *folder;
    const char *name;
};

static const struct candidate candidates[] = {
    {ROLE_COMMAND, "go", "bin", GO_COMMAND},
    {ROLE_COMMAND, "rs", "bin", RUST_COMMAND},
    {ROLE_SHIM, "go", "bin", SHIM},
    {ROLE_SHIM, "rs", "runtime-rs/bin", SHIM},
    {ROLE_SHIM, "rs", "bin", SHIM},
};

static bool same_file(const struct stat *a, const char *path)
{
    struct stat b;

    return !stat(path, &b) && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* This very program: by device and inode, so through links too; without /proc by the name it was started by. */
static bool is_self(const struct stat *st)
{
    const char *started = (const char *)getauxval(AT_EXECFN);

    return same_file(st, "/proc/self/exe") || (started && same_file(st, started));
}

static const char *dialect_of(const char *path, enum program kind)
{
    const char *name = base_name(path);

    if (kind == PROGRAM_GO || !strcmp(name, GO_COMMAND))
        return "go";
    if (kind == PROGRAM_OTHER_ELF || !strcmp(name, RUST_COMMAND) || strstr(path, "/runtime-rs/"))
        return "rs";
    return the_set.configs[0].dialect; /* a script says nothing about itself */
}

/* Can this file be the runtime? Fills `found`. */
static bool accept(const char *path, struct runtime *found)
{
    struct stat st;
    enum program kind;

    if (stat(path, &st) || !S_ISREG(st.st_mode) || access(path, X_OK) || is_self(&st))
        return false;
    kind = program_kind(path);
    if (kind == PROGRAM_WRAPPER)
        return false;
    if (found->path != path)
        strcpy(found->path, path); /* both are PATH_MAX buffers, or checked by the caller */
    found->dialect = dialect_of(path, kind);
    found->is_go = kind == PROGRAM_GO;
    return true;
}

/* One element of a colon-separated list as a folder; NULL after the last. As for execvp, none means here. */
static const char *next_element(const char *list, char folder[PATH_MAX])
{
    size_t length = strcspn(list, ":");

    folder[0] = 0;
    if (length == 0)
        strcpy(folder, ".");
    else if (length < PATH_MAX) {
        memcpy(folder, list, length);
        folder[length] = 0;
    }
    return list[length] ? list + length + 1 : NULL;
}

/* `dialect` NULL: whichever it is. */
static bool find_on_path(const char *name, const char *dialect, struct runtime *found)
{
    const char *list = getenv("PATH");
    char folder[PATH_MAX];

    for (list = list ? list : DEFAULT_PATH; list;) {
        list = next_element(list, folder);
        if (folder[0] && join(found->path, folder, name) && accept(found->path, found)
            && (!dialect || !strcmp(dialect, found->dialect)))
            return true;
    }
    return false;
}

static bool find_by_candidate(const struct candidate *c, struct runtime *found)
{
    const char *const prefixes[] = {the_set.prefix, KATA_PREFIX};
    char folder[PATH_MAX];

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (join(folder, prefixes[i], c->folder) && join(found->path, folder, c->name)
            && accept(found->path, found) && !strcmp(c->dialect, found->dialect))
            return true;
    return false;
}

static bool has_config(const struct call *call, const char *dialect)
{
    for (size_t i = 0; i < the_set.config_count; i++)
        if (is_meant(call, &the_set.configs[i]) && !strcmp(the_set.configs[i].dialect, dialect))
            return true;
    return false;
}

static int not_found(const struct call *call)
{
    enum role role = call->role;
    struct text err = {.fd = STDERR_FILENO};
    const char *list = getenv("PATH");

    put(&err, the_set.name);
    put(&err, ": there is no Kata ");
    put(&err, role == ROLE_SHIM ? "shim" : "runtime");
    put(&err, "; looked for:\n");
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        const struct candidate *c = &candidates[i];
        if (c->role != role || !has_config(call, c->dialect))
            continue;
        const char *const prefixes[] = {the_set.prefix, KATA_PREFIX};
        for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes; k++) {
            put(&err, "  ");
            put(&err, prefixes[k]);
            put(&err, "/");
            put(&err, c->folder);
            put(&err, "/");
            put(&err, c->name);
            put(&err, strcmp(c->dialect, "go") ? " (Rust)\n" : " (Go)\n");
        }
    }
    put(&err, "  and in PATH=");
    put(&err, list ? list : DEFAULT_PATH);
    put(&err, "\n  install Kata Containers, or set KATA_RUNTIME to the runtime or its folder\n");
    flush(&err);
    return EXIT_NO_RUNTIME;
}

/* Why $KATA_RUNTIME does not lead to a runtime: what a person chose is never silently passed over. */
static int bad_choice(const char *chosen, const char *path)
{
    struct text err = {.fd = STDERR_FILENO};
    struct stat st;
    bool there = path[0] && !stat(path, &st);
    int status = EXIT_NO_RUNTIME;

    put(&err, the_set.name);
    put(&err, ": KATA_RUNTIME=");
    put(&err, chosen);
    put(&err, ": ");
    if (there && (is_self(&st) || program_kind(path) == PROGRAM_WRAPPER)) {
        put(&err, "leads back to this wrapper");
    } else if (there) {
        put(&err, path);
        put(&err, " is not an executable file");
        status = EXIT_CANNOT_EXECUTE;
    } else {
        put(&err, path);
        put(&err, path[0] ? " does not exist" : "not found in PATH");
    }
    put(&err, "\n");
    flush(&err);
    return status;
}

/* A folder stands for the program in it that fits the role, and so does a program of the other role. */
static bool is_other_role(enum role role, const char *name)
{
    if (role == ROLE_SHIM)
        return !strcmp(name, GO_COMMAND) || !strcmp(name, RUST_COMMAND);
    return !strncmp(name, "containerd-shim-", sizeof "containerd-shim-" - 1);
}

static int find_in_folder(const struct call *call, const char *chosen, const char *folder, struct runtime *found)
{
    char last[PATH_MAX] = "";

    for (size_t i = 0; i < the_set.config_count; i++) /* the preferred dialect first */
        for (size_t k = 0; k < sizeof candidates / sizeof *candidates; k++) {
            const struct candidate *c = &candidates[k];
            if (c->role != call->role || !is_meant(call, &the_set.configs[i])
                || strcmp(c->dialect, the_set.configs[i].dialect) || !join(found->path, folder, c->name))
                continue;
            if (accept(found->path, found) && !strcmp(c->dialect, found->dialect))
                return 0;
            if (!last[0])
                strcpy(last, found->path);
        }
    return bad_choice(chosen, last);
}

static int find_chosen(const struct call *call, const char *chosen, struct runtime *found)
{
    char folder[PATH_MAX];
    struct stat st;

    if (strlen(chosen) >= PATH_MAX - sizeof SHIM)
        return bad_choice(chosen, "");
    if (!strchr(chosen, '/'))
        return find_on_path(chosen, NULL, found) ? 0 : bad_choice(chosen, "");
    if (!stat(chosen, &st) && S_ISDIR(st.st_mode))
        return find_in_folder(call, chosen, chosen, found);
    if (is_other_role(call->role, base_name(chosen))) {
        memcpy(folder, chosen, (size_t)(base_name(chosen) - chosen));
        folder[base_name(chosen) - chosen] = 0;
        return find_in_folder(call, chosen, folder, found);
    }
    return accept(chosen, found) ? 0 : bad_choice(chosen, chosen);
}

int find_runtime(const struct call *call, struct runtime *found)
{
    const char *chosen = getenv("KATA_RUNTIME");

    if (chosen && *chosen)
        return find_chosen(call, chosen, found);
    for (size_t i = 0; i < the_set.config_count; i++) /* the preferred dialect first */
        for (size_t k = 0; k < sizeof candidates / sizeof *candidates; k++) {
            const struct candidate *c = &candidates[k];
            if (c->role == call->role && is_meant(call, &the_set.configs[i])
                && !strcmp(c->dialect, the_set.configs[i].dialect)
                && (find_by_candidate(c, found) || find_on_path(c->name, c->dialect, found)))
                return 0;
        }
    return not_found(call);
}
