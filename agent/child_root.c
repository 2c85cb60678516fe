/* The container's file tree: bind mounts are taken hold of in the guest's tree, everything else happens after the
 * root has changed, so that no link inside the container can lead a mount out of it. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device.h"
#include "mountapi.h"
#include "mountopt.h"
#include "paths.h"
#include "util.h"

static void parse_options(struct mount_options *options, const Kata__Mount *mount)
{
    if (!path_is_plain(mount->destination) || !mount->destination[1])
        child_fail("mount destination '%.200s' is not an absolute path below the root", mount->destination);
    if (!mount_options_parse(options, mount->options, mount->n_options))
        child_fail("mount %.200s: too many options", mount->destination);
    if (strcmp(mount->type, "bind") == 0)
        options->bind = true;
}

/* Descriptors of the bind mounts' sources; -1 for the other mounts. */
static int *take_bind_sources(const Kata__Spec *spec)
{
    int *trees = xcalloc(spec->n_mounts + 1, sizeof *trees);
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const Kata__Mount *mount = spec->mounts[i];
        struct mount_options options;
        parse_options(&options, mount);
        trees[i] = -1;
        if (!options.bind)
            continue;
        trees[i] = mount_clone(mount->source, options.recursive_bind);
        if (trees[i] < 0)
            child_fail("mount %.150s: source %.150s: %s", mount->destination, mount->source, strerror(errno));
        if (options.data[0])
            child_fail("mount %.150s: a bind mount has no option '%.100s'", mount->destination, options.data);
    }
    return trees;
}

static void set_sysctls(const Kata__Linux *spec)
{
    for (size_t i = 0; spec && i < spec->n_sysctl; i++) {
        char *path = xprintf("/proc/sys/%s", spec->sysctl[i]->key);
        for (char *at = path + strlen("/proc/sys/"); *at; at++)
            if (*at == '.')
                *at = '/';
        if (strstr(path, "//") || write_file(path, spec->sysctl[i]->value) < 0)
            child_fail("sysctl %.150s: %s", spec->sysctl[i]->key, strerror(errno));
        free(path);
    }
}

static void change_root(const Kata__CreateContainerRequest *request)
{
    const char *path = request->oci->root->path;
    char *bundle = xprintf(CONTAINERS_FOLDER "/%s/rootfs", request->container_id);
    if (make_dirs(bundle, 0755) < 0)
        child_fail("%s: %s", bundle, strerror(errno));
    /* The guest's own root comes without what is mounted below it: its /proc and /dev are not the container's. */
    bool whole_guest = strcmp(path, "/") == 0;
    if (mount(path, bundle, NULL, MS_BIND | (whole_guest ? 0 : MS_REC), NULL) < 0)
        child_fail("root %.200s: %s", path, strerror(errno));
    if (chdir(bundle) < 0 || enter_root_here() < 0)
        child_fail("cannot make %.200s the root: %s", path, strerror(errno));
    free(bundle);
}

static void attach_bind(const Kata__Mount *mount, const struct mount_options *options, int tree)
{
    struct stat source;
    const char *at = mount->destination;
    int made = fstat(tree, &source);
    if (made == 0)
        made = S_ISDIR(source.st_mode) ? make_dirs(at, 0755) : make_file(at);
    if (made < 0)
        child_fail("mount %.200s: cannot make the mount point: %s", at, strerror(errno));
    if (mount_attach(tree, at) < 0)
        child_fail("mount %.150s on %.150s: %s", mount->source, at, strerror(errno));
    close(tree);
    if (mount_restrict(at, options->flags) < 0)
        child_fail("mount %.200s: cannot set its options: %s", at, strerror(errno));
}

static void mount_one(const Kata__Mount *mount_spec, int tree)
{
    struct mount_options options;
    const char *at = mount_spec->destination;
    parse_options(&options, mount_spec);
    if (options.bind) {
        attach_bind(mount_spec, &options, tree);
    } else {
        /* On cgroup v2, which is all the guest has, the old type means the same. */
        bool cgroup = strcmp(mount_spec->type, "cgroup") == 0;
        const char *type = cgroup ? "cgroup2" : mount_spec->type;
        if (make_dirs(at, 0755) < 0)
            child_fail("mount %.200s: cannot make the mount point: %s", at, strerror(errno));
        if (mount(mount_spec->source, at, type, options.flags, cgroup ? NULL : options.data) < 0)
            child_fail("mount %.100s (%.60s) on %.150s: %s", mount_spec->source, type, at, strerror(errno));
    }
    if (options.propagation && mount(NULL, at, NULL, options.propagation, NULL) < 0)
        child_fail("mount %.200s: cannot set its propagation: %s", at, strerror(errno));
}

/* ---- /dev ---- */

static bool has_own_dev(const Kata__Spec *spec)
{
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (strcmp(spec->mounts[i]->destination, "/dev") == 0 && strcmp(spec->mounts[i]->type, "tmpfs") == 0)
            return true;
    return false;
}

static void make_node(const char *path, mode_t type, dev_t number, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat found;
    if (stat(path, &found) == 0 && (found.st_mode & S_IFMT) == type && (type == S_IFIFO || found.st_rdev == number))
        return;
    char *parent = xstrdup(path);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        make_dirs(parent, 0755);
    }
    free(parent);
    umask(0);
    if (mknod(path, type | mode, number) < 0 || chown(path, uid, gid) < 0)
        child_fail("device %.200s: %s", path, strerror(errno));
    umask(0022);
}

static void make_standard_devices(void)
{
    static const struct {
        const char *path;
        unsigned minor, major;
    } nodes[] = {
        {"/dev/null", 3, 1}, {"/dev/zero", 5, 1}, {"/dev/full", 7, 1},
        {"/dev/random", 8, 1}, {"/dev/urandom", 9, 1}, {"/dev/tty", 0, 5},
    };
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
    };
    for (size_t i = 0; i < COUNT(nodes); i++)
        make_node(nodes[i].path, S_IFCHR, makedev(nodes[i].major, nodes[i].minor), 0666, 0, 0);
    for (size_t i = 0; i < COUNT(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            child_fail("%s: %s", links[i][1], strerror(errno));
}

static void make_devices(const Kata__CreateContainerRequest *request)
{
    const Kata__Linux *spec = request->oci->linux;
    for (size_t i = 0; spec && i < spec->n_devices; i++) {
        const Kata__LinuxDevice *device = spec->devices[i];
        mode_t type = device->type[0] == 'b' ? S_IFBLK : device->type[0] == 'p' ? S_IFIFO : S_IFCHR;
        if (!path_is_plain(device->path))
            child_fail("device '%.200s' is not an absolute path", device->path);
        dev_t number = makedev((unsigned)device->major, (unsigned)device->minor);
        device_number(device->path, &number); /* the host's numbers mean nothing here */
        make_node(device->path, type, number, device->file_mode & 0777 ? device->file_mode & 0777 : 0666,
            device->uid, device->gid);
    }
    device_make_nodes(make_node);
}

/* ---- all of it ---- */

void child_enter_root(const Kata__CreateContainerRequest *request)
{
    const Kata__Spec *spec = request->oci;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        child_fail("cannot make mounts private: %s", strerror(errno));
    set_sysctls(spec->linux);
    int *trees = take_bind_sources(spec);
    change_root(request);
    umask(0022);
    for (size_t i = 0; i < spec->n_mounts; i++)
        mount_one(spec->mounts[i], trees[i]);
    free(trees);
    if (has_own_dev(spec))
        make_standard_devices();
    make_devices(request);
}

static void mask(const char *path)
{
    struct stat found;
    if (stat(path, &found) < 0)
        return; /* a path that is not there cannot be seen either */
    bool folder = S_ISDIR(found.st_mode);
    int result = folder ? mount("tmpfs", path, "tmpfs", MS_RDONLY, NULL)
                        : mount("/dev/null", path, NULL, MS_BIND, NULL);
    if (result < 0)
        child_fail("cannot mask %.200s: %s", path, strerror(errno));
}

static void make_read_only(const char *path)
{
    struct stat found;
    if (stat(path, &found) < 0)
        return;
    if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 || mount_restrict(path, MS_RDONLY) < 0)
        child_fail("cannot make %.200s read-only: %s", path, strerror(errno));
}

void child_protect_root(const Kata__Spec *spec)
{
    if (spec->root->readonly && mount_restrict("/", MS_RDONLY) < 0)
        child_fail("cannot make the root read-only: %s", strerror(errno));
    if (!spec->linux)
        return;
    for (size_t i = 0; i < spec->linux->n_readonly_paths; i++)
        make_read_only(spec->linux->readonly_paths[i]);
    for (size_t i = 0; i < spec->linux->n_masked_paths; i++)
        mask(spec->linux->masked_paths[i]);
}
