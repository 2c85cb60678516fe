#include "mountapi.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

/* From the kernel's uapi headers, for C libraries older than the calls. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
enum {
    TREE_CLONE = 1,
    TREE_CLOEXEC = O_CLOEXEC,
    TREE_RECURSIVE = 0x8000,      /* AT_RECURSIVE */
    MOVE_FROM_EMPTY_PATH = 4,     /* MOVE_MOUNT_F_EMPTY_PATH */
    ATTR_RDONLY = 0x1, ATTR_NOSUID = 0x2, ATTR_NODEV = 0x4, ATTR_NOEXEC = 0x8,
    ATTR_ATIME_MASK = 0x70, ATTR_RELATIME = 0x00, ATTR_NOATIME = 0x10, ATTR_STRICTATIME = 0x20,
    ATTR_NODIRATIME = 0x80,
};

struct attributes { /* struct mount_attr */
    uint64_t set, clear, propagation, user_namespace;
};

int mount_clone(const char *path, bool recursive)
{
    return (int)syscall(SYS_open_tree, AT_FDCWD, path, TREE_CLONE | TREE_CLOEXEC | (recursive ? TREE_RECURSIVE : 0));
}

int mount_attach(int tree, const char *path)
{
    return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_FROM_EMPTY_PATH);
}

int mount_restrict(const char *path, unsigned long flags)
{
    static const struct {
        unsigned long flag;
        uint64_t set, clear;
    } translated[] = {
        {MS_RDONLY, ATTR_RDONLY, 0}, {MS_NOSUID, ATTR_NOSUID, 0},
        {MS_NODEV, ATTR_NODEV, 0}, {MS_NOEXEC, ATTR_NOEXEC, 0},
        {MS_NODIRATIME, ATTR_NODIRATIME, 0},
        {MS_RELATIME, ATTR_RELATIME, ATTR_ATIME_MASK}, {MS_NOATIME, ATTR_NOATIME, ATTR_ATIME_MASK},
        {MS_STRICTATIME, ATTR_STRICTATIME, ATTR_ATIME_MASK},
    };
    struct attributes attributes = {0};
    for (size_t i = 0; i < COUNT(translated); i++) {
        if (flags & translated[i].flag) {
            attributes.set |= translated[i].set;
            attributes.clear |= translated[i].clear;
        }
    }
    if (!attributes.set && !attributes.clear)
        return 0;
    return (int)syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attributes, sizeof attributes);
}

int enter_root_here(void)
{
    /* With both arguments ".", the old root ends up on top of the new one, and "." is the old one: detaching it
     * needs no folder to put it into. See pivot_root(2), notes. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return -1;
    return chdir("/");
}
