/* From bytes to calls. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn_impl.h"
#include "dispatch.h"
#include "expire.h"
#include "log.h"
#include "util.h"

enum {
    READ_CHUNK = 65536,
    READ_BUDGET = 4 * READ_CHUNK, /* per turn, so that one busy host does not starve the others */
};

/* A host may reconnect to a serial port faster than the guest looks. So it names each of its connections in the
 * metadata: that way the new one is known from the former. "" when it does not. */
static const char *epoch_of(const Kata__Request *request)
{
    for (size_t i = 0; i < request->n_metadata; i++)
        if (strcmp(request->metadata[i]->key, "connection") == 0)
            return request->metadata[i]->value;
    return "";
}

static void note_epoch(struct conn *conn, const Kata__Request *request)
{
    const char *epoch = epoch_of(request);
    if (!epoch[0] || strncmp(conn->epoch, epoch, sizeof conn->epoch - 1) == 0)
        return;
    if (conn->epoch[0])
        conn_forget(conn);
    snprintf(conn->epoch, sizeof conn->epoch, "%s", epoch);
}

/* A half frame waits for its rest, but what arrives is the first frame of another host: the former one hung up in
 * the middle. Hosts that name their connections are known at once, others after a while. */
static bool begins_anew(const struct conn *conn, const uint8_t *bytes, size_t size)
{
    if (!conn->serial || !frame_is_partial(&conn->reader) || !frame_looks_like_request(bytes, size))
        return false;
    if (now_ms() - conn->last_used_ms > SERIAL_STALL_MS)
        return true;
    size_t length = frame_body_length(bytes);
    const Kata__Request *request
        = size >= FRAME_HEADER + length ? dispatch_unpack(bytes + FRAME_HEADER, length) : NULL;
    const char *epoch = request ? epoch_of(request) : "";
    return epoch[0] && strncmp(conn->epoch, epoch, sizeof conn->epoch - 1) != 0;
}

static void take_request(struct conn *conn, const Kata__Request *request, uint32_t stream)
{
    if (conn->stream_count >= MAX_STREAMS) {
        conn_refuse(conn, stream, STATUS_RESOURCE_EXHAUSTED, "too many unanswered calls");
        return;
    }
    conn->streams[conn->stream_count++] = stream;
    struct call call = {.connection = conn->id, .stream = stream};
    if (request->timeout_nano > 0)
        call.deadline_ms = now_ms() + request->timeout_nano / 1000000 + 1;
    if (call.deadline_ms)
        expire_after(EXPIRE_INTERVAL_MS);
    dispatch(&call, request);
}

/* A whole frame is in the reader. Afterwards the connection may be gone. */
static void take_frame(struct conn *conn)
{
    struct frame_reader *reader = &conn->reader;
    uint32_t stream = reader->stream;
    if (reader->type != FRAME_REQUEST)
        return; /* the agent opens no streams and serves no streaming methods: nothing to do with it */
    const struct call probe = {.connection = conn->id, .stream = stream};
    if (!(stream & 1)) {
        conn_refuse(conn, stream, STATUS_INVALID_ARGUMENT, "a client's stream id is odd");
        return;
    }
    if (call_alive(&probe)) {
        log_line(LOG_WARN, "stream %u is used twice: connection dropped", stream);
        conn_drop(conn);
        return;
    }
    if (reader->flags & FRAME_REMOTE_OPEN) {
        conn_refuse(conn, stream, STATUS_UNIMPLEMENTED, "streaming is not supported");
        return;
    }
    const Kata__Request *request = dispatch_unpack(reader->body, reader->length);
    if (!request) {
        conn_refuse(conn, stream, STATUS_INVALID_ARGUMENT, "the frame holds no ttrpc request");
        return;
    }
    if (conn->serial)
        note_epoch(conn, request);
    take_request(conn, request, stream);
}

/* Takes what was read. Returns false when the connection is gone. */
static bool feed(struct conn *conn, const uint8_t *bytes, size_t size)
{
    uint64_t id = conn->id;
    bool serial = conn->serial;
    if (begins_anew(conn, bytes, size))
        frame_reset(&conn->reader);
    conn->last_used_ms = now_ms();
    while (size) {
        enum frame_event event;
        size_t taken = frame_feed(&conn->reader, bytes, size, &event);
        bytes += taken;
        size -= taken;
        if (event == FRAME_MORE)
            continue;
        if (event == FRAME_BROKEN) {
            log_line(LOG_WARN, "a host does not speak ttrpc: connection dropped");
            conn_drop(conn);
            return false;
        }
        if (event == FRAME_COMPLETE)
            take_frame(conn);
        else if (conn->reader.type == FRAME_REQUEST)
            conn_refuse(conn, conn->reader.stream, STATUS_RESOURCE_EXHAUSTED, "the message is larger than 4194304 bytes");
        /* Any answer may have dropped the connection; a serial port stays, under another id. */
        if (!serial && !conn_exists(id))
            return false;
    }
    return true;
}

/* A host that sends no more may still read (half closed), or be gone: over vsock both look the same to poll. Sending
 * nothing tells them apart. */
static bool takes_answers(const struct conn *conn)
{
    return send(conn->source.fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) == 0;
}

bool conn_receive(struct conn *conn)
{
    static uint8_t chunk[READ_CHUNK];
    for (size_t budget = READ_BUDGET; budget;) {
        if (conn->out_length - conn->out_sent > OUTPUT_PAUSE_BYTES)
            return true;
        ssize_t got = read(conn->source.fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got == 0 && !conn->serial && conn->stream_count && takes_answers(conn)) {
            conn->half_closed = true;
            return true;
        }
        if (got < 0) {
            conn_lose(conn);
            return false;
        }
        if (got == 0 && conn->serial && !conn->present)
            return true; /* a new host's first bytes can be there before its arrival is known */
        if (got == 0) {
            conn->present = false;
            conn_drop(conn);
            return false;
        }
        if (!feed(conn, chunk, (size_t)got))
            return false;
        budget -= (size_t)got < budget ? (size_t)got : budget;
    }
    /* More may be waiting: with edges only, asking again is what brings the next event. */
    conn_watch_again(conn);
    return true;
}
