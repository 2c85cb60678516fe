#include "wire.h"

#include <stdbool.h>
#include <string.h>

/* Where an unset string points to; the generated code names it so. */
const char protobuf_c_empty_string[] = "";

enum wire_type { VARINT = 0, BYTES8 = 1, LENGTH = 2, BYTES4 = 5 };
enum { ID_SHIFT = 3, TYPE_MASK = 7, VARINT_BITS = 7, VARINT_MORE = 0x80, MAX_ID = (1 << 29) - 1 };

/* How each type lies in a structure. What agent.proto has no use for is not here, and is refused. */
static const struct kind {
    unsigned char size;
    unsigned char wire;
} kinds[] = {
    [PROTOBUF_C_TYPE_INT32] = {sizeof(int32_t), VARINT},
    [PROTOBUF_C_TYPE_INT64] = {sizeof(int64_t), VARINT},
    [PROTOBUF_C_TYPE_UINT32] = {sizeof(uint32_t), VARINT},
    [PROTOBUF_C_TYPE_UINT64] = {sizeof(uint64_t), VARINT},
    [PROTOBUF_C_TYPE_BOOL] = {sizeof(protobuf_c_boolean), VARINT},
    [PROTOBUF_C_TYPE_ENUM] = {sizeof(uint32_t), VARINT},
    [PROTOBUF_C_TYPE_STRING] = {sizeof(char *), LENGTH},
    [PROTOBUF_C_TYPE_BYTES] = {sizeof(ProtobufCBinaryData), LENGTH},
    [PROTOBUF_C_TYPE_MESSAGE] = {sizeof(ProtobufCMessage *), LENGTH},
};

static bool is_oneof(const ProtobufCFieldDescriptor *field)
{
    return field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

/* ---- reading ---- */

struct reader {
    const uint8_t *at, *end;
};

/* One field as it travels: a number, or a stretch of bytes. */
struct record {
    uint32_t id;
    unsigned type;
    uint64_t number;
    struct reader content;
};

static bool read_varint(struct reader *reader, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += VARINT_BITS) {
        if (reader->at == reader->end)
            return false;
        uint8_t byte = *reader->at++;
        *value |= (uint64_t)(byte & (VARINT_MORE - 1)) << shift;
        if (byte < VARINT_MORE)
            return true;
    }
    return false;
}

static bool read_content(struct reader *reader, uint64_t length, struct reader *content)
{
    if (length > (uint64_t)(reader->end - reader->at))
        return false;
    *content = (struct reader){reader->at, reader->at + length};
    reader->at += length;
    return true;
}

static bool read_record(struct reader *reader, struct record *record)
{
    uint64_t tag, length;
    *record = (struct record){0};
    if (!read_varint(reader, &tag) || tag >> ID_SHIFT == 0 || tag >> ID_SHIFT > MAX_ID)
        return false;
    record->id = (uint32_t)(tag >> ID_SHIFT);
    record->type = (unsigned)(tag & TYPE_MASK);
    switch (record->type) {
    case VARINT:
        return read_varint(reader, &record->number);
    case BYTES8:
        return read_content(reader, 8, &record->content);
    case LENGTH:
        return read_varint(reader, &length) && read_content(reader, length, &record->content);
    case BYTES4:
        return read_content(reader, 4, &record->content);
    default: /* groups, which nobody sends any more */
        return false;
    }
}

/* protoc-c sorts the fields by their ids. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor, uint32_t id)
{
    unsigned low = 0, high = descriptor->n_fields;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (descriptor->fields[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < descriptor->n_fields && descriptor->fields[low].id == id ? &descriptor->fields[low] : NULL;
}

/* A new element at the end of a list, all zero. Lists have room for the next power of two, so they need not say how
 * much that is. */
static void *append(struct arena *arena, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    size_t *count = (void *)((char *)message + field->quantifier_offset);
    char **list = (void *)((char *)message + field->offset);
    size_t size = kinds[field->type].size;
    if ((*count & (*count - 1)) == 0) { /* 0 and the powers of two: full */
        char *larger = arena_alloc(arena, (*count ? 2 * *count : 1) * size);
        if (!larger)
            return NULL;
        if (*count)
            memcpy(larger, *list, *count * size);
        *list = larger;
    }
    return memset(*list + (*count)++ * size, 0, size);
}

/* Where a record's value belongs; NULL without memory. */
static void *place_for(struct arena *arena, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return append(arena, message, field);
    void *place = (char *)message + field->offset;
    if (is_oneof(field)) {
        uint32_t *chosen = (void *)((char *)message + field->quantifier_offset);
        if (*chosen != field->id)
            memset(place, 0, kinds[field->type].size); /* what it held is of another type */
        *chosen = field->id;
    }
    return place;
}

static void store_number(const ProtobufCFieldDescriptor *field, void *place, uint64_t number)
{
    if (field->type == PROTOBUF_C_TYPE_BOOL)
        *(protobuf_c_boolean *)place = number != 0;
    else if (kinds[field->type].size == sizeof(uint32_t))
        *(uint32_t *)place = (uint32_t)number; /* negative ones are sign-extended to 64 bits */
    else
        *(uint64_t *)place = number;
}

static bool merge(struct arena *arena, ProtobufCMessage *message, struct reader reader);

static ProtobufCMessage *new_message(struct arena *arena, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);
    if (message)
        descriptor->message_init(message);
    return message;
}

static bool store_content(
    struct arena *arena, const ProtobufCFieldDescriptor *field, void *place, struct reader content)
{
    size_t length = (size_t)(content.end - content.at);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        /* agent.proto has no message that contains itself, so the depth has its end there. */
        ProtobufCMessage **message = place;
        if (!*message)
            *message = new_message(arena, field->descriptor);
        return *message && merge(arena, *message, content);
    }
    char *copy = arena_alloc(arena, length + 1);
    if (!copy)
        return false;
    memcpy(copy, content.at, length);
    copy[length] = '\0';
    if (field->type == PROTOBUF_C_TYPE_STRING)
        *(char **)place = copy;
    else
        *(ProtobufCBinaryData *)place = (ProtobufCBinaryData){length, (uint8_t *)copy};
    return true;
}

static bool store(
    struct arena *arena, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct record *record)
{
    if (!kinds[field->type].size)
        return false;
    bool number = kinds[field->type].wire == VARINT;
    if (number && record->type == LENGTH && field->label == PROTOBUF_C_LABEL_REPEATED) { /* packed */
        while (record->content.at < record->content.end) {
            void *place = read_varint(&record->content, &record->number) ? append(arena, message, field) : NULL;
            if (!place)
                return false;
            store_number(field, place, record->number);
        }
        return true;
    }
    if (record->type != kinds[field->type].wire)
        return false;
    void *place = place_for(arena, message, field);
    if (!place)
        return false;
    if (!number)
        return store_content(arena, field, place, record->content);
    store_number(field, place, record->number);
    return true;
}

static bool merge(struct arena *arena, ProtobufCMessage *message, struct reader reader)
{
    while (reader.at < reader.end) {
        struct record record;
        if (!read_record(&reader, &record))
            return false;
        const ProtobufCFieldDescriptor *field = find_field(message->descriptor, record.id);
        if (field && !store(arena, message, field, &record))
            return false;
    }
    return true;
}

void *wire_unpack(
    struct arena *arena, const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length)
{
    ProtobufCMessage *message = new_message(arena, descriptor);
    if (!message || !length)
        return message;
    return merge(arena, message, (struct reader){bytes, bytes + length}) ? message : NULL;
}

/* ---- writing ---- */

struct writer {
    uint8_t *out; /* NULL: only count */
    size_t size;
};

static void write_varint(struct writer *writer, uint64_t value)
{
    for (;;) {
        uint8_t byte = value & (VARINT_MORE - 1);
        value >>= VARINT_BITS;
        if (writer->out)
            writer->out[writer->size] = value ? byte | VARINT_MORE : byte;
        writer->size++;
        if (!value)
            return;
    }
}

static void write_tag(struct writer *writer, uint32_t id, enum wire_type type)
{
    write_varint(writer, (uint64_t)id << ID_SHIFT | type);
}

static void write_bytes(struct writer *writer, const void *bytes, size_t length)
{
    write_varint(writer, length);
    if (writer->out && length)
        memcpy(writer->out + writer->size, bytes, length);
    writer->size += length;
}

static void write_message(struct writer *writer, const ProtobufCMessage *message);

static uint64_t number_at(const ProtobufCFieldDescriptor *field, const void *place)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)place != 0;
    case PROTOBUF_C_TYPE_UINT32:
        return *(const uint32_t *)place;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        return (uint64_t)(int64_t)*(const int32_t *)place;
    default:
        return *(const uint64_t *)place;
    }
}

static void write_value(struct writer *writer, const ProtobufCFieldDescriptor *field, const void *place)
{
    write_tag(writer, field->id, kinds[field->type].wire);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *message = *(ProtobufCMessage *const *)place;
        write_varint(writer, wire_size(message));
        write_message(writer, message);
    } else if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(char *const *)place;
        write_bytes(writer, text, strlen(text));
    } else if (field->type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *bytes = place;
        write_bytes(writer, bytes->data, bytes->len);
    } else {
        write_varint(writer, number_at(field, place));
    }
}

static void write_packed(struct writer *writer, const ProtobufCFieldDescriptor *field, const char *list, size_t count)
{
    struct writer counter = {0};
    size_t size = kinds[field->type].size;
    for (size_t i = 0; i < count; i++)
        write_varint(&counter, number_at(field, list + i * size));
    write_tag(writer, field->id, LENGTH);
    write_varint(writer, counter.size);
    for (size_t i = 0; i < count; i++)
        write_varint(writer, number_at(field, list + i * size));
}

/* Whether a field holds what one that is left out is taken for. */
static bool is_default(const ProtobufCFieldDescriptor *field, const void *place)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return !*(ProtobufCMessage *const *)place;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return !*(char *const *)place || !**(char *const *)place;
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)place)->len == 0;
    return number_at(field, place) == 0;
}

static void write_message(struct writer *writer, const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *place = (const char *)message + field->offset;
        const void *quantifier = (const char *)message + field->quantifier_offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)quantifier;
            const char *list = *(char *const *)(const void *)place;
            if (count && kinds[field->type].wire == VARINT)
                write_packed(writer, field, list, count);
            else
                for (size_t at = 0; at < count; at++)
                    write_value(writer, field, list + at * kinds[field->type].size);
        } else if (is_oneof(field) ? *(const uint32_t *)quantifier == field->id : !is_default(field, place)) {
            write_value(writer, field, place);
        }
    }
}

size_t wire_size(const ProtobufCMessage *message)
{
    struct writer counter = {0};
    write_message(&counter, message);
    return counter.size;
}

void wire_pack(const ProtobufCMessage *message, uint8_t *out)
{
    struct writer writer = {.out = out};
    write_message(&writer, message);
}
