/*
 * An init that maps the file /large, touches a byte of each of its pages and of a part of itself, and prints what that
 * cost: faults, the kernel's memory for page tables, and the time stamp counter, which counts instructions where QEMU
 * runs with -icount. (FilePmdMapped of /proc/self/smaps does not count what is mapped with DAX.)
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define OWN (12 << 20)

/* As large a program as an agent with everything in it: bytes that are part of the file and read, never written. */
__asm__(".section .rodata\n.balign 4096\n.globl own\nown:\n.fill 12 << 18, 4, 0x5a5a5a5a\n.text\n");
extern const volatile unsigned char own[];

static unsigned long long stamp(void)
{
    unsigned low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long long)high << 32 | low;
}

static long faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

/* This process's page tables, in KiB. */
static long page_tables(void)
{
    char line[512];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "VmPTE: %ld", &value) != 1)
        ;
    if (file)
        fclose(file);
    return value;
}

static void touch(const char *what, const volatile unsigned char *data, long size)
{
    unsigned sum = 0;
    long before = faults(), tables = page_tables();
    unsigned long long start = stamp();
    for (long at = 0; at < size; at += PAGE)
        sum += data[at];
    unsigned long long end = stamp();
    printf("%s bytes=%ld faults=%ld instructions=%llu page_tables_kib=%ld sum=%u\n", what, size, faults() - before,
           end - start, page_tables() - tables, sum);
}

int main(void)
{
    struct stat about;
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, "");
    int fd = open("/large", O_RDONLY);
    if (fd < 0 || fstat(fd, &about) < 0)
        puts("no /large");
    else {
        const unsigned char *data = mmap(NULL, about.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            puts("cannot map /large");
        else
            touch("file", data, about.st_size);
    }
    touch("program", own, OWN);
    puts("\nEND");
    fflush(stdout);
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}
