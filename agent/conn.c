#include "conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "dispatch.h"
#include "expire.h"
#include "frame.h"
#include "bounds.h"
#include "log.h"
#include "loop.h"
#include "util.h"

enum {
    READ_CHUNK = 65536,
    READ_BUDGET = 4 * READ_CHUNK, /* per turn, so that one busy host does not starve the others */
    HANG_UP_PATIENCE_MS = 200,
};

struct conn {
    struct conn *next;
    uint64_t id;
    struct source source;
    bool serial;
    bool present;     /* serial: the port has been seen with a host since it was last seen without */
    bool half_closed; /* the host sends no more, but may wait for answers */
    struct frame_reader reader;
    uint8_t *out;
    size_t out_length, out_sent, out_room;
    uint32_t streams[MAX_STREAMS]; /* calls not answered yet */
    size_t stream_count;
    int64_t last_used_ms;
    char epoch[40]; /* what the host calls its connection, on a serial port */
    void (*lost)(void);
};

static const uint32_t INTEREST = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static struct conn *connections;
static size_t connection_count;
static uint64_t last_id;
static void (*when_sent)(void);
static uint64_t when_sent_connection;
static struct timer when_sent_timer;

static struct conn *find(uint64_t id)
{
    for (struct conn *conn = connections; conn; conn = conn->next)
        if (conn->id == id)
            return conn;
    return NULL;
}

static void run_when_sent(struct timer *timer)
{
    (void)timer;
    if (when_sent)
        when_sent();
}

/* The host is gone, or a new one has come: nothing of the old conversation may reach the new one. */
static void forget(struct conn *conn)
{
    if (when_sent && when_sent_connection == conn->id)
        timer_arm(&when_sent_timer, 0);
    frame_reset(&conn->reader);
    free(conn->out);
    conn->out = NULL;
    conn->out_length = conn->out_sent = conn->out_room = 0;
    conn->stream_count = 0;
    conn->epoch[0] = '\0';
    conn->id = ++last_id;
    expire_after(0);
}

static void drop(struct conn *conn)
{
    forget(conn);
    if (conn->serial)
        return;
    for (struct conn **at = &connections; *at; at = &(*at)->next) {
        if (*at == conn) {
            *at = conn->next;
            break;
        }
    }
    connection_count--;
    loop_close(&conn->source);
    if (conn->lost)
        conn->lost();
    free(conn);
}

/* Reading or writing failed: the other end of a socket is gone, or a serial port was unplugged. */
static void lose(struct conn *conn)
{
    conn->serial = false;
    drop(conn);
}

/* ---- answers ---- */

/* Returns false when the connection broke (and was dropped). */
static bool flush(struct conn *conn)
{
    while (conn->out_sent < conn->out_length) {
        ssize_t wrote = write(conn->source.fd, conn->out + conn->out_sent, conn->out_length - conn->out_sent);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN)
            return true;
        if (wrote < 0) {
            lose(conn);
            return false;
        }
        conn->out_sent += (size_t)wrote;
    }
    conn->out_length = conn->out_sent = 0;
    if (conn->out_room > OUTPUT_PAUSE_BYTES) {
        free(conn->out);
        conn->out = NULL;
        conn->out_room = 0;
    }
    return true;
}

static bool out_of_room(struct conn *conn, size_t more)
{
    if (conn->out_sent) {
        memmove(conn->out, conn->out + conn->out_sent, conn->out_length - conn->out_sent);
        conn->out_length -= conn->out_sent;
        conn->out_sent = 0;
    }
    size_t wanted = conn->out_length + more;
    if (wanted <= conn->out_room)
        return false;
    if (wanted > MAX_OUTPUT_BYTES)
        return true;
    size_t room = conn->out_room ? conn->out_room : 1024;
    while (room < wanted)
        room *= 2;
    uint8_t *out = realloc(conn->out, room);
    if (!out)
        return true;
    conn->out = out;
    conn->out_room = room;
    return false;
}

static void forget_stream(struct conn *conn, uint32_t stream)
{
    for (size_t i = 0; i < conn->stream_count; i++) {
        if (conn->streams[i] == stream) {
            conn->streams[i] = conn->streams[--conn->stream_count];
            return;
        }
    }
}

/* A host that has half closed its connection has got all it waited for: close the other half. */
static void drop_if_over(struct conn *conn)
{
    if (conn->half_closed && !conn->stream_count && !conn->out_length)
        drop(conn);
}

/* Frames a response and starts to send it. The stream needs not be known: refusals go to any. */
static void answer(struct conn *conn, uint32_t stream, const Kata__Response *response)
{
    forget_stream(conn, stream);
    size_t length = kata__response__get_packed_size(response);
    if (out_of_room(conn, FRAME_HEADER + length)) {
        log_line(LOG_WARN, "a host does not take its answers: connection dropped");
        drop(conn);
        return;
    }
    frame_write_header(conn->out + conn->out_length, (uint32_t)length, stream, FRAME_RESPONSE);
    kata__response__pack(response, conn->out + conn->out_length + FRAME_HEADER);
    conn->out_length += FRAME_HEADER + length;
    if (flush(conn))
        drop_if_over(conn);
}

static void refuse(struct conn *conn, uint32_t stream, enum status code, const char *message)
{
    Kata__Status status = KATA__STATUS__INIT;
    Kata__Response response = KATA__RESPONSE__INIT;
    status.code = (int32_t)code;
    status.message = (char *)message;
    response.status = &status;
    answer(conn, stream, &response);
}

bool call_alive(const struct call *call)
{
    const struct conn *conn = find(call->connection);
    if (!conn)
        return false;
    for (size_t i = 0; i < conn->stream_count; i++)
        if (conn->streams[i] == call->stream)
            return true;
    return false;
}

void call_reply(const struct call *call, const ProtobufCMessage *message)
{
    if (!call_alive(call))
        return;
    Kata__Response response = KATA__RESPONSE__INIT;
    response.payload.len = protobuf_c_message_get_packed_size(message);
    if (response.payload.len) {
        response.payload.data = malloc(response.payload.len);
        if (!response.payload.data) {
            call_fail(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the answer");
            return;
        }
        protobuf_c_message_pack(message, response.payload.data);
    }
    answer(find(call->connection), call->stream, &response);
    free(response.payload.data);
}

void call_reply_empty(const struct call *call)
{
    Kata__Empty empty = KATA__EMPTY__INIT;
    call_reply(call, &empty.base);
}

void call_fail(const struct call *call, enum status code, const char *format, ...)
{
    if (!call_alive(call))
        return;
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log_line(LOG_DEBUG, "call refused (%d): %s", (int)code, message);
    refuse(find(call->connection), call->stream, code, message);
}

void call_when_sent(const struct call *call, void (*then)(void))
{
    when_sent = then;
    when_sent_connection = call->connection;
    when_sent_timer.fire = run_when_sent;
    timer_arm(&when_sent_timer, HANG_UP_PATIENCE_MS);
}

/* ---- requests ---- */

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
        forget(conn);
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
        refuse(conn, stream, STATUS_RESOURCE_EXHAUSTED, "too many unanswered calls");
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
        refuse(conn, stream, STATUS_INVALID_ARGUMENT, "a client's stream id is odd");
        return;
    }
    if (call_alive(&probe)) {
        log_line(LOG_WARN, "stream %u is used twice: connection dropped", stream);
        drop(conn);
        return;
    }
    if (reader->flags & FRAME_REMOTE_OPEN) {
        refuse(conn, stream, STATUS_UNIMPLEMENTED, "streaming is not supported");
        return;
    }
    const Kata__Request *request = dispatch_unpack(reader->body, reader->length);
    if (!request) {
        refuse(conn, stream, STATUS_INVALID_ARGUMENT, "the frame holds no ttrpc request");
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
            drop(conn);
            return false;
        }
        if (event == FRAME_COMPLETE)
            take_frame(conn);
        else if (conn->reader.type == FRAME_REQUEST)
            refuse(conn, conn->reader.stream, STATUS_RESOURCE_EXHAUSTED, "the message is larger than 4194304 bytes");
        /* Any answer may have dropped the connection; a serial port stays, under another id. */
        if (!serial && !find(id))
            return false;
    }
    return true;
}

/* Returns false when the connection is gone. */
static bool receive(struct conn *conn)
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
        if (got == 0 && !conn->serial && conn->stream_count) {
            conn->half_closed = true;
            return true;
        }
        if (got < 0) {
            lose(conn);
            return false;
        }
        if (got == 0 && conn->serial && !conn->present)
            return true; /* a new host's first bytes can be there before its arrival is known */
        if (got == 0) {
            conn->present = false;
            drop(conn);
            return false;
        }
        if (!feed(conn, chunk, (size_t)got))
            return false;
        budget -= (size_t)got < budget ? (size_t)got : budget;
    }
    /* More may be waiting: with edges only, asking again is what brings the next event. */
    loop_change(&conn->source, INTEREST);
    return true;
}

static void ready(struct source *source, uint32_t events)
{
    struct conn *conn = container_of(source, struct conn, source);
    if (!conn->serial && (events & (EPOLLERR | EPOLLHUP))) {
        drop(conn);
        return;
    }
    if (conn->serial && !(events & EPOLLHUP))
        conn->present = true;
    if (!flush(conn))
        return;
    if (!conn->half_closed && !receive(conn))
        return;
    drop_if_over(conn);
}

/* ---- new connections ---- */

static struct conn *add(int fd, bool serial)
{
    struct conn *conn = xcalloc(1, sizeof *conn);
    conn->id = ++last_id;
    conn->serial = serial;
    conn->reader.serial = serial;
    conn->source.fd = fd;
    conn->source.ready = ready;
    conn->last_used_ms = now_ms();
    conn->next = connections;
    connections = conn;
    connection_count++;
    if (loop_add(&conn->source, INTEREST) < 0) {
        log_line(LOG_ERROR, "cannot watch a connection: %m");
        conn->serial = false;
        drop(conn);
        return NULL;
    }
    return conn;
}

void conn_add_serial(int fd, void (*lost)(void))
{
    struct conn *conn = add(fd, true);
    if (conn)
        conn->lost = lost;
}

void conn_add_socket(int fd)
{
    if (connection_count >= MAX_CONNECTIONS) {
        struct conn *oldest = NULL;
        for (struct conn *conn = connections; conn; conn = conn->next)
            if (!conn->serial && !conn->stream_count && (!oldest || conn->last_used_ms <= oldest->last_used_ms))
                oldest = conn;
        if (!oldest) {
            log_line(LOG_WARN, "too many connections: one refused");
            close(fd);
            return;
        }
        drop(oldest);
    }
    add(fd, false);
}
