/* What the agent never exceeds, whatever the host sends: PID 1 must survive it all. */
#ifndef BOUNDS_H
#define BOUNDS_H

#define TTRPC_MAX_DATA 4194304u /* ttrpc 1.2: the largest body of a frame */

enum {
    MAX_CONNECTIONS = 64,
    MAX_STREAMS = 512,                    /* unanswered calls on one connection */
    MAX_INPUT_BYTES = 16 << 20,           /* bodies being received, all connections together */
    MAX_OUTPUT_BYTES = 12 << 20,          /* answers a connection has not taken yet; above it, it is dropped */
    OUTPUT_PAUSE_BYTES = 1 << 20,         /* above it, no further request is read from that connection */
    MAX_MESSAGE_MEMORY = 12 << 20,        /* one decoded request */
    MAX_STDIN_BYTES = 8 << 20,            /* written by the host, not taken by the processes yet */
    MAX_READ_BYTES = 256 << 10,           /* one answer of ReadStdout */
    MAX_CONTAINERS = 512,
    MAX_PROCESSES = 4096,
    MAX_DESCRIPTORS = 32768,
    MAX_SECCOMP_BYTES = 256 << 10,        /* of a profile, as it travels; it is kept for later processes */
    MAX_OOM_WAITERS = 1024,
    MAX_NAME = 200,                       /* container and exec ids; they become parts of file names */
    SERIAL_STALL_MS = 2000,               /* a half frame on a serial port older than this may be abandoned */
};

#endif
