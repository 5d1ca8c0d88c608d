/* clock.h - how long something takes. */
#ifndef SEG_BASE_CLOCK_H
#define SEG_BASE_CLOCK_H

/* Seconds on a clock that nobody sets, from no particular moment. Any thread. */
double seg_clock_s(void);

#endif
