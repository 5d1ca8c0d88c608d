-- migrate:up
CREATE TABLE label_runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id     bigint      NOT NULL REFERENCES models ON DELETE CASCADE,
    version      integer     NOT NULL,
    job_id       uuid        NOT NULL UNIQUE,
    n_users      bigint      NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (model_id, version) REFERENCES model_versions ON DELETE CASCADE
);
CREATE INDEX label_runs_model ON label_runs (model_id, id);
COMMENT ON TABLE label_runs IS 'One scoring of a whole feature set. Its labels stand in table labels_<id>, a partition of labels; both appear in the commit that publishes the run';
COMMENT ON COLUMN label_runs.job_id IS 'UNIQUE, so that a job taken up twice can publish once only';

CREATE TABLE labels (
    run_id     bigint  NOT NULL,
    user_id    text    COLLATE "C" NOT NULL,
    result     integer NOT NULL,
    confidence real    NOT NULL,
    distance   real    NOT NULL
) PARTITION BY LIST (run_id);
COMMENT ON TABLE labels IS 'What each user got in each kept run; written by COPY into labels_<run_id>, which is attached in the same transaction';
COMMENT ON COLUMN labels.result IS 'segment id (1..), or class index (0..) for classification; -1 when the row had too few features';
COMMENT ON COLUMN labels.distance IS 'Euclidean distance to the segment''s centroid in the model''s space; NaN for classification and for -1';

CREATE TABLE label_current (
    model_id bigint PRIMARY KEY REFERENCES models ON DELETE CASCADE,
    run_id   bigint NOT NULL REFERENCES label_runs
);
COMMENT ON TABLE label_current IS 'The run that readers see: publishing is one update of one row';

CREATE TABLE segment_profiles (
    run_id  bigint  NOT NULL REFERENCES label_runs ON DELETE CASCADE,
    segment integer NOT NULL,
    size    bigint  NOT NULL,
    share   double precision NOT NULL,
    profile json    NOT NULL,
    PRIMARY KEY (run_id, segment)
);
COMMENT ON TABLE segment_profiles IS 'What each segment looks like in one run, as the API serves it';
