/* doctor.h - `segmentd doctor`: does the database hold what the service promises? */
#ifndef SERVER_DOCTOR_H
#define SERVER_DOCTOR_H

#include <stdio.h>
#include "config.h"

/* Reads only, in one snapshot. A line for each claim, and one for each fault. Exit status 0 when
 * all claims hold, else 1. */
int doctor_run(const struct config *c, FILE *out);

#endif
