/* The one event loop: file descriptors, timers and the end of child processes. */
#ifndef LOOP_H
#define LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

/* Something with a file descriptor; embed it, and get back to the whole with container_of. */
struct source {
    int fd;
    void (*ready)(struct source *source, uint32_t events);
};

struct timer {
    struct timer *next;
    int64_t when_ms; /* on the clock of now_ms() */
    void (*fire)(struct timer *timer);
    int armed;
};

#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

void loop_init(void);
/* All return 0, or -1 with errno. */
int loop_add(struct source *source, uint32_t events);
int loop_change(struct source *source, uint32_t events);
/* Takes the descriptor out of the loop and closes it; safe to call twice. */
void loop_close(struct source *source);

void timer_arm(struct timer *timer, int64_t delay_ms);
void timer_cancel(struct timer *timer);

/* Serves events until loop_stop() is called by one of them. When nothing is ready for the first time, calls idle once. */
void loop_run(void (*idle)(void));
void loop_stop(void);

#endif
