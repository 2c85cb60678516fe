/* The ways in: vsock ports and virtio-serial ports. */
#ifndef LISTEN_H
#define LISTEN_H

#include "cmdline.h"

/* Opens the agent's own; nothing else may delay the first answer. */
void listen_begin(const struct settings *settings);
/* The others, and ports that are plugged in later. */
void listen_finish(const struct settings *settings);

#endif
