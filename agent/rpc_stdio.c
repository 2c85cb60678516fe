/* What goes into and out of a process. */
#include "agent.pb-c.h"
#include "container.h"
#include "services.h"

void serve_write_stdin(const struct call *call, const void *message)
{
    const Kata__WriteStreamRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (!process)
        return;
    if (request->data.len) {
        stream_write(&process->in, call, request->data.data, request->data.len);
        return;
    }
    stream_close_stdin(&process->in);
    Kata__WriteStreamResponse response = KATA__WRITE_STREAM_RESPONSE__INIT;
    call_reply(call, &response.base);
}

void serve_close_stdin(const struct call *call, const void *message)
{
    const Kata__CloseStdinRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (!process)
        return;
    stream_close_stdin(&process->in);
    call_reply_empty(call);
}

void serve_read_stdout(const struct call *call, const void *message)
{
    const Kata__ReadStreamRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (process)
        stream_read(&process->out, call, request->len);
}

void serve_read_stderr(const struct call *call, const void *message)
{
    const Kata__ReadStreamRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (process)
        stream_read(process->terminal ? &process->out : &process->err, call, request->len);
}

void serve_resize_terminal(const struct call *call, const void *message)
{
    const Kata__TtyWinResizeRequest *request = message;
    struct process *process = need_process(call, request->container_id, request->exec_id);
    if (process)
        process_resize(process, call, request->row, request->column);
}
