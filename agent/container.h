/* Containers, and the sandbox they share. */
#ifndef CONTAINER_H
#define CONTAINER_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "conn.h"
#include "loop.h"
#include "process.h"

struct container {
    struct container *next;
    char *id;
    struct process *processes; /* the first one made is the container's own */
    char **storages;           /* mount points it uses */
    size_t storage_count;
    Kata__LinuxSeccomp *seccomp; /* of all its processes; NULL: none */
    struct arena seccomp_memory;
    bool no_new_nodes;         /* its device rules hold only as long as it cannot make device nodes */
    bool shares_pids;          /* lives in the sandbox's pid namespace */
    bool failed;               /* was never created: to be forgotten as soon as it is reaped */
    bool removing;
    struct call remove_call;
    struct timer remove_timer;
    unsigned long oom_kills; /* of its cgroup, when last looked at */
};

struct sandbox {
    bool created;
    bool share_pids;
    char *hostname;
    char **storages;
    size_t storage_count;
    int ipc_ns, uts_ns, pid_ns; /* of its first container; -1: not yet */
};

extern struct sandbox sandbox;

/* First character alphanumeric, then also ". - _"; 2 to MAX_NAME characters. */
bool container_id_is_valid(const char *id);
/* NULL: there is none. */
struct container *container_find(const char *id);
/* Any that is left; NULL when none is. */
struct container *container_first(void);
size_t container_count(void);
/* Adds an empty one. */
struct container *container_add(const char *id);
/* The container's own process; NULL only while it is being made. */
struct process *container_init(const struct container *container);
/* exec_id empty or equal to the container's id: its own process. NULL: there is none. */
struct process *container_process(const struct container *container, const char *exec_id);
size_t container_process_count(void);

/* The first process is set up: storages are mounted, and the sandbox takes over its namespaces if it has none yet. */
void container_is_ready(struct container *container);
/* Frees a container none of whose processes is left. */
void container_forget(struct container *container);
/* Kills all that runs in it. */
void container_kill(struct container *container);
/* Kills it and answers the call when it is gone; timeout_s 0 waits without limit. */
void container_remove(struct container *container, const struct call *call, unsigned timeout_s);
/* One of its processes has been reaped. May free the container. */
void container_process_gone(struct container *container);

/* A child of the agent ended; not every child belongs to a container. */
void containers_child_ended(pid_t pid, int wait_status);
/* Refuses calls that waited too long. Returns whether any with a deadline still waits. */
bool containers_expire(void);
/* Waits for the next kill for want of memory. */
void containers_wait_oom(const struct call *call);
/* Kills everything and unmounts all storages; for the end of the sandbox. */
void containers_destroy(void);

#endif
