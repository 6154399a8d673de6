-- The PromptStack auth service (S3-09 to S3-13).
CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text,
    password_hash text,
    avatar_url text,
    created_at timestamp NOT NULL DEFAULT now()
);
CREATE TABLE teams (id uuid PRIMARY KEY, name text NOT NULL UNIQUE, external_ref text, is_active boolean NOT NULL DEFAULT true);
CREATE TABLE team_memberships (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    team_id uuid NOT NULL REFERENCES teams ON DELETE CASCADE,
    role text,
    UNIQUE (user_id, team_id)
);
CREATE TABLE domains (
    id uuid PRIMARY KEY,
    key text NOT NULL UNIQUE,
    name text NOT NULL,
    parent_domain_id uuid REFERENCES domains,
    is_active boolean NOT NULL DEFAULT true
);
CREATE TABLE user_domains (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    domain_id uuid NOT NULL REFERENCES domains ON DELETE CASCADE,
    UNIQUE (user_id, domain_id)
);
CREATE TABLE prompts (id uuid PRIMARY KEY, owner_id uuid NOT NULL REFERENCES users);
