/* grpc.AgentService: the table. What is not in it is answered with UNIMPLEMENTED. */
#include "agent.pb-c.h"
#include "services.h"
#include "util.h"

static const struct method agent_methods[] = {
    {"CreateSandbox", &kata__create_sandbox_request__descriptor, serve_create_sandbox},
    {"DestroySandbox", &kata__destroy_sandbox_request__descriptor, serve_destroy_sandbox},
    {"GetGuestDetails", &kata__guest_details_request__descriptor, serve_guest_details},
    {"OnlineCPUMem", &kata__online_cpu_mem_request__descriptor, serve_online_cpu_mem},
    {"ReseedRandomDev", &kata__reseed_random_dev_request__descriptor, serve_reseed_random},
    {"SetGuestDateTime", &kata__set_guest_date_time_request__descriptor, serve_set_date_time},
    {"GetMetrics", &kata__get_metrics_request__descriptor, serve_get_metrics},
    {"CopyFile", &kata__copy_file_request__descriptor, serve_copy_file},

    {"CreateContainer", &kata__create_container_request__descriptor, serve_create_container},
    {"StartContainer", &kata__start_container_request__descriptor, serve_start_container},
    {"RemoveContainer", &kata__remove_container_request__descriptor, serve_remove_container},
    {"ExecProcess", &kata__exec_process_request__descriptor, serve_exec_process},
    {"SignalProcess", &kata__signal_process_request__descriptor, serve_signal_process},
    {"WaitProcess", &kata__wait_process_request__descriptor, serve_wait_process},
    {"UpdateContainer", &kata__update_container_request__descriptor, serve_update_container},
    {"StatsContainer", &kata__container_request__descriptor, serve_stats_container},
    {"PauseContainer", &kata__container_request__descriptor, serve_pause_container},
    {"ResumeContainer", &kata__container_request__descriptor, serve_resume_container},
    {"GetOOMEvent", &kata__empty__descriptor, serve_get_oom_event},

    {"WriteStdin", &kata__write_stream_request__descriptor, serve_write_stdin},
    {"CloseStdin", &kata__close_stdin_request__descriptor, serve_close_stdin},
    {"ReadStdout", &kata__read_stream_request__descriptor, serve_read_stdout},
    {"ReadStderr", &kata__read_stream_request__descriptor, serve_read_stderr},
    {"TtyWinResize", &kata__tty_win_resize_request__descriptor, serve_resize_terminal},
};

const struct service agent_service = {"grpc.AgentService", agent_methods, COUNT(agent_methods)};
