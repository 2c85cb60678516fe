#include "metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "util.h"

static uint64_t main_cycles, main_ns, check_cycles, check_available, check_total, output_cycles;
static uint64_t idle_cycles, host_cycles;
static bool requested;

/* A figure of /proc/meminfo, in KiB. */
static uint64_t memory_figure(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

void metrics_note_main(uint64_t cycles, uint64_t monotonic)
{
    main_cycles = cycles;
    main_ns = monotonic;
}

void metrics_note_check(void)
{
    if (check_cycles)
        return;
    check_cycles = cycle_counter();
    char text[4096];
    if (read_file("/proc/meminfo", text, sizeof text) < 0)
        return;
    check_available = memory_figure(text, "MemAvailable:");
    check_total = memory_figure(text, "MemTotal:");
}

void metrics_note_idle(void)
{
    idle_cycles = cycle_counter();
}

void metrics_note_request(void)
{
    if (!requested && idle_cycles)
        host_cycles = cycle_counter() - idle_cycles;
    requested = true;
}

void metrics_note_output(void)
{
    if (!output_cycles)
        output_cycles = cycle_counter();
}

struct metrics_text {
    char *text;
    size_t size, length;
};

static void gauge(struct metrics_text *writer, const char *name, const char *value)
{
    int added = snprintf(writer->text + writer->length, writer->size - writer->length,
        "# TYPE %s gauge\n%s %s\n", name, name, value);
    if (added > 0 && (size_t)added < writer->size - writer->length)
        writer->length += (size_t)added;
}

static void gauge_number(struct metrics_text *writer, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    gauge(writer, name, text);
}

static void write_memory(struct metrics_text *writer)
{
    static const char *const names[][2] = {
        {"MemTotal:", "kata_guest_meminfo_mem_total_kib"}, {"MemFree:", "kata_guest_meminfo_mem_free_kib"},
        {"MemAvailable:", "kata_guest_meminfo_mem_available_kib"}, {"Cached:", "kata_guest_meminfo_cached_kib"},
        {"AnonPages:", "kata_guest_meminfo_anon_pages_kib"}, {"Shmem:", "kata_guest_meminfo_shmem_kib"},
        {"Slab:", "kata_guest_meminfo_slab_kib"}, {"KernelStack:", "kata_guest_meminfo_kernel_stack_kib"},
        {"PageTables:", "kata_guest_meminfo_page_tables_kib"}, {"Percpu:", "kata_guest_meminfo_percpu_kib"},
    };
    char text[4096];
    if (read_file("/proc/meminfo", text, sizeof text) < 0)
        return;
    for (size_t i = 0; i < COUNT(names); i++)
        gauge_number(writer, names[i][1], memory_figure(text, names[i][0]));
}

static void write_load(struct metrics_text *writer)
{
    /* three averages, running/all tasks, the last pid */
    static const char *const names[] = {"kata_guest_load1", "kata_guest_load5", "kata_guest_load15",
        "kata_guest_tasks_running", "kata_guest_tasks"};
    char text[128];
    if (read_file("/proc/loadavg", text, sizeof text) < 0)
        return;
    char *rest, *word = strtok_r(text, " /", &rest);
    for (size_t i = 0; word && i < COUNT(names); i++, word = strtok_r(NULL, " /", &rest))
        gauge(writer, names[i], word);
}

/* The agent's own resident memory, in pages. */
static void write_self(struct metrics_text *writer)
{
    char text[128];
    const char *resident = read_file("/proc/self/statm", text, sizeof text) > 0 ? strchr(text, ' ') : NULL;
    if (resident)
        gauge_number(writer, "kata_agent_resident_pages", strtoull(resident, NULL, 10));
    gauge_number(writer, "kata_agent_containers", container_count());
    gauge_number(writer, "kata_agent_processes", container_process_count());
}

size_t metrics_write(char *text, size_t size)
{
    struct metrics_text writer = {.text = text, .size = size};
    gauge_number(&writer, "kata_toolkit_main_tsc", main_cycles);
    gauge_number(&writer, "kata_toolkit_main_monotonic_ns", main_ns);
    gauge_number(&writer, "kata_toolkit_first_check_tsc", check_cycles);
    gauge_number(&writer, "kata_toolkit_first_check_mem_available_kib", check_available);
    gauge_number(&writer, "kata_toolkit_first_check_mem_total_kib", check_total);
    gauge_number(&writer, "kata_toolkit_first_output_tsc", output_cycles);
    gauge_number(&writer, "kata_toolkit_first_request_wait_tsc", host_cycles);
    write_memory(&writer);
    write_load(&writer);
    write_self(&writer);
    return writer.length;
}
