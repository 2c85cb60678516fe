/* One of a process's standard streams, seen from the agent: reads and writes that the host waits for. */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "loop.h"

struct stream {
    struct source source; /* fd -1: not there, or closed */
    struct transfer *first;
    bool watched;  /* known to the loop */
    bool writes;   /* stdin; otherwise stdout or stderr */
    bool closing;  /* stdin: close once everything is written */
    bool terminal;
    bool drained;  /* a terminal whose process is gone: what is there now is all there will be */
    bool announce; /* tell metrics of the first byte */
};

void stream_init(struct stream *stream, bool writes);
/* Takes over a descriptor (made non-blocking here). */
void stream_open(struct stream *stream, int fd, bool terminal);
bool stream_is_open(const struct stream *stream);
/* Answers the call when there is something to read; with no data at the end of file. */
void stream_read(struct stream *stream, const struct call *call, uint32_t length);
/* Answers the call when all is written. */
void stream_write(struct stream *stream, const struct call *call, const uint8_t *data, size_t length);
/* Closes stdin after what is still to be written. */
void stream_close_stdin(struct stream *stream);
/* Notes the first byte that can be read, even when nobody reads. */
void stream_announce(struct stream *stream);
/* A terminal's process has ended. */
void stream_drain(struct stream *stream);
/* Refuses what waits longer than it wanted to, and forgets whose host is gone. Returns whether any with a deadline
 * still waits. */
bool stream_expire(struct stream *stream, int64_t now);
void stream_close(struct stream *stream);

#endif
