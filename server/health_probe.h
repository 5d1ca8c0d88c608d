/* health_probe.h - asks a running server whether it lives: one GET over a plain socket, at most 5
 * s. For containers, whose images have no curl. */
#ifndef SERVER_HEALTH_PROBE_H
#define SERVER_HEALTH_PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* GET /livez where [http] listen says. False and a sentence unless the answer is 200. */
bool health_probe_listen(const char *listen, char *reason, size_t size);
/* GET http://host:port/path; the path is /livez when the URL has none. */
bool health_probe_url(const char *url, char *reason, size_t size);

#endif
