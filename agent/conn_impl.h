/* What conn.c (connections, answers) and conn_read.c (requests) share. */
#ifndef CONN_IMPL_H
#define CONN_IMPL_H

#include "bounds.h"
#include "conn.h"
#include "frame.h"
#include "loop.h"

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

/* Reads and serves what has arrived. Returns false when the connection is gone. */
bool conn_receive(struct conn *conn);
/* Sends what is waiting. Returns false when the connection is gone. */
bool conn_flush(struct conn *conn);
/* Answers with an error, whether or not the stream is known. Afterwards the connection may be gone. */
void conn_refuse(struct conn *conn, uint32_t stream, enum status code, const char *message);
/* The host is gone, or a new one has come: nothing of the old conversation may reach the new one. */
void conn_forget(struct conn *conn);
/* Ends a socket's connection and frees it; a serial port only forgets its host. */
void conn_drop(struct conn *conn);
/* Reading or writing failed: the other end of a socket is gone, or a serial port was unplugged. */
void conn_lose(struct conn *conn);
/* There is a connection of that id. */
bool conn_exists(uint64_t id);
/* Asks to be woken for what is there already. */
void conn_watch_again(struct conn *conn);

#endif
