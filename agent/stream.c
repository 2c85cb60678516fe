#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "bounds.h"
#include "metrics.h"
#include "util.h"

/* A call that waits for a stream: "size" bytes at most to read, or exactly to write. */
struct transfer {
    struct transfer *next;
    struct call call;
    size_t size, done;
    uint8_t data[];
};

static const unsigned char END_OF_TRANSMISSION = 4;

static size_t stdin_bytes; /* waiting to be written, all processes together */

static void stream_ready(struct source *source, uint32_t events);

void stream_init(struct stream *stream, bool writes)
{
    *stream = (struct stream){.source = {.fd = -1, .ready = stream_ready}, .writes = writes};
}

void stream_open(struct stream *stream, int fd, bool terminal)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    stream->source.fd = fd;
    stream->terminal = terminal;
}

bool stream_is_open(const struct stream *stream)
{
    return stream->source.fd >= 0;
}

/* One shot: a pipe whose other end is closed would wake us for ever otherwise. */
static void watch(struct stream *stream)
{
    uint32_t events = (stream->writes ? EPOLLOUT : EPOLLIN) | EPOLLONESHOT;
    if (stream->watched)
        loop_change(&stream->source, events);
    else
        stream->watched = loop_add(&stream->source, events) == 0;
}

static void close_descriptor(struct stream *stream)
{
    loop_close(&stream->source);
    stream->watched = false;
}

static void pop(struct stream *stream)
{
    struct transfer *first = stream->first;
    stream->first = first->next;
    if (stream->writes)
        stdin_bytes -= first->size;
    free(first);
}

/* Takes the first transfer off when nobody waits for it any more. Returns whether it did. */
static bool pop_stale(struct stream *stream, int64_t now)
{
    struct transfer *first = stream->first;
    bool late = first->call.deadline_ms && first->call.deadline_ms <= now;
    if (!late && call_alive(&first->call))
        return false;
    if (late)
        call_fail(&first->call, STATUS_DEADLINE_EXCEEDED, "nothing happened in time");
    pop(stream);
    return true;
}

static struct transfer *push(struct stream *stream, const struct call *call, size_t size, size_t room)
{
    struct transfer *transfer = malloc(sizeof *transfer + room);
    if (!transfer)
        return NULL;
    transfer->next = NULL;
    transfer->call = *call;
    transfer->size = size;
    transfer->done = 0;
    struct transfer **last = &stream->first;
    while (*last)
        last = &(*last)->next;
    *last = transfer;
    return transfer;
}

static void answer_read(const struct call *call, uint8_t *data, size_t length)
{
    Kata__ReadStreamResponse response = KATA__READ_STREAM_RESPONSE__INIT;
    response.data.data = data;
    response.data.len = length;
    call_reply(call, &response.base);
}

static void end_of_file(struct stream *stream)
{
    close_descriptor(stream);
    while (stream->first) {
        answer_read(&stream->first->call, NULL, 0);
        pop(stream);
    }
}

static void pump_reads(struct stream *stream)
{
    static uint8_t buffer[MAX_READ_BYTES];
    int64_t now = now_ms();
    while (stream->first) {
        if (pop_stale(stream, now))
            continue;
        size_t size = stream->first->size < sizeof buffer ? stream->first->size : sizeof buffer;
        ssize_t got = read(stream->source.fd, buffer, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN && !stream->drained) {
            watch(stream);
            return;
        }
        if (got <= 0) { /* a terminal nobody has open any more says EIO */
            end_of_file(stream);
            return;
        }
        if (stream->announce) {
            stream->announce = false;
            metrics_note_output();
        }
        answer_read(&stream->first->call, buffer, (size_t)got);
        pop(stream);
    }
}

static void close_if_done(struct stream *stream)
{
    if (!stream->first && stream->closing)
        close_descriptor(stream);
}

static void pump_writes(struct stream *stream)
{
    while (stream->first) {
        struct transfer *first = stream->first;
        ssize_t wrote = write(stream->source.fd, first->data + first->done, first->size - first->done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN) {
            watch(stream);
            return;
        }
        if (wrote < 0) {
            while (stream->first) {
                call_fail(&stream->first->call, STATUS_INTERNAL, "stdin: %s", "the process does not read it any more");
                pop(stream);
            }
            close_descriptor(stream);
            return;
        }
        first->done += (size_t)wrote;
        if (first->done < first->size)
            continue;
        Kata__WriteStreamResponse response = KATA__WRITE_STREAM_RESPONSE__INIT;
        response.len = (uint32_t)first->size;
        call_reply(&first->call, &response.base);
        pop(stream);
    }
    close_if_done(stream);
}

static void stream_ready(struct source *source, uint32_t events)
{
    struct stream *stream = container_of(source, struct stream, source);
    (void)events;
    if (stream->writes) {
        pump_writes(stream);
        return;
    }
    if (stream->announce && (events & EPOLLIN)) {
        stream->announce = false;
        metrics_note_output();
    }
    pump_reads(stream);
}

void stream_read(struct stream *stream, const struct call *call, uint32_t length)
{
    if (!stream_is_open(stream)) {
        answer_read(call, NULL, 0);
        return;
    }
    if (!length) {
        call_fail(call, STATUS_INVALID_ARGUMENT, "a read of no bytes could not be told from the end of file");
        return;
    }
    if (!push(stream, call, length, 0)) {
        call_fail(call, STATUS_RESOURCE_EXHAUSTED, "no memory to wait");
        return;
    }
    if (!stream->first->next)
        pump_reads(stream);
}

void stream_write(struct stream *stream, const struct call *call, const uint8_t *data, size_t length)
{
    if (!stream_is_open(stream) || stream->closing) {
        call_fail(call, STATUS_INTERNAL, "stdin is closed");
        return;
    }
    if (stdin_bytes + length > MAX_STDIN_BYTES) {
        call_fail(call, STATUS_RESOURCE_EXHAUSTED, "too much is waiting to be written");
        return;
    }
    struct transfer *transfer = push(stream, call, length, length);
    if (!transfer) {
        call_fail(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the data");
        return;
    }
    memcpy(transfer->data, data, length);
    stdin_bytes += length;
    if (stream->first == transfer)
        pump_writes(stream);
}

void stream_close_stdin(struct stream *stream)
{
    if (!stream_is_open(stream))
        return;
    if (stream->terminal) {
        /* The host's end of a terminal cannot be half closed: say it as a person at the keyboard would. */
        if (write(stream->source.fd, &END_OF_TRANSMISSION, 1) < 0) {
            /* Full or gone: either way nobody waits for the end of this input. */
        }
        return;
    }
    stream->closing = true;
    close_if_done(stream);
}

void stream_announce(struct stream *stream)
{
    if (!stream_is_open(stream))
        return;
    stream->announce = true;
    watch(stream);
}

void stream_drain(struct stream *stream)
{
    stream->drained = true;
    if (stream_is_open(stream))
        pump_reads(stream);
}

bool stream_expire(struct stream *stream, int64_t now)
{
    bool waiting = false;
    if (stream->writes)
        return false; /* half written data cannot be taken back */
    struct transfer **at = &stream->first;
    while (*at) {
        struct transfer *transfer = *at;
        bool late = transfer->call.deadline_ms && transfer->call.deadline_ms <= now;
        if (!late && call_alive(&transfer->call)) {
            waiting |= transfer->call.deadline_ms != 0;
            at = &transfer->next;
            continue;
        }
        *at = transfer->next;
        if (late)
            call_fail(&transfer->call, STATUS_DEADLINE_EXCEEDED, "nothing to read in time");
        free(transfer);
    }
    return waiting;
}

void stream_close(struct stream *stream)
{
    close_descriptor(stream);
    while (stream->first) {
        call_fail(&stream->first->call, STATUS_NOT_FOUND, "the process is gone");
        pop(stream);
    }
}
