/* A first process for tests: prints every file of the root file system as the kernel sees it, then powers off.
 *
 * One line a file: "F" path mode uid gid links size mtime major:minor target-or-hash, paths and targets in hex. Then
 * "X" path name value for each extended attribute, "M" for the options of the root mount, and "END". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

static char buffer[65536];

static void hex(const void *data, size_t length) {
    const unsigned char *bytes = data;
    if (!length) putchar('-');
    for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
    putchar(' ');
}

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const char *path) {
    uint64_t hash = 0xcbf29ce484222325u;
    int fd = open(path, O_RDONLY);
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < got; i++) hash = (hash ^ (unsigned char)buffer[i]) * 0x100000001b3u;
    close(fd);
    return fd < 0 || got < 0 ? 0 : hash;
}

static void attributes(const char *path) {
    static char names[65536], value[65536];
    ssize_t length = llistxattr(path, names, sizeof names);
    for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
        ssize_t size = lgetxattr(path, name, value, sizeof value);
        printf("X ");
        hex(path, strlen(path));
        hex(name, strlen(name));
        hex(value, size > 0 ? (size_t)size : 0);
        putchar('\n');
    }
}

static int visit(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)type;
    (void)where;
    printf("F ");
    hex(path, strlen(path));
    printf("%o %u %u %lu %lld %lld %u:%u ", info->st_mode, info->st_uid, info->st_gid, (unsigned long)info->st_nlink,
           (long long)info->st_size, (long long)info->st_mtime, major(info->st_rdev), minor(info->st_rdev));
    if (S_ISLNK(info->st_mode)) {
        ssize_t length = readlink(path, buffer, sizeof buffer);
        hex(buffer, length > 0 ? (size_t)length : 0);
    } else if (S_ISREG(info->st_mode) && info->st_size <= 16 << 20) {
        printf("%016llx", (unsigned long long)hash_of(path));
    } else {
        putchar('-');
    }
    putchar('\n');
    attributes(path);
    return 0;
}

int main(void) {
    int console = open("/dev/console", O_RDWR);
    dup2(console, 0);
    dup2(console, 1);
    dup2(console, 2);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    printf("START\n");
    nftw("/", visit, 200, FTW_PHYS | FTW_MOUNT);
    if (mount("proc", "/proc", "proc", 0, NULL) == 0) {
        FILE *mounts = fopen("/proc/mounts", "r");
        while (mounts && fgets(buffer, sizeof buffer, mounts))
            if (strstr(buffer, " / ")) printf("M %s", buffer);
    }
    printf("END\n");
    fflush(stdout);
    tcdrain(1);
    reboot(RB_POWER_OFF);
    for (;;) pause();
}
