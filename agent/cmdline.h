/* The agent's settings, from the kernel's command line and the environment. */
#ifndef CMDLINE_H
#define CMDLINE_H

#include <stdbool.h>

struct settings {
    bool debug_console;
    unsigned agent_port;         /* vsock; of agent.server_addr */
    unsigned agent_cid;          /* VMADDR_CID_ANY for -1 */
    unsigned debug_console_port; /* 0: none */
    unsigned log_port;           /* 0: none */
    int pipe_size;               /* bytes; 0: the kernel's own */
    unsigned hotplug_timeout_s;
    int log_level;               /* enum log_level */
};

/* Fills in the defaults, then what the text (as in /proc/cmdline) and the environment say. A malformed value makes
 * the agent fail, as Kata's own does: returns what is wrong with it, or NULL. Unknown parameters are not ours. */
const char *settings_read(struct settings *settings, const char *cmdline);

#endif
