/* The files of the set: are they there, are they the ones it was built with, and what they are, as JSON. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wrapper.h"

/* The folder above the one this program lies in, when the set lies there too (a staged tree); else the prefix. */
static const char *own_tree(void)
{
    static char tree[PATH_MAX];
    char probe[PATH_MAX];
    struct stat here, installed;
    ssize_t n = readlink("/proc/self/exe", tree, sizeof tree - 1);

    if (n <= 0 || n >= (ssize_t)sizeof tree - 1)
        return the_set.prefix;
    tree[n] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(tree, '/');
        if (!slash)
            return the_set.prefix;
        *slash = 0;
    }
    if (!join(probe, tree, the_set.artifacts[0].path) || stat(probe, &here))
        return the_set.prefix;
    if (join(probe, the_set.prefix, the_set.artifacts[0].path) && !stat(probe, &installed)
        && installed.st_dev == here.st_dev && installed.st_ino == here.st_ino)
        return the_set.prefix;
    return tree;
}

static void complain(struct text *out, const char *kind, const char *path)
{
    put(out, the_set.name);
    put(out, ": the ");
    put(out, kind);
    put(out, " ");
    put(out, path);
    put(out, " ");
}

/* A set that was staged but not installed has everything, only not where its configuration says. */
static void add_hint(struct text *out)
{
    const char *tree = own_tree();

    if (tree != the_set.prefix) {
        put(out, "  this set lies in ");
        put(out, tree);
        put(out, "; it works once installed as ");
        put(out, the_set.prefix);
    } else {
        put(out, "  install the set again, or build it again with kata-toolkit");
    }
    put(out, "\n");
    flush(out);
}

int check_sizes(void)
{
    struct text err = {.fd = STDERR_FILENO};

    for (size_t i = 0; i < the_set.artifact_count; i++) {
        const struct artifact *a = &the_set.artifacts[i];
        char path[PATH_MAX];
        struct stat st;

        if (!join(path, the_set.prefix, a->path) || stat(path, &st)) {
            complain(&err, a->kind, path);
            put(&err, "cannot be used: ");
            put(&err, strerror(errno));
            put(&err, "\n");
        } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != a->size) {
            complain(&err, a->kind, path);
            put(&err, "is not the one this set was built with: ");
            put_number(&err, (uint64_t)st.st_size);
            put(&err, " bytes, not ");
            put_number(&err, a->size);
            put(&err, "\n");
        } else {
            continue;
        }
        add_hint(&err);
        return EXIT_ARTIFACT;
    }
    return 0;
}

int check_config(const struct call *call, const char *dialect, char *path)
{
    struct text err = {.fd = STDERR_FILENO};
    struct stat st;

    for (size_t i = 0; i < the_set.config_count; i++) {
        if (!is_meant(call, &the_set.configs[i]) || strcmp(the_set.configs[i].dialect, dialect))
            continue;
        if (join(path, the_set.prefix, the_set.configs[i].path) && !stat(path, &st) && S_ISREG(st.st_mode))
            return 0;
        complain(&err, "configuration", path);
        put(&err, "is gone\n");
        add_hint(&err);
        return EXIT_CONFIG;
    }
    put(&err, the_set.name);
    put(&err, ": the set has no configuration for the ");
    put(&err, strcmp(dialect, "go") ? "Rust" : "Go");
    put(&err, " runtime");
    if (call->hypervisor) {
        put(&err, " with ");
        put(&err, call->hypervisor);
    }
    put(&err, "\n");
    flush(&err);
    return EXIT_CONFIG;
}

static void put_member(struct text *out, const char *before, const char *name, const char *value)
{
    put(out, before);
    put_json(out, name);
    put(out, ": ");
    put_json(out, value);
}

/* A path below the tree; a path too long for the kernel is shown as the set knows it. */
static void put_path(struct text *out, const char *tree, const char *relative)
{
    char path[PATH_MAX];

    put_member(out, ", ", "path", join(path, tree, relative) ? path : relative);
}

int print_artifacts(void)
{
    struct text out = {.fd = STDOUT_FILENO};
    const char *tree = own_tree();

    put(&out, "{\"version\": 1");
    put_member(&out, ",\n ", "name", the_set.name);
    put_member(&out, ",\n ", "kata", the_set.kata);
    put_member(&out, ",\n ", "prefix", the_set.prefix);
    put_member(&out, ",\n ", "tree", tree);
    put(&out, ",\n \"artifacts\": [");
    for (size_t i = 0; i < the_set.artifact_count; i++) {
        const struct artifact *a = &the_set.artifacts[i];
        put_member(&out, i ? ",\n  {" : "\n  {", "kind", a->kind);
        put_path(&out, tree, a->path);
        put(&out, ", \"size\": ");
        put_number(&out, a->size);
        put_member(&out, ", ", "sha256", a->sha256);
        put(&out, "}");
    }
    put(&out, "],\n \"configs\": [");
    for (size_t i = 0; i < the_set.config_count; i++) {
        const struct config *c = &the_set.configs[i];
        put_member(&out, i ? ",\n  {" : "\n  {", "hypervisor", c->hypervisor);
        put_member(&out, ", ", "flavour", c->flavour);
        put_member(&out, ", ", "dialect", c->dialect);
        put_path(&out, tree, c->path);
        put(&out, "}");
    }
    put(&out, "]}\n");
    return flush(&out) ? 0 : EXIT_OUTPUT;
}

/* NULL when the file is the one the set was built with, else what is wrong; `detail` may hold its digest. */
static const char *difference(const struct artifact *a, const char *path, char detail[65])
{
    struct stat st;
    const char *wrong = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    detail[0] = 0;
    if (fd < 0 || fstat(fd, &st))
        wrong = strerror(errno);
    else if (!S_ISREG(st.st_mode))
        wrong = "not a regular file";
    else if ((uint64_t)st.st_size != a->size)
        wrong = "another size";
    else if (!sha256_of(fd, detail))
        wrong = strerror(errno);
    else if (strcmp(detail, a->sha256))
        wrong = "another digest: ";
    if (fd >= 0)
        close(fd);
    return wrong;
}

static bool verify_one(struct text *out, const char *tree, const struct artifact *a)
{
    char path[PATH_MAX], detail[65] = "";
    const char *wrong = join(path, tree, a->path) ? difference(a, path, detail) : "path too long";

    put(out, wrong ? "DIFFERS  " : "ok       ");
    put(out, a->kind);
    put(out, "  ");
    put(out, path);
    if (wrong) {
        put(out, "  (");
        put(out, wrong);
        put(out, detail);
        put(out, ")");
    }
    put(out, "\n");
    return !wrong;
}

int verify_artifacts(int fd)
{
    struct text out = {.fd = fd};
    const char *tree = own_tree();
    bool good = true;

    for (size_t i = 0; i < the_set.artifact_count; i++)
        good &= verify_one(&out, tree, &the_set.artifacts[i]);
    for (size_t i = 0; i < the_set.config_count; i++) {
        char path[PATH_MAX];
        bool there = join(path, tree, the_set.configs[i].path) && !access(path, R_OK);
        put(&out, there ? "ok       config  " : "GONE     config  ");
        put(&out, path);
        put(&out, "\n");
        good &= there;
    }
    if (!flush(&out))
        return EXIT_OUTPUT;
    return good ? 0 : EXIT_DIFFERS;
}
