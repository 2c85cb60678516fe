/* grpc.Health: is somebody there, and who. */
#include "agent.pb-c.h"
#include "metrics.h"
#include "services.h"
#include "util.h"
#include "version.h"

static void serve_check(const struct call *call, const void *request)
{
    (void)request; /* the service it names does not matter: there is one agent */
    Kata__HealthCheckResponse response = KATA__HEALTH_CHECK_RESPONSE__INIT;
    response.status = KATA__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    call_reply(call, &response.base);
    metrics_note_check();
}

static void serve_version(const struct call *call, const void *request)
{
    (void)request;
    Kata__VersionCheckResponse response = KATA__VERSION_CHECK_RESPONSE__INIT;
    response.grpc_version = (char *)AGENT_API_VERSION;
    response.agent_version = (char *)AGENT_VERSION;
    call_reply(call, &response.base);
}

static const struct method health_methods[] = {
    {"Check", &kata__check_request__descriptor, serve_check},
    {"Version", &kata__check_request__descriptor, serve_version},
};

const struct service health_service = {"grpc.Health", health_methods, COUNT(health_methods)};
