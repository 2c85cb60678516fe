#include "frame.h"

#include <stdlib.h>
#include <string.h>

#include "bounds.h"

enum { KEPT_BODY = 4096 }; /* what a reader keeps for the next frame */

static size_t input_bytes; /* memory of all readers together */

static uint32_t big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void parse_header(struct frame_reader *reader)
{
    reader->length = big_endian(reader->header);
    reader->stream = big_endian(reader->header + 4);
    reader->type = reader->header[8];
    reader->flags = reader->header[9];
}

static bool header_is_request(const uint8_t *header)
{
    return big_endian(header) > 0 && (header[7] & 1) && header[8] == FRAME_REQUEST
        && (header[9] & ~(FRAME_REMOTE_CLOSED | FRAME_REMOTE_OPEN)) == 0;
}

bool frame_looks_like_request(const uint8_t *bytes, size_t size)
{
    /* The first field of ttrpc's Request is the service's name: tag 1, length-delimited. */
    return size > FRAME_HEADER && header_is_request(bytes) && big_endian(bytes) <= TTRPC_MAX_DATA
        && bytes[FRAME_HEADER] == 0x0a;
}

uint32_t frame_body_length(const uint8_t *header)
{
    return big_endian(header);
}

static void free_body(struct frame_reader *reader)
{
    input_bytes -= reader->body_room;
    free(reader->body);
    reader->body = NULL;
    reader->body_room = 0;
}

static void let_go(struct frame_reader *reader)
{
    if (reader->body_room > KEPT_BODY)
        free_body(reader);
}

void frame_reset(struct frame_reader *reader)
{
    let_go(reader);
    *reader = (struct frame_reader){.serial = reader->serial, .body = reader->body, .body_room = reader->body_room};
}

void frame_free(struct frame_reader *reader)
{
    free_body(reader);
}

bool frame_is_partial(const struct frame_reader *reader)
{
    return !reader->done && (reader->header_got > 0 || reader->skip > 0);
}

/* Memory follows what has arrived, never what a header announces. */
static bool make_room(struct frame_reader *reader, size_t wanted)
{
    if (wanted <= reader->body_room)
        return true;
    size_t room = reader->body_room ? reader->body_room * 2 : 512;
    while (room < wanted)
        room *= 2;
    if (room > reader->length)
        room = reader->length;
    if (input_bytes + (room - reader->body_room) > MAX_INPUT_BYTES)
        return false;
    uint8_t *body = realloc(reader->body, room);
    if (!body)
        return false;
    input_bytes += room - reader->body_room;
    reader->body = body;
    reader->body_room = room;
    return true;
}

/* The ten bytes are no request: on a serial port the frame may begin one byte later. */
static void slide(struct frame_reader *reader)
{
    memmove(reader->header, reader->header + 1, FRAME_HEADER - 1);
    reader->header_got = FRAME_HEADER - 1;
}

/* A whole header has arrived. Returns FRAME_MORE when its body can follow. */
static enum frame_event judge_header(struct frame_reader *reader)
{
    parse_header(reader);
    if (reader->serial && !header_is_request(reader->header)) {
        slide(reader);
        return FRAME_MORE;
    }
    if (reader->type < FRAME_REQUEST || reader->type > FRAME_DATA)
        return FRAME_BROKEN;
    if (reader->length > TTRPC_MAX_DATA) {
        /* On a serial port the length may be an accident: look for the next frame rather than skip gigabytes. */
        if (reader->serial)
            slide(reader);
        else {
            reader->skip = reader->length;
            reader->header_got = 0;
        }
        return FRAME_OVERSIZE;
    }
    reader->done = reader->length == 0;
    return reader->done ? FRAME_COMPLETE : FRAME_MORE;
}

static void begin_if_done(struct frame_reader *reader)
{
    if (!reader->done)
        return;
    let_go(reader);
    reader->done = false;
    reader->header_got = 0;
    reader->body_got = 0;
}

size_t frame_feed(struct frame_reader *reader, const uint8_t *bytes, size_t size, enum frame_event *event)
{
    size_t taken = 0;
    *event = FRAME_MORE;
    begin_if_done(reader);
    while (taken < size) {
        size_t left = size - taken;
        if (reader->skip) {
            size_t drop = left < reader->skip ? left : reader->skip;
            reader->skip -= (uint32_t)drop;
            taken += drop;
        } else if (reader->header_got < FRAME_HEADER) {
            reader->header[reader->header_got++] = bytes[taken++];
            if (reader->header_got == FRAME_HEADER && (*event = judge_header(reader)) != FRAME_MORE)
                return taken;
        } else {
            size_t wanted = reader->length - reader->body_got;
            size_t piece = left < wanted ? left : wanted;
            if (!make_room(reader, reader->body_got + piece)) {
                *event = FRAME_BROKEN;
                return taken + piece;
            }
            memcpy(reader->body + reader->body_got, bytes + taken, piece);
            reader->body_got += piece;
            taken += piece;
            if (reader->body_got == reader->length) {
                reader->done = true;
                *event = FRAME_COMPLETE;
                return taken;
            }
        }
    }
    return taken;
}

void frame_write_header(uint8_t header[FRAME_HEADER], uint32_t length, uint32_t stream, uint8_t type)
{
    const uint32_t words[2] = {length, stream};
    for (size_t i = 0; i < 8; i++)
        header[i] = (uint8_t)(words[i / 4] >> (24 - 8 * (i % 4)));
    header[8] = type;
    header[9] = 0;
}
