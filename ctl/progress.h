/* progress.h - one line on stderr that says how far something is: redrawn in place on a terminal;
 * elsewhere a line each time the phase changes, so that a log tells the story and no more. One
 * thread. */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

struct progress {
    const char *title;
    bool on_terminal, quiet; /* quiet: nothing at all */
    bool drawn;
    char phase[64];    /* the last one told of */
    double drawn_at_s; /* the monotonic clock */
};

/* title is borrowed. quiet_elsewhere: nothing when stderr is no terminal. */
void progress_init(struct progress *p, const char *title, bool quiet_elsewhere);
/* fraction 0..1, or below 0 when the end is not known. Drawn ten times a second at most, but a new
 * phase and the end at once. */
void progress_show(struct progress *p, double fraction, const char *phase, const char *message);
/* Takes the line away, before anything else is printed. Harmless when there is none. */
void progress_clear(struct progress *p);

#endif
