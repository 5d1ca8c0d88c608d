/* log.h - one event a line on stderr: JSON lines, or text on a terminal. The message is constant,
 * facts are in keys. Never feature values, user ids, bodies or tokens. Safe from any thread: a line
 * is one write. */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Once, before threads start. json: 1 JSON lines, 0 text. With $JOURNAL_STREAM on stderr lines
 * carry a <N> priority. */
void log_init(enum log_level level, int json);

/* log_event(LOG_INFO, "job finished", "job", "%s", id, "rows", "%zu", n, NULL): key, printf format,
 * its one argument … A format that prints an integer or float (%d %u %zu %lu %.1f …) gives a JSON
 * number; %s gives an escaped string; a format without a conversion takes no argument. A line is
 * cut at 4 KiB, a value at 1 KiB. errno is kept. */
__attribute__((sentinel)) void log_event(enum log_level level, const char *message, ...);

/* The request that this thread works on ("" when none) is added to each line as request_id. */
void log_set_request_id(const char *id);

#endif
