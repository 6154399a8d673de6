"""Three `idp serve` processes with everything that they talk to, in servers of their own that may be stopped."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.service import no_limits
from cli.support import idp, lasting_port, root_secret
from factories import postgres_bin
from faults.nodes_support import PROCESSES, Cluster, LoopThread, Node, mock_kafka, small_disk
from idp.dev import postgres as postgres_module
from idp.dev.embedded import EmbeddedPostgres, EmbeddedValkey, remove_data
from mail.mail_support import PostOffice


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Run it for the length of the block; PostgreSQL's disk is small, if that is permitted."""
    with ExitStack() as stack:
        loop = LoopThread()
        stack.callback(loop.close)
        disk = stack.enter_context(small_disk(256))
        data = (disk or folder) / "postgres"
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setitem(postgres_module._SETTINGS, "max_connections", "80")
        postgres = stack.enter_context(EmbeddedPostgres(data, port=lasting_port(), bin_dir=postgres_bin()))
        stack.callback(_remove, postgres, data)
        valkey = stack.enter_context(EmbeddedValkey(port=lasting_port()))
        url = postgres.create_database("cluster")
        office = PostOffice()
        kafka, kafka_pid = stack.enter_context(mock_kafka())
        environ = no_limits() | {
            "DATABASE_URL": url,
            "VALKEY_URL": valkey.url,
            "IDP_SECRET_KEY": root_secret(),
            "IDP_PUBLIC_URL": "https://id.example.com",
            "IDP_API_KEYS__MAX_KEYS_PER_USER": "10000",
            "DB_POOL_SIZE": "5",
            "DB_MAX_OVERFLOW": "5",
            "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
        }
        migrated = idp("migrate", **environ)
        assert migrated.returncode == 0, migrated.stderr
        cluster = Cluster(loop, folder, postgres, valkey, office, url, environ, disk, kafka, kafka_pid)
        cluster.open_office()
        stack.callback(cluster.close_office)
        environ |= {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(office.port), "SMTP_USE_TLS": "false"}
        environ |= {"FROM_EMAIL": "idp <no-reply@example.com>"}
        for number in range(PROCESSES):
            cluster.nodes.append(Node(folder / f"node{number}", environ).start())
        stack.callback(lambda: [node.clean_up() for node in cluster.nodes])
        for node in cluster.nodes:
            node.wait()
        yield cluster


def _remove(postgres: EmbeddedPostgres, data: Path) -> None:
    postgres.stop()
    remove_data(data)
