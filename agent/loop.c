#include "loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "log.h"
#include "util.h"

static int epoll_fd = -1;
static bool stopped;
static struct timer *timers; /* unsorted: there are only ever a few */

void loop_init(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        log_line(LOG_CRITICAL, "epoll_create1: %m");
        _exit(1);
    }
}

int loop_add(struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event);
}

int loop_change(struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
}

void loop_close(struct source *source)
{
    if (source->fd < 0)
        return;
    /* Not left to close(): a child may hold a copy, which would keep the entry alive. */
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    close(source->fd);
    source->fd = -1;
}

void timer_arm(struct timer *timer, int64_t delay_ms)
{
    timer_cancel(timer);
    timer->when_ms = now_ms() + delay_ms;
    timer->armed = 1;
    timer->next = timers;
    timers = timer;
}

void timer_cancel(struct timer *timer)
{
    if (!timer->armed)
        return;
    for (struct timer **at = &timers; *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            break;
        }
    }
    timer->armed = 0;
}

/* Fires what is due. Returns how long epoll may sleep: milliseconds, or -1 for ever. */
static int run_timers(void)
{
    while (timers) {
        int64_t now = now_ms();
        struct timer *first = timers;
        for (struct timer *at = timers; at; at = at->next)
            if (at->when_ms < first->when_ms)
                first = at;
        if (first->when_ms > now) {
            int64_t left = first->when_ms - now;
            return left > 1000000 ? 1000000 : (int)left;
        }
        timer_cancel(first);
        first->fire(first);
    }
    return -1;
}

void loop_run(void (*idle)(void))
{
    stopped = false;
    while (!stopped) {
        int patience = run_timers();
        if (stopped)
            return;
        struct epoll_event event;
        /* One event at a time: a handler may free any source, so no second one may be waiting in our hands. */
        int count = epoll_wait(epoll_fd, &event, 1, idle ? 0 : patience);
        if (count < 0 && errno != EINTR) {
            log_line(LOG_CRITICAL, "epoll_wait: %m");
            _exit(1);
        }
        if (count == 0 && idle) {
            void (*once)(void) = idle;
            idle = NULL;
            once();
        }
        if (count == 1) {
            struct source *source = event.data.ptr;
            source->ready(source, event.events);
        }
    }
}

void loop_stop(void)
{
    stopped = true;
}
