#include "dispatch.h"

#include <string.h>

#include "arena.h"
#include "boot.h"
#include "bounds.h"
#include "log.h"
#include "metrics.h"
#include "services.h"
#include "util.h"
#include "wire.h"

static const struct service *const services[] = {&health_service, &agent_service};

static struct arena envelope_memory, message_memory;

static void *unpack(
    struct arena *arena, const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length)
{
    if (!arena->limit)
        arena_init(arena, MAX_MESSAGE_MEMORY);
    arena_reuse(arena);
    return wire_unpack(arena, descriptor, bytes, length);
}

const Kata__Request *dispatch_unpack(const uint8_t *bytes, size_t length)
{
    return unpack(&envelope_memory, &kata__request__descriptor, bytes, length);
}

static const struct method *find_method(const struct service *service, const char *name)
{
    for (size_t i = 0; i < service->count; i++)
        if (strcmp(service->methods[i].name, name) == 0)
            return &service->methods[i];
    return NULL;
}

void dispatch(const struct call *call, const Kata__Request *request)
{
    const struct service *service = NULL;
    for (size_t i = 0; i < COUNT(services); i++)
        if (strcmp(services[i]->name, request->service) == 0)
            service = services[i];
    if (!service) {
        call_fail(call, STATUS_UNIMPLEMENTED, "service %.100s is not served here", request->service);
        return;
    }
    const struct method *method = find_method(service, request->method);
    if (!method) {
        call_fail(call, STATUS_UNIMPLEMENTED, "%s/%.100s is not implemented", service->name, request->method);
        return;
    }
    log_line(LOG_DEBUG, "%s/%s", service->name, method->name);
    if (service == &agent_service) {
        metrics_note_request();
        boot_finish();
    }
    const void *message = unpack(&message_memory, method->request, request->payload.data, request->payload.len);
    if (message)
        method->serve(call, message);
    else
        call_fail(call, STATUS_INVALID_ARGUMENT, "the payload of %s cannot be decoded", method->name);
    arena_reuse(&message_memory);
}
