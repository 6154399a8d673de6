"""Keys that S0 stored as bcrypt (C-03): verified at their first use, and stored like ours from then on."""

import uuid

import bcrypt

from factories import Service

SECRET = "sk_live_8374" + "aB3" * 12
INSERT = """
INSERT INTO idp.api_keys (id, kind, user_id, name, prefix, digest, scheme, scopes, metadata, created_at, created_by)
VALUES ($1, 'user_key', $2, 'imported', $3, $4, 'bcrypt', '{ingest:write}', '{}', now(), 'import')
"""


async def stored(service: Service, row_id: uuid.UUID) -> tuple[str, str]:
    ((scheme, digest),) = await service.sql("SELECT scheme, digest FROM idp.api_keys WHERE id = $1", row_id)
    return scheme, digest


async def test_an_imported_bcrypt_key_works_and_is_replaced_by_a_digest_at_its_first_use(service: Service) -> None:
    """S0-06 S0-36 S0-37 S0-41 C-03: S0 kept the first seven characters, the same for every key."""
    person, row_id, other = await service.register(), uuid.uuid4(), uuid.uuid4()
    for each, secret in ((other, SECRET + "x"), (row_id, SECRET)):
        hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
        await service.sql(INSERT, each, person.id, secret[:7], hashed)
    (middleware,) = service.app.litestar.middleware
    middleware.introspector._resolver._imported._looked = float("-inf")  # type: ignore[union-attr]  else within a minute
    verdict = await service.validate(SECRET)
    assert (verdict["valid"], verdict["scopes"], verdict["user"]["id"]) == (True, ["ingest:write"], person.id)
    assert (await service.validate("sk_live_8374" + "zZ9" * 12))["error"] == "token_not_found"

    await service.app.parts.usage.flush()
    scheme, digest = await stored(service, row_id)
    assert (scheme, len(digest)) == ("hmac", 64)
    assert (await stored(service, other))[0] == "bcrypt", "nobody has used that one"
    await service.app.parts.ear.settle()
    assert (await service.validate(SECRET))["valid"]

    await service.sql("UPDATE idp.api_keys SET revoked_at = now() WHERE user_id = $1", person.id)
    assert (await service.validate(SECRET))["error"] == "token_revoked"
