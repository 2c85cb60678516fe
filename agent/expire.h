/* Calls that wait longer than they wanted to, or whose host is gone, are looked for now and then. */
#ifndef EXPIRE_H
#define EXPIRE_H

enum { EXPIRE_INTERVAL_MS = 250 };

/* Looks after delay_ms, unless that is due sooner already; and again as long as there is something to wait for. */
void expire_after(int delay_ms);

#endif
