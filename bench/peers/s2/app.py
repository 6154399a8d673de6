"""The read path of the old token service as documented (S2-15 to S2-37), as a minimal FastAPI application.

SHA-256 of the token; in Redis first the set of revoked tokens, then the cached token with its scopes joined by commas;
PostgreSQL on a miss. Runs in an environment of its own, imports nothing of idp, and prints one line, READY and what may
be asked of it, before it serves (see bench/peers/__init__.py).
"""

import asyncio
import hashlib
import json
import os
import secrets
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis

CACHE_SECONDS = 1800  # TOKEN_CACHE_TTL's default (S2-33)
SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    token_id uuid PRIMARY KEY, token_hash text UNIQUE NOT NULL, name text UNIQUE NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(), expires_at timestamp, revoked boolean NOT NULL DEFAULT false,
    revoked_at timestamp, metadata jsonb NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS token_scopes (
    token_id uuid NOT NULL REFERENCES tokens, scope text NOT NULL, PRIMARY KEY (token_id, scope));
"""
LOOKUP = """
SELECT t.token_id, t.name, t.revoked, t.expires_at, array_agg(s.scope ORDER BY s.scope) AS scopes
  FROM tokens t JOIN token_scopes s USING (token_id) WHERE t.token_hash = $1
 GROUP BY t.token_id
"""


class ValidateRequest(BaseModel):
    token: str
    required_scopes: list[str] = []
    service_name: str | None = None
    action_name: str | None = None


class ValidateResponse(BaseModel):
    valid: bool
    scopes: list[str] = []
    token_id: str | None = None
    name: str | None = None
    error: str | None = None
    detail: str | None = None


def refusal(code: str, detail: str) -> ValidateResponse:
    return ValidateResponse(valid=False, error=code, detail=detail)


redis = Redis.from_url(os.environ["VALKEY_URL"].replace("valkey:", "redis:", 1), decode_responses=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=10)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


@app.post("/auth/validate")
async def validate(request: ValidateRequest) -> ValidateResponse:
    digest = hashlib.sha256(request.token.encode()).hexdigest()
    if await redis.sismember("revoked_tokens", digest):
        return refusal("token_revoked", "Token has been revoked")
    token = await redis.hgetall(f"token:{digest}") or await load(digest)
    if token is None:
        return refusal("token_not_found", "Invalid token")
    scopes = token["scopes"].split(",")
    missing = [scope for scope in request.required_scopes if scope not in scopes]
    if missing:
        return refusal("insufficient_scopes", f"Missing scopes: {missing}")
    return ValidateResponse(valid=True, scopes=scopes, token_id=token["token_id"], name=token["name"])


async def load(digest: str) -> dict[str, str] | None:
    """Read a token from PostgreSQL and cache it in Redis."""
    row = await app.state.pool.fetchrow(LOOKUP, digest)
    if row is None or row["revoked"]:
        return None
    token = {"token_id": str(row["token_id"]), "name": row["name"], "scopes": ",".join(row["scopes"])}
    await redis.hset(f"token:{digest}", mapping=token)
    await redis.expire(f"token:{digest}", CACHE_SECONDS)
    return token


async def make_token() -> str:
    token = "amp_live_" + secrets.token_urlsafe(32)
    token_id = uuid.uuid4()
    digest = hashlib.sha256(token.encode()).hexdigest()
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute(SCHEMA)
    await connection.execute(
        "INSERT INTO tokens (token_id, token_hash, name) VALUES ($1, $2, 'bench')", token_id, digest
    )
    for scope in ("read", "write"):
        await connection.execute("INSERT INTO token_scopes VALUES ($1, $2)", token_id, scope)
    await connection.close()
    return token


def main() -> None:
    request = {
        "method": "POST",
        "path": "/auth/validate",
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"token": asyncio.run(make_token()), "required_scopes": ["read"]}),
        "expect": {"valid": True},
    }
    print("READY", json.dumps({"requests": {"validate": request}}), flush=True)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )


if __name__ == "__main__":
    main()
