#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "wrapper.h"

bool flush(struct text *out)
{
    size_t done = 0;

    while (done < out->used && !out->failed) {
        ssize_t n = write(out->fd, out->bytes + done, out->used - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            out->failed = true;
    }
    out->used = 0;
    return !out->failed;
}

static void put_bytes(struct text *out, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (out->used == sizeof out->bytes)
            flush(out);
        out->bytes[out->used++] = bytes[i];
    }
}

void put(struct text *out, const char *string)
{
    put_bytes(out, string, strlen(string));
}

void put_number(struct text *out, uint64_t number)
{
    char digits[20];
    size_t first = sizeof digits;

    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put_bytes(out, digits + first, sizeof digits - first);
}

/* The length of the UTF-8 sequence at `s` (RFC 3629: shortest form, no surrogates), 0 when it is none. */
static size_t utf8_length(const unsigned char *s)
{
    static const struct {
        unsigned char first, last, low, high;
        size_t length;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},          {0xc2, 0xdf, 0x80, 0xbf, 2},    {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3},    {0xed, 0xed, 0x80, 0x9f, 3},    {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4},    {0xf1, 0xf3, 0x80, 0xbf, 4},    {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (s[0] < forms[i].first || s[0] > forms[i].last)
            continue;
        if (forms[i].length > 1 && (s[1] < forms[i].low || s[1] > forms[i].high))
            return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].length;
    }
    return 0;
}

/* A JSON string (RFC 8259). A path may hold any bytes: what is not UTF-8 becomes U+FFFD. */
void put_json(struct text *out, const char *string)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)string;

    put(out, "\"");
    while (*s) {
        size_t length = utf8_length(s);
        if (length == 0) {
            put(out, "\\ufffd");
            s++;
            continue;
        }
        if (*s < 0x20) {
            char escape[] = {'\\', 'u', '0', '0', hex[*s >> 4], hex[*s & 15]};
            put_bytes(out, escape, sizeof escape);
        } else {
            if (*s == '"' || *s == '\\')
                put(out, "\\");
            put_bytes(out, (const char *)s, length);
        }
        s += length;
    }
    put(out, "\"");
}

bool join(char *buffer, const char *folder, const char *name)
{
    size_t a = strlen(folder), b = strlen(name);

    buffer[0] = 0;
    if (a + b + 2 > PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(buffer, folder, a);
    if (a == 0 || folder[a - 1] != '/')
        buffer[a++] = '/';
    memcpy(buffer + a, name, b + 1);
    return true;
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

const char *after_flag(const char *word, const char *flag)
{
    size_t length = strlen(flag);

    word += word[1] == '-' ? 2 : 1;
    return strncmp(word, flag, length) || (word[length] && word[length] != '=') ? NULL : word + length;
}
