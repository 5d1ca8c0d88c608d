-- migrate:up
ALTER TABLE feature_sets ADD COLUMN left_out jsonb CHECK (jsonb_typeof(left_out) = 'array');
COMMENT ON COLUMN feature_sets.left_out IS '[{"name", "sql_type", "detail"}]: columns of the relation that cannot be features, and why; [] when the columns were chosen by name; NULL for managed sets, and for relations named before this was kept';
