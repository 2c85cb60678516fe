/* The tables of methods, one file each: rpc_health.c and rpc_agent.c; and the functions behind the second. */
#ifndef SERVICES_H
#define SERVICES_H

#include "dispatch.h"

extern const struct service health_service; /* grpc.Health */
extern const struct service agent_service;  /* grpc.AgentService */

/* rpc_sandbox.c: the guest as a whole */
void serve_create_sandbox(const struct call *call, const void *request);
void serve_destroy_sandbox(const struct call *call, const void *request);
void serve_guest_details(const struct call *call, const void *request);
void serve_online_cpu_mem(const struct call *call, const void *request);
void serve_reseed_random(const struct call *call, const void *request);
void serve_set_date_time(const struct call *call, const void *request);
void serve_get_metrics(const struct call *call, const void *request);
void serve_copy_file(const struct call *call, const void *request);

/* Both find what a request names, or refuse the call and return NULL. */
struct container *need_container(const struct call *call, const char *id);
struct process *need_process(const struct call *call, const char *id, const char *exec_id);

/* rpc_container.c */
void serve_create_container(const struct call *call, const void *request);
void serve_start_container(const struct call *call, const void *request);
void serve_remove_container(const struct call *call, const void *request);
void serve_update_container(const struct call *call, const void *request);
void serve_stats_container(const struct call *call, const void *request);
void serve_pause_container(const struct call *call, const void *request);
void serve_resume_container(const struct call *call, const void *request);
void serve_get_oom_event(const struct call *call, const void *request);

/* rpc_process.c */
void serve_exec_process(const struct call *call, const void *request);
void serve_signal_process(const struct call *call, const void *request);
void serve_wait_process(const struct call *call, const void *request);

/* rpc_stdio.c: what goes into and out of a process */
void serve_write_stdin(const struct call *call, const void *request);
void serve_close_stdin(const struct call *call, const void *request);
void serve_read_stdout(const struct call *call, const void *request);
void serve_read_stderr(const struct call *call, const void *request);
void serve_resize_terminal(const struct call *call, const void *request);

#endif
