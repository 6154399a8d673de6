-- The AMPLIfy auth service, as its document and its models describe it (S2).
CREATE TABLE tokens (
    token_id uuid PRIMARY KEY,
    token_hash varchar(64) NOT NULL UNIQUE,
    name varchar(255) NOT NULL UNIQUE,
    created_at timestamp NOT NULL,
    expires_at timestamp,
    revoked boolean NOT NULL DEFAULT false,
    revoked_at timestamp,
    metadata jsonb
);
CREATE TABLE token_scopes (
    token_id uuid NOT NULL REFERENCES tokens ON DELETE CASCADE,
    scope varchar(255) NOT NULL,
    PRIMARY KEY (token_id, scope)
);
