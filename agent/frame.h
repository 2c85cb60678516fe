/* ttrpc frames out of a byte stream. Pure: no I/O, so that it can be fuzzed by itself. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_HEADER = 10 };
enum frame_type { FRAME_REQUEST = 1, FRAME_RESPONSE = 2, FRAME_DATA = 3 };
enum frame_flags { FRAME_REMOTE_CLOSED = 1, FRAME_REMOTE_OPEN = 2, FRAME_NO_DATA = 4 };

enum frame_event {
    FRAME_MORE,     /* all bytes taken, no whole frame yet */
    FRAME_COMPLETE, /* header and body are valid until the next call */
    FRAME_OVERSIZE, /* header announces more than TTRPC_MAX_DATA; the body will be dropped */
    FRAME_BROKEN,   /* not ttrpc, or no memory left: the stream cannot be used further */
};

struct frame_reader {
    bool serial; /* a stream without connections of its own: find the next frame instead of giving up */
    uint8_t header[FRAME_HEADER];
    size_t header_got;
    uint32_t length, stream;
    uint8_t type, flags;
    uint8_t *body;
    size_t body_got, body_room;
    uint32_t skip; /* bytes of an oversize body still to drop */
    bool done;     /* the frame was handed out: start anew */
};

/* Takes bytes until something happened. Returns how many were taken (never 0 unless size is 0). */
size_t frame_feed(struct frame_reader *reader, const uint8_t *bytes, size_t size, enum frame_event *event);
/* A frame has begun and not ended. */
bool frame_is_partial(const struct frame_reader *reader);
/* The bytes look like the beginning of a request frame. */
bool frame_looks_like_request(const uint8_t *bytes, size_t size);
/* The length in a header. */
uint32_t frame_body_length(const uint8_t *header);
/* Forgets a half frame; some memory is kept for the next one. */
void frame_reset(struct frame_reader *reader);
/* Frees the memory. */
void frame_free(struct frame_reader *reader);
void frame_write_header(uint8_t header[FRAME_HEADER], uint32_t length, uint32_t stream, uint8_t type);

#endif
