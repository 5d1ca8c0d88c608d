/* derive.c - one operation over the 64 rows of a tile at a time. */
#include "features/derive.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "compute/tiles.h"
#include "features/calendar.h"
#include "features/number.h"

#define N SEG_TILE_ROWS

enum seg_type seg_derive_type(enum seg_derive_op op)
{
    return op == SEG_DERIVE_IS_WEEKEND ? SEG_BOOLEAN : SEG_NUMERIC;
}

const char *seg_derive_check(const struct seg_schema *s, const struct seg_derived *list, uint32_t i)
{
    const struct seg_derived *d = &list[i];
    const size_t len = strlen(d->name);
    if (len == 0 || len > SEG_NAME_BYTES_MAX) return "its name is empty or too long";
    if (seg_schema_find(s, d->name, len) >= 0) return "a feature has its name";
    for (uint32_t j = 0; j < i; j++)
        if (strcmp(list[j].name, d->name) == 0) return "another one has its name";
    if ((unsigned)d->op >= SEG_DERIVE_OPS) return "the operation is none of the known ones";
    if (d->op == SEG_DERIVE_DAYS_SINCE ? isinf(d->reference) : d->reference != 0)
        return "the reference makes no sense";
    const unsigned n_operands = seg_derive_is_part(d->op) ? 1 : 2;
    unsigned n_timestamps = 0, n_numbers = 0;
    for (unsigned k = 0; k < n_operands; k++) {
        if (d->of[k] >= s->n_features + i) return "an operand does not stand before it";
        const enum seg_type type =
            d->of[k] < s->n_features ? s->features[d->of[k]].type : SEG_NUMERIC;
        n_timestamps += type == SEG_TIMESTAMP;
        n_numbers += type == SEG_NUMERIC;
    }
    if (seg_derive_is_part(d->op) && d->of[1] != 0) return "a part of a date has one operand";
    const bool moments = seg_derive_is_part(d->op) || d->op == SEG_DERIVE_DIFFERENCE;
    const bool numbers = !seg_derive_is_part(d->op);
    if ((moments && n_timestamps == n_operands) || (numbers && n_numbers == n_operands))
        return NULL;
    return "an operand is of another type than the operation takes";
}

/* An operand's values, NaN where it is missing. */
static void operand(const struct seg_schema *s, const float *raw, const float *cells, uint32_t of,
                    double x[N])
{
    const float *from = of < s->n_features ? raw + (size_t)s->features[of].cell * N
                                           : cells + (size_t)(of - s->n_features) * N;
    const double max = (double)SEG_VALUE_MAX;
    for (unsigned r = 0; r < N; r++) {
        const double v = fabsf(from[r]) <= FLT_MAX ? (double)from[r] : (double)NAN;
        x[r] = v < -max ? -max : v > max ? max : v;
    }
}

static void arithmetic(enum seg_derive_op op, const double *restrict a, const double *restrict b,
                       float *restrict out)
{
    const double max = (double)SEG_VALUE_MAX;
    for (unsigned r = 0; r < N; r++) {
        double v = (double)NAN;
        switch (op) {
        case SEG_DERIVE_RATIO: v = b[r] != 0 ? a[r] / b[r] : (double)NAN; break;
        case SEG_DERIVE_DIFFERENCE: v = a[r] - b[r]; break;
        case SEG_DERIVE_SUM: v = a[r] + b[r]; break;
        case SEG_DERIVE_PRODUCT: v = a[r] * b[r]; break;
        default: break;
        }
        out[r] = (float)(v < -max ? -max : v > max ? max : v);
    }
}

static bool moment(const float *cells, unsigned r, struct seg_moment *ret)
{
    return seg_moment_of_cells(cells[r], cells[N + r], ret);
}

/* Days from b to a. */
static void days_between(const float *a, const float *b, float *out)
{
    for (unsigned r = 0; r < N; r++) {
        struct seg_moment x, y;
        const bool known = moment(a, r, &x) && moment(b, r, &y);
        out[r] = known ? (float)seg_moment_difference(&x, &y) : NAN;
    }
}

static double part_of_moment(const struct seg_derived *d, const struct seg_moment *m)
{
    const struct seg_date date = seg_date_of_day(m->day);
    double turn = 0; /* 0 <= turn < 1 */
    switch (d->op) {
    case SEG_DERIVE_YEAR: return (double)date.year;
    case SEG_DERIVE_IS_WEEKEND: return date.weekday >= 5;
    case SEG_DERIVE_DAYS_SINCE: return d->reference - (double)m->day - m->second / SEG_DAY_SECONDS;
    case SEG_DERIVE_MONTH_SIN:
    case SEG_DERIVE_MONTH_COS: turn = (date.month - 1) / 12.0; break;
    case SEG_DERIVE_DAY_OF_MONTH_SIN:
    case SEG_DERIVE_DAY_OF_MONTH_COS: turn = (double)(date.day - 1) / date.month_days; break;
    case SEG_DERIVE_DAY_OF_YEAR_SIN:
    case SEG_DERIVE_DAY_OF_YEAR_COS: turn = (double)(date.day_of_year - 1) / date.year_days; break;
    case SEG_DERIVE_DAY_OF_WEEK_SIN:
    case SEG_DERIVE_DAY_OF_WEEK_COS: turn = date.weekday / 7.0; break;
    case SEG_DERIVE_HOUR_SIN:
    case SEG_DERIVE_HOUR_COS: turn = floor(m->second / 3600) / 24; break;
    default: return (double)NAN;
    }
    const bool cosine = (d->op - SEG_DERIVE_MONTH_SIN) % 2 == 1;
    turn += cosine ? 0.25 : 0;
    return seg_sine_of_turn(turn < 1 ? turn : turn - 1);
}

static void parts(const struct seg_derived *d, const float *at, float *out)
{
    for (unsigned r = 0; r < N; r++) {
        struct seg_moment m;
        out[r] = moment(at, r, &m) ? (float)part_of_moment(d, &m) : NAN;
    }
}

static void derive(const struct seg_schema *s, const struct seg_derived *d, const float *raw,
                   const float *cells, float *out)
{
    const bool feature = d->of[0] < s->n_features;
    const float *first = feature ? raw + (size_t)s->features[d->of[0]].cell * N : NULL;
    if (seg_derive_is_part(d->op)) {
        parts(d, first, out);
    } else if (feature && s->features[d->of[0]].type == SEG_TIMESTAMP) {
        days_between(first, raw + (size_t)s->features[d->of[1]].cell * N, out);
    } else {
        double a[N], b[N];
        operand(s, raw, cells, d->of[0], a);
        operand(s, raw, cells, d->of[1], b);
        arithmetic(d->op, a, b, out);
    }
}

void seg_derive_tile(const struct seg_schema *s, const struct seg_derived *list, uint32_t n,
                     const float *raw, float *cells)
{
    for (uint32_t i = 0; i < n; i++)
        derive(s, &list[i], raw, cells, cells + (size_t)i * N);
}

void seg_derive_column(const struct seg_schema *s, const struct seg_derived *list, uint32_t i,
                       const float *raw, float *cells)
{
    bool needed[SEG_DERIVED_MAX] = { [0] = false };
    needed[i] = true;
    for (uint32_t j = i + 1; j-- > 0;)
        for (unsigned k = 0; k < 2 && needed[j]; k++)
            if (list[j].of[k] >= s->n_features) needed[list[j].of[k] - s->n_features] = true;
    for (uint32_t j = 0; j <= i; j++)
        if (needed[j]) derive(s, &list[j], raw, cells, cells + (size_t)j * N);
}
