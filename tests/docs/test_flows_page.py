"""The pages of requests, as a reader follows them: every block is run, and every answer is compared."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pytest

from factories import Service, running
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey

DOCS = Path(__file__).resolve().parents[2] / "docs"
GRACE = 3  # seconds, so that nobody has to wait for eleven
FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_END = "--- end of block ---"
_LIMITS = {
    "IDP_TOKENS__REFRESH_GRACE_SECONDS": str(GRACE),
    "IDP_RATE_LIMITS__FAILED_LOGINS_PER_ADDRESS": "100",
    "IDP_RATE_LIMITS__REGISTRATIONS_PER_ADDRESS_PER_HOUR": "100",
    "IDP_RATE_LIMITS__RESETS_PER_ADDRESS_PER_HOUR": "50",
    "IDP_RATE_LIMITS__VERIFICATIONS_PER_ADDRESS_PER_HOUR": "50",
}


@dataclass
class Block:
    """What a reader pastes, and what the page says that they see."""

    commands: str
    shown: str

    @property
    def expected(self) -> list[str]:
        """Answers that are shown on several lines go on where a line is indented."""
        lines: list[str] = []
        for line in self.shown.splitlines():
            if line.startswith(" "):
                lines[-1] += line.strip()
            else:
                lines.append(line.rstrip())
        return lines


def blocks(page: str) -> list[Block]:
    return [Block(commands, shown) for kind, commands, shown in FENCE.findall(page) if kind == "sh"]


def fits(shown: str, real: str) -> bool:
    """Whether a line is what the page shows; `…` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), real) is not None


async def follow(page: str, base_url: str) -> list[list[str]]:
    """Paste every block into one shell, and return what each printed."""
    text = page.replace("IDP=http://localhost:8000", f"IDP={base_url}").replace("sleep 11", f"sleep {GRACE + 0.5}")
    script = "exec 2>&1\n" + "".join(f"{block.commands}\necho; echo '{_END}'\n" for block in blocks(text))
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(shell.communicate(), 60)
    parts = output.decode().replace("\r", "").split(f"{_END}\n")[:-1]
    return [[line.rstrip() for line in part.splitlines() if line.strip()] for part in parts]


@pytest.fixture(scope="module")
async def at_home(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[Service]:
    """A service as `script/dev` runs it, with Ada as its administrator."""
    url = postgres.create_database("flows_page")
    async with running(url, valkey_url=valkey.url, environ=_LIMITS) as service:
        ada = await service.register("ada@example.com", name="Ada Admin")
        await service.sql("INSERT INTO idp.user_roles (user_id, role) VALUES ($1, 'admin')", ada.id)
        yield service


@pytest.mark.parametrize("name", ["flows.md", "sessions.md", "integrate/curl.md"])
async def test_every_request_of_the_page_is_answered_as_it_says(at_home: Service, name: str) -> None:
    """S4-01 S4-05 S4-06 C-08: the documented requests, in order, against the real service."""
    page = (DOCS / name).read_text("utf-8")
    seen = await follow(page, at_home.base_url)
    expected = blocks(page)
    assert len(seen) == len(expected) > 7
    for block, lines in zip(expected, seen, strict=True):
        for shown, real in zip_longest(block.expected, lines, fillvalue=""):
            if not fits(shown, real):
                pytest.fail(f"{block.commands}\nthe page says     {shown}\nthe service said  {real}", pytrace=False)


def test_a_wrong_answer_is_noticed() -> None:
    """The comparison above is worth something."""
    assert fits('200 {"message":"…","user":{…}}', '200 {"message":"Login successful","user":{"id":"1"}}')
    assert not fits('200 {"message":"…"}', '401 {"message":"Login successful"}')
    assert not fits('200 {"message":"…"}', '200 {"message":"Login successful","more":1}')
    assert Block("", '200 {"a":1,\n     "b":2}\n401 {…}\n').expected == ['200 {"a":1,"b":2}', "401 {…}"]
