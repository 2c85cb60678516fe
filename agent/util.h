/* Small helpers: memory that cannot fail, files read and written in one go, paths. */
#ifndef UTIL_H
#define UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void *xcalloc(size_t count, size_t size);
char *xstrdup(const char *text);
char *xprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reads at most size - 1 bytes of a file and ends them with a NUL. Returns the length, or -1 with errno. */
ssize_t read_file(const char *path, char *buffer, size_t size);
/* Writes text to an existing file (sysfs, procfs, cgroupfs) in one write. Returns 0, or -1 with errno. */
int write_file(const char *path, const char *text);
/* Creates a folder and its parents. Returns 0, or -1 with errno; an existing folder is fine. */
int make_dirs(const char *path, mode_t mode);
/* Creates an empty file and its parent folders, for something to be mounted on. */
int make_file(const char *path);

bool starts_with(const char *text, const char *prefix);
/* A decimal number that is the whole text. Returns false when it is not one or does not fit. */
bool parse_u64(const char *text, uint64_t *value);
/* An absolute path with no ".." in it. */
bool path_is_plain(const char *path);

/* Turns what is no UTF-8 (cut off in the middle, or never was) into question marks: a protobuf string must be. */
void make_utf8(char *text);

uint64_t monotonic_ns(void);
int64_t now_ms(void);

#endif
