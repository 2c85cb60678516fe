/* What the agent measures of itself and of its guest. */
#ifndef METRICS_H
#define METRICS_H

#include <stddef.h>
#include <stdint.h>

/* The processor's own clock: the TSC, or on arm64 the virtual counter. */
static inline uint64_t cycle_counter(void)
{
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return 0;
#endif
}

void metrics_note_main(uint64_t cycles, uint64_t monotonic_ns);
/* The answer to a Health/Check has been written; only the first one counts. */
void metrics_note_check(void);
/* The agent has nothing left to do, and then the host asks for something: what lies between the two for the first
 * time is the host's, not the guest's. */
void metrics_note_idle(void);
void metrics_note_request(void);
/* A container's first process has written something; only the first time counts. */
void metrics_note_output(void);
/* Prometheus' text format. Returns the length. */
size_t metrics_write(char *text, size_t size);

#endif
