/* shop.c - 10,000 users drawn from three groups, and their orders of twelve months. Every user has
 * a random stream of its own, so that each table can be written in one pass without keeping
 * anything. On purpose about 2 % of the values are missing and 0.5 % of the users are absurd: an
 * age of 199, 10,000 minutes of browsing. Gender says nothing about the group. */
#include "dev/shop.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include "base/rng.h"

#define SEED          20260101u
#define MISSING_SHARE 0.02
#define ABSURD_SHARE  0.0025     /* of each of the two kinds */
#define WINDOW_END    1767225600 /* 2026-01-01 00:00:00 UTC, in seconds */
#define WINDOW_DAYS   365

static const struct group {
    const char *name;
    double share;
    double age, age_sd;           /* years */
    double browsing, browsing_sd; /* minutes a month */
    double orders;                /* a month */
    double amount;                /* median of an order */
    double female;                /* share of women */
} GROUPS[SHOP_GROUPS] = {
    { "young browsers", 0.40, 24, 3.5, 420, 60, 0.8, 25, 0.51 },
    { "loyal regulars", 0.35, 42, 5.0, 180, 35, 3.5, 60, 0.53 },
    { "occasional elders", 0.25, 67, 6.0, 50, 15, 0.4, 90, 0.49 },
};

static const char TABLES_SQL[] =
    "CREATE SCHEMA shop;"
    "COMMENT ON SCHEMA shop IS 'The sample shop of segmentd dev: made up, the same every time';"
    "CREATE TABLE shop.users ("
    " user_id text COLLATE \"C\" PRIMARY KEY,"
    " age integer,"
    " gender text CHECK (gender IN ('female', 'male')),"
    " browsing_minutes real,"
    " signed_up_at timestamptz NOT NULL);"
    "COMMENT ON TABLE shop.users IS 'Customers; some values are missing or absurd on purpose';"
    "COMMENT ON COLUMN shop.users.browsing_minutes IS 'minutes on the site in a month';"
    "CREATE TABLE shop.orders ("
    " order_id bigint PRIMARY KEY,"
    " user_id text COLLATE \"C\" NOT NULL,"
    " ordered_at timestamptz NOT NULL,"
    " amount numeric(10, 2) NOT NULL);"
    "COMMENT ON TABLE shop.orders IS 'Orders of the year 2025';"
    "CREATE TABLE shop.truth ("
    " user_id text COLLATE \"C\" PRIMARY KEY,"
    " group_number integer NOT NULL,"
    " group_name text NOT NULL);"
    "COMMENT ON TABLE shop.truth IS"
    " 'The group each user was drawn from: what a segmentation should find; never trained on'";

/* After the rows: an index that is built at once is cheaper than one that grows. */
static const char VIEW_SQL[] =
    "CREATE INDEX orders_user ON shop.orders (user_id, ordered_at);"
    "ALTER TABLE shop.orders ADD FOREIGN KEY (user_id) REFERENCES shop.users;"
    "CREATE VIEW shop.user_features AS"
    " SELECT u.user_id"
    "      , u.age"
    "      , u.gender"
    "      , coalesce(o.n, 0)::double precision / 12 AS orders_per_month"
    "      , u.browsing_minutes"
    "   FROM shop.users u"
    "   LEFT JOIN (SELECT user_id, count(*) AS n FROM shop.orders"
    "               WHERE ordered_at >= timestamptz '2025-01-01 00:00:00+00'"
    "                 AND ordered_at <  timestamptz '2026-01-01 00:00:00+00'"
    "               GROUP BY user_id) o USING (user_id);"
    "COMMENT ON VIEW shop.user_features IS"
    " 'One row a user, as segmentd reads it: orders are those of the last twelve months'";

struct shopper {
    unsigned group;
    int age;             /* -1: missing */
    const char *gender;  /* "": missing */
    double browsing;     /* < 0: missing */
    long long signed_up; /* seconds since 1970 */
    unsigned n_orders;   /* in the window */
};

/* Knuth's product of uniforms: enough for means up to about 100. */
static unsigned poisson(struct seg_rng *rng, double mean)
{
    double floor = exp(-mean), product = seg_rng_double(rng);
    unsigned n = 0;
    for (; product > floor; n++)
        product *= seg_rng_double(rng);
    return n;
}

static struct shopper draw(unsigned user)
{
    struct seg_rng rng = seg_rng_make(SEED, 2 * (uint64_t)user);
    struct shopper s = { 0 };
    double u = seg_rng_double(&rng);
    while (s.group + 1 < SHOP_GROUPS && u >= GROUPS[s.group].share)
        u -= GROUPS[s.group++].share;
    const struct group *g = &GROUPS[s.group];
    s.age = (int)fmax(16, round(g->age + g->age_sd * seg_rng_normal(&rng)));
    s.browsing = fmax(1, g->browsing + g->browsing_sd * seg_rng_normal(&rng));
    s.gender = seg_rng_double(&rng) < g->female ? "female" : "male";
    s.n_orders = poisson(&rng, 12 * g->orders);
    s.signed_up = WINDOW_END - 86400LL * (long long)(WINDOW_DAYS + seg_rng_below(&rng, 1000)) -
                  (long long)seg_rng_below(&rng, 86400);
    if (seg_rng_double(&rng) < ABSURD_SHARE) s.age = 199;
    if (seg_rng_double(&rng) < ABSURD_SHARE) s.browsing = 10000;
    if (seg_rng_double(&rng) < MISSING_SHARE) s.age = -1;
    if (seg_rng_double(&rng) < MISSING_SHARE) s.browsing = -1;
    if (seg_rng_double(&rng) < MISSING_SHARE) s.gender = "";
    return s;
}

/* CSV text of a time. */
static void time_text(long long seconds, char out[32])
{
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S+00", &tm);
}

static enum db_status write_user(struct db *db, unsigned user, uint64_t *n_rows)
{
    struct shopper s = draw(user);
    char line[160], age[16] = "", browsing[32] = "", signed_up[32];
    if (s.age >= 0) snprintf(age, sizeof age, "%d", s.age);
    if (s.browsing >= 0) snprintf(browsing, sizeof browsing, "%.1f", s.browsing);
    time_text(s.signed_up, signed_up);
    int len = snprintf(line, sizeof line, "u%05u,%s,%s,%s,%s\n", user, age, s.gender, browsing,
                       signed_up);
    ++*n_rows;
    return db_copy_in_write(db, line, (size_t)len);
}

static enum db_status write_truth(struct db *db, unsigned user, uint64_t *n_rows)
{
    struct shopper s = draw(user);
    char line[96];
    int len = snprintf(line, sizeof line, "u%05u,%u,%s\n", user, s.group + 1, GROUPS[s.group].name);
    ++*n_rows;
    return db_copy_in_write(db, line, (size_t)len);
}

static enum db_status write_orders(struct db *db, unsigned user, uint64_t *n_rows)
{
    struct shopper s = draw(user);
    struct seg_rng rng = seg_rng_make(SEED, 2 * (uint64_t)user + 1);
    enum db_status st = DB_ONE;
    for (unsigned i = 0; i < s.n_orders && st == DB_ONE; i++) {
        char line[96], ordered[32];
        time_text(WINDOW_END - 1 - (long long)seg_rng_below(&rng, 86400ULL * WINDOW_DAYS), ordered);
        double amount = GROUPS[s.group].amount * exp(0.5 * seg_rng_normal(&rng));
        int len = snprintf(line, sizeof line, "%llu,u%05u,%s,%.2f\n", (unsigned long long)++*n_rows,
                           user, ordered, amount);
        st = db_copy_in_write(db, line, (size_t)len);
    }
    return st;
}

typedef enum db_status (*write_fn)(struct db *db, unsigned user, uint64_t *n_rows);

static enum db_status fill(struct db *db, const char *copy_sql, write_fn write)
{
    uint64_t n_rows = 0;
    enum db_status st = db_copy_in_begin(db, copy_sql);
    for (unsigned user = 1; st == DB_ONE && user <= SHOP_USERS; user++)
        st = write(db, user, &n_rows);
    if (st != DB_ONE) {
        db_copy_in_abort(db);
        return st;
    }
    return db_copy_in_end(db, &n_rows);
}

static bool ok(enum db_status st)
{
    return st == DB_ONE || st == DB_NONE;
}

static enum db_status make(struct db *db, void *ctx)
{
    (void)ctx;
    enum db_status st = db_exec_sql(db, TABLES_SQL, NULL, 0, NULL);
    if (ok(st)) st = fill(db, "COPY shop.users FROM STDIN (FORMAT csv)", write_user);
    if (ok(st)) st = fill(db, "COPY shop.truth FROM STDIN (FORMAT csv)", write_truth);
    if (ok(st)) st = fill(db, "COPY shop.orders FROM STDIN (FORMAT csv)", write_orders);
    if (ok(st)) st = db_exec_sql(db, VIEW_SQL, NULL, 0, NULL);
    if (ok(st)) st = db_exec_sql(db, "ANALYZE shop.users, shop.orders, shop.truth", NULL, 0, NULL);
    return st;
}

enum db_status shop_load(struct db *db)
{
    enum db_status st =
        db_exec_sql(db, "SELECT 1 FROM pg_namespace WHERE nspname = 'shop'", NULL, 0, NULL);
    if (st == DB_ONE) return DB_NONE;
    if (st != DB_NONE) return st;
    st = db_tx_run(db, "sample shop", make, NULL);
    return ok(st) ? DB_ONE : st;
}
