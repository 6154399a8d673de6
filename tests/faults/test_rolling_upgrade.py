"""An upgrade under load: migration, then each process in turn; no request that was accepted is lost."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from cli.support import IDP, PLAIN, ROOT, get
from factories import PASSWORD
from faults.cluster_support import running_cluster
from faults.load_support import load_on
from faults.nodes_support import Cluster, Node
from faults.reliability_support import Row, seen
from idp.db.migrate import head

pytestmark = pytest.mark.alone

TITLE = "An upgrade, process by process"
_NEXT = f"{int(head()) + 1:04}"
_MIGRATION = f'''
"""The next version's column and index, which this version does not know."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{_NEXT}", "{head()}", None, None


def upgrade() -> None:
    op.add_column("users", sa.Column("nickname", sa.Text(), nullable=True), schema="idp")
    op.create_index("ix_users_nickname", "users", ["nickname"], schema="idp")
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three production processes of this version."""
    with running_cluster(tmp_path_factory.mktemp("upgraded")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def next_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree with another version number and one more migration."""
    tree = tmp_path_factory.mktemp("next")
    for name in ("src", "config", "db"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    package = tree / "src/idp/__init__.py"
    package.write_text(package.read_text().replace("__version__ = ", '__version__ = "next-" + '))
    (tree / f"db/migrations/versions/{_NEXT}_next_version.py").write_text(_MIGRATION)
    return tree


def migrate(cluster: Cluster, tree: Path) -> None:
    environ = PLAIN | cluster.environ | {"PYTHONPATH": str(tree / "src"), "IDP_CONFIG_DIR": str(tree / "config")}
    done = subprocess.run([*IDP, "migrate"], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert cluster.sql("SELECT version_num FROM idp.alembic_version")[0][0] == _NEXT


def version(node: Node) -> str:
    return str(get(f"{node.base_url}/health").json["version"])


def test_an_upgrade_under_load_loses_no_request_that_was_accepted(
    cluster: Cluster, next_version: Path, record_property: Callable[[str, object], None]
) -> None:
    """The old version works on the newer schema, both versions work side by side, and it can be undone."""
    old = list(cluster.nodes)
    new = [Node(cluster.folder / f"next{number}", cluster.environ, tree=next_version) for number in range(3)]
    with ExitStack() as stack, load_on(cluster) as load:
        migrate(cluster, next_version)
        time.sleep(1)
        for number, replacement in enumerate(new):
            stack.callback(replacement.clean_up)
            cluster.loop.run(load.move(number, replacement.start().wait().base_url))
            time.sleep(0.3)
            assert old[number].stop() == 0
        assert [version(node).startswith("next-") for node in new] == [True] * 3
        cluster.loop.run(load.move(0, old[0].start().wait().base_url))  # back to this version
        time.sleep(1)
    assert "newer than this version of idp" in old[0].running.said()
    lost, came_true = load.ledger.lost(cluster), load.ledger.came_true(cluster)
    row = Row(
        TITLE, "a migration under load, then each of three processes replaced (SIGTERM)", seen(load.answers),
        max(each.seconds for each in load.answers), 0.0, load.ledger.acknowledged, len(lost), len(came_true),
    )  # fmt: skip
    record_property(*row.as_property())
    refused = [each for each in load.answers if not each.succeeded]
    assert not [each for each in refused if each.wrong or " " in each.code]  # nothing wrong, no connection lost
    assert len(refused) < len(load.answers) / 100  # 503 while the migration has its lock, if at all
    assert (lost, came_true) == ([], [])


def test_a_process_that_ends_answers_what_it_had_accepted_and_closes_its_connections(cluster: Cluster) -> None:
    """SIGTERM during sign-ins on kept connections: each is answered, with Connection: close, and none is reset."""
    node = Node(cluster.folder / "ending", cluster.environ).start().wait()
    body = {"email": "pat@example.com", "password": PASSWORD}

    async def sign_in_while_it_ends() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=node.base_url, timeout=20) as client:
            (await client.post("/auth/register", json=body | {"name": "Pat"})).raise_for_status()
            await asyncio.gather(*(client.get("/auth/me") for _ in range(6)))  # connections to keep
            asked = [asyncio.create_task(client.post("/auth/login", json=body)) for _ in range(6)]
            await asyncio.sleep(0.03)
            os.kill(node.process.pid, signal.SIGTERM)
            return list(await asyncio.gather(*asked))

    try:
        answers = cluster.loop.run(sign_in_while_it_ends())
        assert [answer.status_code for answer in answers] == [200] * 6
        assert "close" in {answer.headers.get("connection") for answer in answers}
        assert node.process.wait(20) == 0
    finally:
        node.clean_up()
