#include "expire.h"

#include <stdint.h>

#include "container.h"
#include "loop.h"
#include "util.h"

static void look(struct timer *timer);

static struct timer timer = {.fire = look};

static void look(struct timer *fired)
{
    (void)fired;
    if (containers_expire())
        expire_after(EXPIRE_INTERVAL_MS);
}

void expire_after(int delay_ms)
{
    if (!timer.armed || timer.when_ms > now_ms() + delay_ms)
        timer_arm(&timer, delay_ms);
}
