#include "seccomp.h"

bool seccomp_available(void)
{
    return false;
}

const char *seccomp_unfit(const Kata__LinuxSeccomp *profile)
{
    (void)profile;
    return "seccomp profiles are not supported";
}
