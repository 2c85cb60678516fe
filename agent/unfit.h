/* What a host may ask for and this agent cannot give: refused, rather than left out in silence. */
#ifndef UNFIT_H
#define UNFIT_H

#include "agent.pb-c.h"

/* Both return NULL, or why it is refused. */
const char *unfit_container(const Kata__CreateContainerRequest *request);
const char *unfit_process(const Kata__Process *process, const Kata__StringUser *string_user);

#endif
