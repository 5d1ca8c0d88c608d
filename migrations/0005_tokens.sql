-- migrate:up
CREATE TABLE tokens (
    id         text        PRIMARY KEY CHECK (id ~ '^[0-9a-z]{8}$'),
    sha256     bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    name       text        NOT NULL,
    scope      text        NOT NULL CHECK (scope IN ('read', 'score', 'train', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TABLE tokens IS 'Bearer tokens sgd_<id>_<secret>: only the SHA-256 of the secret is kept';
