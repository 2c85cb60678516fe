/* The debug console: a shell on a port, if the settings ask for it. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdbool.h>

/* A shell for a connected socket, until either ends. Takes over fd. */
void console_start_socket(int fd);
/* Shells on a virtio-serial port, one after another: the port is closed between
 * a shell that ended and the next. Returns false when the port cannot be opened. */
bool console_start_serial(const char *path);

#endif
