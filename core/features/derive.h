/* derive.h - numbers computed from a row's own raw cells, before anything is imputed.
 *
 * A derived column is missing where an operand is, and where a ratio would divide by zero; what
 * goes beyond +-1e30 is clipped to it, so that nothing is ever infinite. Operands of arithmetic are
 * numeric features and derived columns that stand earlier; a difference also takes two timestamps
 * and is then in days. Numbers are taken as the steps of a numeric column take them: not finite is
 * missing.
 *
 * Parts of a date have one timestamp for operand. Those that go round come as a point on a circle,
 * sine and cosine of the turn, so that 23 h is next to 0 h: month ((month - 1) / 12 of a turn), day
 * of the month ((day - 1) / days of that month), day of the year ((day - 1) / days of that year),
 * day of the week (Monday 0, / 7), hour (whole hours / 24). Pure functions, no allocation. */
#ifndef SEG_FEATURES_DERIVE_H
#define SEG_FEATURES_DERIVE_H

#include <stdbool.h>
#include "features/schema.h"

#define SEG_DERIVED_MAX 256u

enum seg_derive_op {
    SEG_DERIVE_RATIO,      /* a / b */
    SEG_DERIVE_DIFFERENCE, /* a - b */
    SEG_DERIVE_SUM,        /* a + b */
    SEG_DERIVE_PRODUCT,    /* a b */
    SEG_DERIVE_YEAR,       /* the first of the parts */
    SEG_DERIVE_IS_WEEKEND, /* 1 on Saturday and Sunday */
    SEG_DERIVE_DAYS_SINCE, /* days from the timestamp to `reference` */
    SEG_DERIVE_MONTH_SIN,  /* the first of those on a circle; a cosine follows its sine */
    SEG_DERIVE_MONTH_COS,
    SEG_DERIVE_DAY_OF_MONTH_SIN,
    SEG_DERIVE_DAY_OF_MONTH_COS,
    SEG_DERIVE_DAY_OF_YEAR_SIN,
    SEG_DERIVE_DAY_OF_YEAR_COS,
    SEG_DERIVE_DAY_OF_WEEK_SIN,
    SEG_DERIVE_DAY_OF_WEEK_COS,
    SEG_DERIVE_HOUR_SIN,
    SEG_DERIVE_HOUR_COS,
    SEG_DERIVE_OPS
};

struct seg_derived {
    char *name;
    enum seg_derive_op op;
    uint32_t of[2];   /* operands: i below the number of features is a feature, else derived column
                         i - n_features. A part has one, and of[1] is 0 */
    double reference; /* days_since: days since 2000-01-01; NaN: the latest moment of the training
                         part, which fitting fills in. Else 0 */
};

/* Whether op is a part of a date; whether it is one that goes round. */
static inline bool seg_derive_is_part(enum seg_derive_op op)
{
    return op >= SEG_DERIVE_YEAR;
}
static inline bool seg_derive_is_cyclic(enum seg_derive_op op)
{
    return op >= SEG_DERIVE_MONTH_SIN;
}
/* SEG_BOOLEAN for is_weekend, else SEG_NUMERIC. */
enum seg_type seg_derive_type(enum seg_derive_op op);
/* NULL if column i of list makes sense over the features of s and the columns before it, else the
 * reason why not: its name is taken, an operand is none, of another type, or stands later. */
const char *seg_derive_check(const struct seg_schema *s, const struct seg_derived *list,
                             uint32_t i);

/* The first n columns of list, of one raw tile (s->n_cells, 64) into cells (n, 64). */
void seg_derive_tile(const struct seg_schema *s, const struct seg_derived *list, uint32_t n,
                     const float *raw, float *cells);
/* The same for column i and what it needs alone; cells (i + 1, 64). */
void seg_derive_column(const struct seg_schema *s, const struct seg_derived *list, uint32_t i,
                       const float *raw, float *cells);

#endif
