/* Signals as events: ended children, and the ways to ask an init to end. */
#ifndef SIGNALS_H
#define SIGNALS_H

void signals_watch(void);

#endif
