/* processors.h - the processors that this process may run on, and their parts. Pure functions but
 * for processors_count. Any thread. */
#ifndef SERVER_PROCESSORS_H
#define SERVER_PROCESSORS_H

#include <sched.h>

/* As many as the calling thread may run on; 1 where the system does not tell. */
unsigned processors_count(void);

/* The n-th processors of `all` (not empty) with n % n_parts == part, part < n_parts: parts have
 * none in common and are all together. Where processors are fewer than parts, each part is one of
 * them, and they repeat. */
void processors_part(const cpu_set_t *all, unsigned part, unsigned n_parts, cpu_set_t *ret_part);

#endif
