/* libFuzzer on the agent's server: frames, dispatch, decoding, and the life of containers and processes, with the
 * machine itself replaced by stubs.c. An input's first byte says what kind of connection it arrives on (bit 0: serial)
 * and what the rest is (bit 1): the bytes a host sends, or calls, each the number of a method and its message, which
 * are framed here. Either comes in pieces: each 0xff 0xfe 0xfd followed by a byte is a pause ("0"), a new connection
 * ("1"), or the end of what the host sends ("2"). */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "arena.h"
#include "bounds.h"
#include "conn.h"
#include "container.h"
#include "log.h"
#include "frame.h"
#include "loop.h"
#include "services.h"
#include "storage.h"
#include "stubs.h"
#include "wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool serial;
static int host = -1, port = -1; /* the two ends */
static struct frame_reader answers;

static void port_lost(void)
{
    port = -1;
}

/* Whatever was sent, what comes back is ttrpc. */
static void check_answers(const uint8_t *bytes, size_t size)
{
    while (size) {
        enum frame_event event;
        size_t taken = frame_feed(&answers, bytes, size, &event);
        bytes += taken;
        size -= taken;
        if (event == FRAME_MORE)
            continue;
        if (event != FRAME_COMPLETE || answers.type != FRAME_RESPONSE)
            abort();
        struct arena memory;
        arena_init(&memory, MAX_MESSAGE_MEMORY);
        if (!wire_unpack(&memory, &kata__response__descriptor, answers.body, answers.length))
            abort();
        arena_clear(&memory);
    }
}

static void take_answers(void)
{
    static uint8_t buffer[1 << 16];
    ssize_t got;
    while (host >= 0 && (got = read(host, buffer, sizeof buffer)) > 0)
        check_answers(buffer, (size_t)got);
}

static void settle(void)
{
    do {
        if (setjmp(stubs_power_off) == 0)
            loop_run(loop_stop);
        take_answers();
    } while (stubs_run_children());
}

static void disconnect(void)
{
    settle();
    /* An end that is closed with bytes unread resets the connection: the agent's read fails, as on a serial port
     * that is unplugged. */
    if (serial && port >= 0 && write(port, "x", 1) < 0)
        abort();
    if (host >= 0)
        close(host);
    host = port = -1;
    frame_free(&answers);
    settle();
}

static void connect_anew(void)
{
    int pair[2];
    disconnect();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    host = pair[0];
    port = serial ? pair[1] : -1;
    if (serial)
        conn_add_serial(pair[1], port_lost);
    else
        conn_add_socket(pair[1]);
}

static void send_all(const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t sent = send(host, bytes, size, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
            continue;
        }
        settle();
        if (send(host, bytes, 1, MSG_NOSIGNAL) <= 0)
            return; /* dropped */
        bytes++;
        size--;
    }
}

/* A piece as a call: the method's number, then the message. */
static void send_call(const uint8_t *piece, size_t size)
{
    static uint8_t frame[1 << 17];
    static uint32_t stream = 1;
    const struct method *method = &agent_service.methods[piece[0] % agent_service.count];
    Kata__Request request = KATA__REQUEST__INIT;
    request.service = (char *)agent_service.name;
    request.method = (char *)method->name;
    request.payload.data = (uint8_t *)piece + 1;
    request.payload.len = size - 1;
    size_t length = wire_size(&request.base);
    if (FRAME_HEADER + length > sizeof frame)
        return;
    frame_write_header(frame, (uint32_t)length, stream, FRAME_REQUEST);
    stream += 2;
    wire_pack(&request.base, frame + FRAME_HEADER);
    send_all(frame, FRAME_HEADER + length);
}

static void send_piece(bool calls, const uint8_t *piece, size_t size)
{
    if (calls && size)
        send_call(piece, size);
    else
        send_all(piece, size);
}

static void forget_everything(void)
{
    static const struct call nobody = {0};
    disconnect();
    stubs_kill_children();
    while (container_first())
        container_remove(container_first(), &nobody, 0);
    while (sandbox.storage_count) {
        storage_release(sandbox.storages[--sandbox.storage_count]);
        free(sandbox.storages[sandbox.storage_count]);
    }
    free(sandbox.storages);
    free(sandbox.hostname);
    int *const namespaces[] = {&sandbox.ipc_ns, &sandbox.uts_ns, &sandbox.pid_ns};
    for (size_t i = 0; i < 3; i++)
        if (*namespaces[i] >= 0)
            close(*namespaces[i]);
    sandbox = (struct sandbox){.ipc_ns = -1, .uts_ns = -1, .pid_ns = -1};
    settle();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    signal(SIGPIPE, SIG_IGN); /* as signals_watch() does */
    log_set_level(LOG_CRITICAL);
    loop_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t mark[] = {0xff, 0xfe, 0xfd};
    if (!size)
        return 0;
    serial = *data & 1;
    bool calls = *data & 2;
    connect_anew();
    size_t start = 1;
    for (size_t at = 1; at < size; at++) {
        if (size - at <= sizeof mark || memcmp(data + at, mark, sizeof mark) != 0)
            continue;
        send_piece(calls, data + start, at - start);
        settle();
        switch (data[at + sizeof mark]) {
        case '1': connect_anew(); break;
        case '2': shutdown(host, SHUT_WR); break;
        default: break;
        }
        at += sizeof mark;
        start = at + 1;
    }
    send_piece(calls, data + start, size - start);
    settle();
    forget_everything();
    return 0;
}
