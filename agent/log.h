/* The agent's log: lines on the guest's console and, if asked for, to whoever connects to the log port. */
#ifndef LOG_H
#define LOG_H

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_CRITICAL };

void log_set_level(enum log_level level);
/* A name as agent.log takes it ("warning", "panic", …). Returns -1 when it is none. */
int log_level_by_name(const char *name);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Connects the log to a socket of the log port: it gets what was logged so far, then every line. Owns fd. */
void log_attach(int fd);

#endif
