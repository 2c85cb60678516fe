#ifndef STUBS_H
#define STUBS_H

#include <setjmp.h>
#include <stdbool.h>

/* Where the loop goes on when the guest would be off. */
extern jmp_buf stubs_power_off;

/* Lets the pretended children do what they would do next. Returns whether anything happened. */
bool stubs_run_children(void);
/* Ends them all. */
void stubs_kill_children(void);

#endif
