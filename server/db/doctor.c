/* The auditor's questions. They are asked of a database that may be in any state, so they are not
 * prepared with the service's statements. */
#include "db/doctor.h"

/* clang-format off */
/* Labels of each published run, counted. */
#define COUNTED                                                                                    \
    "WITH counted AS (SELECT run_id, result, count(*) AS n FROM labels GROUP BY run_id, result) "

const struct doctor_check DOCTOR_CHECKS[] = {
    { "every published label run has its table",
      "SELECT format('label run %s of model %s: its table is missing or not attached', r.id, m.name)"
      "  FROM label_runs r"
      "  JOIN models m ON m.id = r.model_id"
      " WHERE NOT EXISTS (SELECT FROM pg_inherits i"
      "                    WHERE i.inhparent = 'labels'::regclass"
      "                      AND i.inhrelid = to_regclass('labels_' || r.id))" },
    { "every label table belongs to a published run",
      "SELECT format('table %s belongs to no label run', c.relname)"
      "  FROM pg_class c"
      " WHERE c.relnamespace = current_schema()::regnamespace"
      "   AND c.relkind = 'r'"
      "   AND c.relname ~ '^labels_[0-9]+$'"
      "   AND NOT EXISTS (SELECT FROM label_runs r WHERE 'labels_' || r.id = c.relname)" },
    { "every published label run has one row for each of its users",
      COUNTED
      "SELECT format('label run %s of model %s has %s rows and says %s', r.id, m.name"
      "            , coalesce(sum(c.n), 0), r.n_users)"
      "  FROM label_runs r"
      "  JOIN models m ON m.id = r.model_id"
      "  LEFT JOIN counted c ON c.run_id = r.id"
      " GROUP BY r.id, m.name, r.n_users"
      " HAVING coalesce(sum(c.n), 0) <> r.n_users" },
    { "no label run names a user twice",
      "SELECT format('label run %s has a user %s times', run_id, count(*))"
      "  FROM labels"
      " GROUP BY run_id, user_id"
      " HAVING count(*) > 1"
      " LIMIT 100" },
    { "segment sizes are the labels counted",
      COUNTED
      "SELECT format('label run %s, segment %s: the profile says %s users, the labels %s'"
      "            , coalesce(p.run_id, c.run_id), coalesce(p.segment, c.result)"
      "            , coalesce(p.size, 0), coalesce(c.n, 0))"
      "  FROM (SELECT c.run_id, c.result, c.n"
      "          FROM counted c"
      "          JOIN label_runs r ON r.id = c.run_id"
      "          JOIN models m ON m.id = r.model_id"
      "         WHERE m.task = 'segmentation' AND c.result >= 1) c"
      "  FULL JOIN segment_profiles p ON p.run_id = c.run_id AND p.segment = c.result"
      " WHERE coalesce(p.size, 0) <> coalesce(c.n, 0)" },
    { "the current label run of a model is a run of that model",
      "SELECT format('model %s: its current label run %s is another model''s', m.name, r.id)"
      "  FROM label_current u"
      "  JOIN models m ON m.id = u.model_id"
      "  JOIN label_runs r ON r.id = u.run_id"
      " WHERE r.model_id <> u.model_id" },
    { "model bytes have the SHA-256 they were stored with",
      "SELECT format('model %s version %s: the stored bytes were changed', m.name, v.version)"
      "  FROM model_versions v"
      "  JOIN models m ON m.id = v.model_id"
      " WHERE encode(sha256(v.artifact), 'hex') <> v.artifact_sha256" },
    { "no version is above the last that was given",
      "SELECT format('model %s: version %s is above the last given, %s', m.name, v.version"
      "            , m.last_version)"
      "  FROM model_versions v"
      "  JOIN models m ON m.id = v.model_id"
      " WHERE v.version > m.last_version" },
    { "what a job published, the job says",
      "SELECT format('job %s made model %s version %s and is %s', j.id, m.name, v.version, j.state)"
      "  FROM model_versions v"
      "  JOIN models m ON m.id = v.model_id"
      "  JOIN jobs j ON j.id = v.job_id"
      " WHERE j.state <> 'succeeded'"
      "    OR j.version IS DISTINCT FROM v.version"
      " UNION ALL "
      "SELECT format('job %s published label run %s and is %s', j.id, r.id, j.state)"
      "  FROM label_runs r"
      "  JOIN jobs j ON j.id = r.job_id"
      " WHERE j.state <> 'succeeded'" },
    { "a job has a lease while it runs, and only then",
      "SELECT format('job %s is %s and %s a lease', id, state"
      "            , CASE WHEN lease_until IS NULL THEN 'lacks' ELSE 'has' END)"
      "  FROM jobs"
      " WHERE (state IN ('running', 'cancelling')) <> (lease_until IS NOT NULL)"
      " UNION ALL "
      "SELECT format('job %s is %s, held by nobody', id, state)"
      "  FROM jobs"
      " WHERE state IN ('running', 'cancelling') AND worker IS NULL" },
};
/* clang-format on */
const size_t N_DOCTOR_CHECKS = sizeof DOCTOR_CHECKS / sizeof DOCTOR_CHECKS[0];

enum db_status db_doctor_ask(struct db *db, const struct doctor_check *check,
                             struct db_result **ret)
{
    return db_exec_sql(db, check->sql, NULL, 0, ret);
}
