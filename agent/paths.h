/* Where things lie in the guest. */
#ifndef PATHS_H
#define PATHS_H

#define CONTAINERS_FOLDER "/run/kata-containers"
#define SHARED_FOLDER "/run/kata-containers/shared/containers/" /* what the host shares, by the protocol */
#define EXTENSIONS_FOLDER "/run/kata-extensions/"
#define RESOLV_CONF "/run/kata-containers/sandbox/resolv.conf"
#define CGROUP_FOLDER "/sys/fs/cgroup"

#endif
