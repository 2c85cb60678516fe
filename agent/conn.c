/* Connections, and the answers that go out on them. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "conn_impl.h"
#include "expire.h"
#include "log.h"
#include "util.h"
#include "wire.h"

enum {
    HANG_UP_PATIENCE_MS = 200,
    KEPT_OUTPUT = 4096, /* room for answers that a serial port keeps from one host to the next */
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

void conn_forget(struct conn *conn)
{
    if (when_sent && when_sent_connection == conn->id)
        timer_arm(&when_sent_timer, 0);
    frame_reset(&conn->reader);
    if (!conn->serial || conn->out_room > KEPT_OUTPUT) {
        free(conn->out);
        conn->out = NULL;
        conn->out_room = 0;
    }
    conn->out_length = conn->out_sent = 0;
    conn->stream_count = 0;
    conn->epoch[0] = '\0';
    conn->id = ++last_id;
    expire_after(0);
}

void conn_drop(struct conn *conn)
{
    conn_forget(conn);
    if (conn->serial)
        return;
    for (struct conn **at = &connections; *at; at = &(*at)->next) {
        if (*at == conn) {
            *at = conn->next;
            break;
        }
    }
    connection_count--;
    frame_free(&conn->reader);
    loop_close(&conn->source);
    if (conn->lost)
        conn->lost();
    free(conn);
}

void conn_lose(struct conn *conn)
{
    conn->serial = false;
    conn_drop(conn);
}

/* ---- answers ---- */

bool conn_flush(struct conn *conn)
{
    while (conn->out_sent < conn->out_length) {
        ssize_t wrote = write(conn->source.fd, conn->out + conn->out_sent, conn->out_length - conn->out_sent);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0 && errno == EAGAIN)
            return true;
        if (wrote < 0) {
            conn_lose(conn);
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
        conn_drop(conn);
}

/* Frames a response and starts to send it. The stream needs not be known: refusals go to any. */
static void answer(struct conn *conn, uint32_t stream, const Kata__Response *response)
{
    forget_stream(conn, stream);
    size_t length = wire_size(&response->base);
    if (out_of_room(conn, FRAME_HEADER + length)) {
        log_line(LOG_WARN, "a host does not take its answers: connection dropped");
        conn_drop(conn);
        return;
    }
    frame_write_header(conn->out + conn->out_length, (uint32_t)length, stream, FRAME_RESPONSE);
    wire_pack(&response->base, conn->out + conn->out_length + FRAME_HEADER);
    conn->out_length += FRAME_HEADER + length;
    if (conn_flush(conn))
        drop_if_over(conn);
}

void conn_refuse(struct conn *conn, uint32_t stream, enum status code, const char *message)
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
    response.payload.len = wire_size(message);
    if (response.payload.len) {
        response.payload.data = malloc(response.payload.len);
        if (!response.payload.data) {
            call_fail(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the answer");
            return;
        }
        wire_pack(message, response.payload.data);
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
    make_utf8(message);
    log_line(LOG_DEBUG, "call refused (%d): %s", (int)code, message);
    conn_refuse(find(call->connection), call->stream, code, message);
}

void call_when_sent(const struct call *call, void (*then)(void))
{
    when_sent = then;
    when_sent_connection = call->connection;
    when_sent_timer.fire = run_when_sent;
    timer_arm(&when_sent_timer, HANG_UP_PATIENCE_MS);
}

/* ---- connections ---- */

bool conn_exists(uint64_t id)
{
    return find(id) != NULL;
}

void conn_watch_again(struct conn *conn)
{
    loop_change(&conn->source, INTEREST);
}

static void ready(struct source *source, uint32_t events)
{
    struct conn *conn = container_of(source, struct conn, source);
    if (!conn->serial && (events & (EPOLLERR | EPOLLHUP))) {
        conn_drop(conn);
        return;
    }
    if (conn->serial && !(events & EPOLLHUP))
        conn->present = true;
    if (!conn_flush(conn))
        return;
    if (!conn->half_closed && !conn_receive(conn))
        return;
    drop_if_over(conn);
}


static struct conn *add_conn(int fd, bool serial)
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
        conn_drop(conn);
        return NULL;
    }
    return conn;
}

void conn_add_serial(int fd, void (*lost)(void))
{
    struct conn *conn = add_conn(fd, true);
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
        conn_drop(oldest);
    }
    add_conn(fd, false);
}
