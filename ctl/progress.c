/* The line is cut to the window, since one that wraps cannot be redrawn. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "text.h"

#define BAR_COLUMNS  24
#define WINDOW_USUAL 80 /* columns, when the terminal does not say */
#define REDRAW_S     0.1
#define ERASE_LINE   "\r\x1b[K"

void progress_init(struct progress *p, const char *title, bool quiet_elsewhere)
{
    bool on_terminal = isatty(STDERR_FILENO) == 1;
    *p = (struct progress){ .title = title,
                            .on_terminal = on_terminal,
                            .quiet = !on_terminal && quiet_elsewhere };
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t window_columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : WINDOW_USUAL;
}

static void draw(const struct progress *p, double fraction, const char *phase, const char *message)
{
    char head[160], bar[BAR_COLUMNS + 1];
    size_t filled = fraction < 0   ? 0
                    : fraction > 1 ? BAR_COLUMNS
                                   : (size_t)(fraction * BAR_COLUMNS);
    memset(bar, '#', filled);
    memset(bar + filled, '.', BAR_COLUMNS - filled);
    bar[BAR_COLUMNS] = '\0';
    if (fraction < 0)
        snprintf(head, sizeof(head), "%.60s  ", p->title);
    else
        snprintf(head, sizeof(head), "%.60s [%s] %3.0f%%  ", p->title, bar, fraction * 100);
    const char *const parts[] = { head, phase, *phase != '\0' && *message != '\0' ? ": " : "",
                                  message };
    size_t left = window_columns() - 1; /* the cursor stands in the last one */
    fputs(ERASE_LINE, stderr);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        left -= text_write_within(stderr, parts[i], left);
    fflush(stderr);
}

void progress_show(struct progress *p, double fraction, const char *phase, const char *message)
{
    if (p->quiet) return;
    bool is_new = strncmp(p->phase, phase, sizeof(p->phase) - 1) != 0;
    if (is_new) snprintf(p->phase, sizeof(p->phase), "%s", phase);
    if (!p->on_terminal) {
        if (is_new && *phase != '\0') complain("%s: %s", p->title, phase);
        return;
    }
    double now = now_s();
    if (p->drawn && !is_new && fraction < 1 && now - p->drawn_at_s < REDRAW_S) return;
    p->drawn = true;
    p->drawn_at_s = now;
    draw(p, fraction, phase, message);
}

void progress_clear(struct progress *p)
{
    if (p->drawn) fputs(ERASE_LINE, stderr);
    fflush(stderr);
    p->drawn = false;
}
