#ifndef VERSION_H
#define VERSION_H

#define AGENT_VERSION "kata-toolkit-0.1.0"
#define AGENT_API_VERSION "0.0.1" /* of the protocol, as Kata 4.1 counts it */

#endif
