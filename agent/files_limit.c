#include "files_limit.h"

#include <sys/resource.h>

#include "bounds.h"

static struct rlimit inherited;

void files_limit_raise(void)
{
    const struct rlimit wanted = {.rlim_cur = MAX_DESCRIPTORS, .rlim_max = MAX_DESCRIPTORS};
    getrlimit(RLIMIT_NOFILE, &inherited);
    setrlimit(RLIMIT_NOFILE, &wanted); /* when it fails, calls will, one by one, with a message of their own */
}

void files_limit_restore(void)
{
    if (inherited.rlim_max)
        setrlimit(RLIMIT_NOFILE, &inherited);
}
