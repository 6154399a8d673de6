-- The Anomalyze auth service, made by Prisma (S0-05, S0-32 to S0-41, S1-02).
CREATE TYPE "Role" AS ENUM ('USER', 'ADMIN');
CREATE TABLE users (
    id text PRIMARY KEY,
    email text NOT NULL,
    name text,
    role "Role" NOT NULL DEFAULT 'USER',
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL
);
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE TABLE subscriptions (id text PRIMARY KEY, "userId" text NOT NULL REFERENCES users, plan text NOT NULL, status text NOT NULL);
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    "userId" text NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    "keyPrefix" text NOT NULL,
    "keyHash" text NOT NULL,
    scopes text[],
    "lastUsedAt" timestamp(3),
    "expiresAt" timestamp(3),
    "isRevoked" boolean NOT NULL DEFAULT false,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE audit_logs (
    id text PRIMARY KEY,
    "userId" text,
    action text NOT NULL,
    details jsonb,
    "ipAddress" text,
    "userAgent" text,
    "timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
