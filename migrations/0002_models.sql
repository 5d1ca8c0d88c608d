-- migrate:up
CREATE TABLE models (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text        NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    task         text        NOT NULL CHECK (task IN ('segmentation', 'classification')),
    last_version integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE models IS 'A name under which versions are trained';
COMMENT ON COLUMN models.last_version IS 'highest version ever given, so that a deleted one is never used again';

CREATE TABLE model_versions (
    model_id        bigint      NOT NULL REFERENCES models ON DELETE CASCADE,
    version         integer     NOT NULL CHECK (version >= 1),
    job_id          uuid        NOT NULL UNIQUE,
    feature_set     text        NOT NULL,
    algorithm       text        NOT NULL,
    spec            json       NOT NULL,
    metrics         json       NOT NULL,
    curve           json       NOT NULL,
    data            json       NOT NULL,
    duration_ms     json       NOT NULL,
    k_search        json,
    warnings        json       NOT NULL DEFAULT '[]',
    projection      json       NOT NULL,
    artifact        bytea       NOT NULL,
    artifact_sha256 text        NOT NULL CHECK (artifact_sha256 ~ '^[0-9a-f]{64}$'),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, version)
);
ALTER TABLE model_versions ALTER COLUMN artifact SET STORAGE EXTERNAL;
COMMENT ON TABLE model_versions IS 'What a training job made; never changed afterwards';
COMMENT ON COLUMN model_versions.job_id IS 'the train job that made it: UNIQUE, so that a job taken up twice can publish once only';
COMMENT ON COLUMN model_versions.feature_set IS 'name of the feature set it was trained on; the set may be gone';
COMMENT ON COLUMN model_versions.spec IS 'the complete training spec, every default filled in';
COMMENT ON COLUMN model_versions.data IS '{"rows", "columns", "hash"}: what it was trained on';
COMMENT ON COLUMN model_versions.artifact IS 'the model as safetensors';

CREATE TABLE model_aliases (
    model_id   bigint      NOT NULL REFERENCES models ON DELETE CASCADE,
    alias      text        NOT NULL CHECK (alias ~ '^[a-z][a-z0-9_-]{0,62}$'),
    version    integer     NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, alias),
    FOREIGN KEY (model_id, version) REFERENCES model_versions
);
COMMENT ON TABLE model_aliases IS 'Names of versions; champion serves when no version is asked for';

CREATE TABLE segments (
    model_id    bigint  NOT NULL REFERENCES models ON DELETE CASCADE,
    segment     integer NOT NULL CHECK (segment >= 1),
    name        text    NOT NULL,
    description text    NOT NULL,
    named_by    text    NOT NULL DEFAULT 'system' CHECK (named_by IN ('system', 'person')),
    PRIMARY KEY (model_id, segment)
);
COMMENT ON TABLE segments IS 'Names of a model''s segments; what a person wrote survives retraining';
