"""The Python client against the vectors that clients of other languages are tested with, too."""

import json

import pytest

from client.access_token_vectors import token_vectors
from client.client_support import Reply, answering
from idp_client import JwksCache, OfflineVerifier, TokenRejected
from idp_client.errors import NotOurs
from signing.forgery import json_bytes
from table_tests import table


async def test_every_vector_has_its_verdict() -> None:
    """SEC-20 to SEC-28: after a trip through JSON, as another language reads them."""
    for group in json.loads(json.dumps(token_vectors())):
        with answering(lambda _, group=group: Reply(body=json_bytes(group["jwks"]))) as server, table() as row:
            keys = JwksCache(server.url)
            verifier = OfflineVerifier(group["issuer"], group["audience"], keys=keys, leeway=group["leeway"])
            for vector in group["tokens"]:
                with row(f"{group['name']}: {vector['name']}"):
                    await check(verifier, vector)


async def check(verifier: OfflineVerifier, vector: dict[str, str | None]) -> None:
    assert vector["token"] is not None
    if vector["code"] is None:
        caller = await verifier.verify(vector["token"])
        assert (caller.user.id if caller.user else caller.name) == vector["subject"]
        return
    with pytest.raises(TokenRejected) as refusal:
        await verifier.verify(vector["token"])
    assert refusal.value.code == vector["code"], refusal.value.reason
    assert not isinstance(refusal.value, NotOurs) or vector["foreign"]
