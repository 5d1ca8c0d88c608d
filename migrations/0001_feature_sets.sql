-- migrate:up
CREATE TABLE feature_sets (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    kind       text        NOT NULL CHECK (kind IN ('relation', 'managed')),
    relation   text,
    id_column  text,
    columns    jsonb       NOT NULL CHECK (jsonb_typeof(columns) = 'array'),
    numbered   boolean     NOT NULL DEFAULT false,
    n_rows     bigint      NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'relation') = (relation IS NOT NULL)),
    CHECK (kind = 'managed' OR id_column IS NOT NULL)
);
COMMENT ON TABLE feature_sets IS 'Where user features come from: a relation of the user''s own, which is only read, or a table fs_<id> of ours';
COMMENT ON COLUMN feature_sets.relation IS 'schema.name of the user''s table or view, as validated; NULL for managed sets';
COMMENT ON COLUMN feature_sets.id_column IS 'column of the relation that holds the user id; for managed sets the imported column it came from, NULL when rows are numbered';
COMMENT ON COLUMN feature_sets.columns IS '[{"name", "type", "column", "sql_type", "width"?}]: the feature''s name, our type, the SQL column that holds it (c1, c2 … in a managed table)';
COMMENT ON COLUMN feature_sets.numbered IS 'rows were imported without an id column and are numbered 1, 2, …';
COMMENT ON COLUMN feature_sets.n_rows IS 'rows of a managed set, kept by the import; 0 for relations, which are counted when asked';
