-- The FastAPI auth service (S4-31, S4-32).
CREATE TABLE users (
    id uuid PRIMARY KEY,
    login_type varchar(20) NOT NULL DEFAULT 'email',
    phone varchar(20),
    email varchar(255) UNIQUE,
    password_hash varchar(255),
    is_active boolean NOT NULL DEFAULT false,
    blocked_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE email_verifications (
    id serial PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token varchar(255) NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL,
    used boolean NOT NULL DEFAULT false
);
CREATE TABLE password_resets (LIKE email_verifications INCLUDING ALL);
CREATE TABLE refresh_tokens (id serial PRIMARY KEY, user_id uuid NOT NULL REFERENCES users, token text NOT NULL);
