#include "processors.h"

unsigned processors_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
    return (unsigned)CPU_COUNT(&set);
}

void processors_part(const cpu_set_t *all, unsigned part, unsigned n_parts, cpu_set_t *ret_part)
{
    unsigned n_processors = (unsigned)CPU_COUNT(all), n = 0;
    if (n_parts > n_processors) n_parts = n_processors;
    CPU_ZERO(ret_part);
    for (unsigned i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, all) && n++ % n_parts == part % n_parts) CPU_SET(i, ret_part);
}
