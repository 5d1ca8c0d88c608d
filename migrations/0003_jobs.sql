-- migrate:up
CREATE TABLE jobs (
    id               uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    kind             text        NOT NULL CHECK (kind IN ('train', 'label')),
    state            text        NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'cancelling', 'cancelled', 'succeeded', 'failed')),
    model            text        NOT NULL,
    feature_set      text        NOT NULL,
    spec             json        NOT NULL,
    progress         real        NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    phase            text        NOT NULL DEFAULT 'queued',
    message          text        NOT NULL DEFAULT '',
    version          integer,
    attempt          integer     NOT NULL DEFAULT 0,
    attempt_limit    integer     NOT NULL,
    worker           text,
    lease_until      timestamptz,
    idempotency_key  text        UNIQUE,
    request_sha256   text,
    warnings         jsonb       NOT NULL DEFAULT '[]',
    error            jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK ((state IN ('running', 'cancelling')) = (lease_until IS NOT NULL))
);
CREATE INDEX jobs_open ON jobs (created_at) WHERE state IN ('queued', 'running', 'cancelling');
CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC);
COMMENT ON TABLE jobs IS 'Long work: queued, claimed under a lease, finished once';
COMMENT ON COLUMN jobs.spec IS 'train: the complete spec; label: {"version": n}';
COMMENT ON COLUMN jobs.version IS 'train: the version made, set on success; label: the version used';
COMMENT ON COLUMN jobs.attempt IS 'counts claims; every write of a runner names the attempt it holds, so that a runner that lost its lease changes nothing';
COMMENT ON COLUMN jobs.attempt_limit IS 'the job fails for good when attempt has reached it and the lease is lost again; a retry raises it';
COMMENT ON COLUMN jobs.worker IS 'host:pid that claimed it last';
COMMENT ON COLUMN jobs.lease_until IS 'the runner renews it; past it another runner may claim the job';
COMMENT ON COLUMN jobs.request_sha256 IS 'of the request that the idempotency key came with';
COMMENT ON COLUMN jobs.error IS 'a problem object when failed';
