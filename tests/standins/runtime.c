/* A stand-in for a Kata runtime: writes down how it was called, to $RECORD, then exits with $STANDIN_EXIT or dies by
 * $STANDIN_SIGNAL. With GO_NOTE it carries the note that the Go linker leaves, and counts as a Go program. */

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef GO_NOTE
__attribute__((section(".note.go.buildid"), used, aligned(4))) static const struct {
    unsigned name_size, size, type;
    char name[4], build_id[8];
} note = {4, 8, 4, "Go", "standin"};
#endif

extern char **environ;

static void record(FILE *out, const char *key, const char *bytes, size_t length)
{
    fprintf(out, "%s ", key);
    for (size_t i = 0; i < length; i++)
        fprintf(out, "%02x", (unsigned char)bytes[i]);
    fputc('\n', out);
}

static void record_fds(FILE *out)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder) && atoi(entry->d_name) != fileno(out))
            record(out, "fd", entry->d_name, strlen(entry->d_name));
}

int main(int argc, char **argv)
{
    char cwd[4096], pid[16], bytes[65536];
    FILE *out = fopen(getenv("RECORD"), "we");

    for (int i = 0; i < argc; i++)
        record(out, "argv", argv[i], strlen(argv[i]));
    for (char **variable = environ; *variable; variable++)
        record(out, "env", *variable, strlen(*variable));
    if (getcwd(cwd, sizeof cwd))
        record(out, "cwd", cwd, strlen(cwd));
    record(out, "pid", pid, (size_t)snprintf(pid, sizeof pid, "%d", getpid()));
    record_fds(out);
    record(out, "stdin", bytes, fread(bytes, 1, sizeof bytes, stdin));
    fclose(out);
    if (getenv("STANDIN_SIGNAL"))
        raise(atoi(getenv("STANDIN_SIGNAL")));
    if (getenv("STANDIN_WAIT"))
        pause();
    return getenv("STANDIN_EXIT") ? atoi(getenv("STANDIN_EXIT")) : 0;
}
