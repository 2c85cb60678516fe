#include "cmdline.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "util.h"

enum { MAX_PARAMETER = 512 };

static const unsigned ANY_CID = 0xffffffffu; /* VMADDR_CID_ANY, spelled -1 in addresses */

/* ---- values; each returns false when malformed ---- */

static bool parse_integer(const char *text, int64_t low, int64_t high, int64_t *value)
{
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (errno || end == text || *end || parsed < low || parsed > high || *text == ' ')
        return false;
    *value = parsed;
    return true;
}

/* A port outside the range that is taken leaves the setting as it was. */
static bool set_port(unsigned *port, const char *text)
{
    int64_t value;
    if (!parse_integer(text, INT_MIN, INT_MAX, &value))
        return false;
    if (value > 0)
        *port = (unsigned)value;
    return true;
}

static bool set_console_port(struct settings *settings, const char *text)
{
    return set_port(&settings->debug_console_port, text);
}

static bool set_log_port(struct settings *settings, const char *text)
{
    return set_port(&settings->log_port, text);
}

static bool set_log_level(struct settings *settings, const char *text)
{
    settings->log_level = log_level_by_name(text);
    return settings->log_level >= 0;
}

static bool set_address(struct settings *settings, const char *text)
{
    char cid_text[16];
    int64_t cid, port;
    const char *colon = starts_with(text, "vsock://") ? strchr(text + 8, ':') : NULL;
    if (!colon || (size_t)(colon - text - 8) >= sizeof cid_text)
        return false;
    snprintf(cid_text, sizeof cid_text, "%.*s", (int)(colon - text - 8), text + 8);
    if (!parse_integer(cid_text, -1, UINT_MAX, &cid) || !parse_integer(colon + 1, 1, UINT_MAX - 1, &port))
        return false;
    settings->agent_cid = cid == -1 ? ANY_CID : (unsigned)cid;
    settings->agent_port = (unsigned)port;
    return true;
}

static bool set_hotplug_timeout(struct settings *settings, const char *text)
{
    uint64_t value;
    if (!parse_u64(text, &value))
        return false;
    if (value > 0)
        settings->hotplug_timeout_s = value > UINT_MAX / 1000 ? UINT_MAX / 1000 : (unsigned)value;
    return true;
}

static bool set_pipe_size(struct settings *settings, const char *text)
{
    int64_t value;
    if (!parse_integer(text, 0, INT_MAX, &value)) /* a negative one counts as malformed here */
        return false;
    settings->pipe_size = (int)value;
    return true;
}

static const struct {
    const char *name;
    bool (*set)(struct settings *settings, const char *text);
} parameters[] = {
    {"agent.log", set_log_level},
    {"agent.server_addr", set_address},
    {"agent.debug_console_vport", set_console_port},
    {"agent.log_vport", set_log_port},
    {"agent.container_pipe_size", set_pipe_size},
    {"agent.hotplug_timeout", set_hotplug_timeout},
};

static const struct {
    const char *variable, *parameter;
} variables[] = {
    {"KATA_AGENT_SERVER_ADDR", "agent.server_addr"},
    {"KATA_AGENT_LOG_LEVEL", "agent.log"},
};

/* Returns what is wrong, or NULL. */
static const char *apply(struct settings *settings, const char *name, const char *value)
{
    static char problem[MAX_PARAMETER + 64];
    for (size_t i = 0; i < COUNT(parameters); i++) {
        if (strcmp(parameters[i].name, name) != 0)
            continue;
        if (parameters[i].set(settings, value))
            return NULL;
        snprintf(problem, sizeof problem, "%s: '%.300s' is malformed", name, value);
        return problem;
    }
    return NULL;
}

static const char *apply_word(struct settings *settings, char *word)
{
    if (strcmp(word, "agent.debug_console") == 0)
        settings->debug_console = true; /* a flag matches the whole word only */
    char *value = strchr(word, '=');
    if (!value)
        return NULL;
    *value++ = '\0';
    return apply(settings, word, value);
}

const char *settings_read(struct settings *settings, const char *cmdline)
{
    *settings = (struct settings){
        .agent_port = 1024, .agent_cid = ANY_CID, .hotplug_timeout_s = 3, .log_level = LOG_INFO};
    const char *problem = NULL;
    for (const char *at = cmdline; *at && !problem;) {
        size_t blank = strspn(at, " \t\n\r\v\f");
        size_t length = strcspn(at + blank, " \t\n\r\v\f");
        char word[MAX_PARAMETER];
        if (length && length < sizeof word && starts_with(at + blank, "agent.")) {
            memcpy(word, at + blank, length);
            word[length] = '\0';
            problem = apply_word(settings, word);
        }
        at += blank + length;
    }
    for (size_t i = 0; i < COUNT(variables) && !problem; i++) {
        const char *value = getenv(variables[i].variable);
        if (value)
            problem = apply(settings, variables[i].parameter, value);
    }
    return problem;
}
