"""A Kafka broker: the one that KAFKA_BOOTSTRAP_SERVERS names, Apache Kafka itself, or librdkafka's mock cluster.

Apache Kafka runs in KRaft mode, from its jars of Maven Central, where java and mvn are installed; the jars are kept in
`~/.cache/idp-tests`. Elsewhere, and with IDP_TEST_KAFKA=mock, the mock cluster speaks the same protocol over a socket.
The tests use it, too.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from msgspec import Struct

VERSION = "4.4.0"
SASL_USER, SASL_PASSWORD = "idp", "tests-only"
_START_SECONDS = 60
_POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>idp.tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.dirs={folder}/data
"""


class Broker(Struct, frozen=True):
    """A broker.

    Attributes:
        kind: `given`, `kafka` or `mock`.
        servers: its address.
        sasl: the address that requires a password; None where there is none.
    """

    kind: str
    servers: str
    sasl: str | None = None

    def create_topic(self, *, name: str | None = None, partitions: int = 3, **config: str) -> str:
        """Create a topic, by default of a new name; the mock cluster creates one when it is asked for it."""
        name = name or f"users-{secrets.token_hex(6)}"
        admin = AdminClient({"bootstrap.servers": self.servers})
        if self.kind == "mock":
            admin.list_topics(name, timeout=10)
            return name
        made = admin.create_topics([NewTopic(name, partitions, 1, config=config)])
        made[name].result(10)
        return name


@contextmanager
def broker() -> Iterator[Broker]:
    """Run a broker, or use the given one."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield Broker("given", given)
    elif os.environ.get("IDP_TEST_KAFKA") != "mock" and (libraries := find_libraries()) is not None:
        with _apache_kafka(libraries) as running:
            yield running
    else:
        mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced"})
        (node,) = mock.list_topics(timeout=10).brokers.values()
        yield Broker("mock", f"{node.host}:{node.port}")
        mock.flush(0)


def find_libraries() -> Path | None:
    """Return the folder of Kafka's jars, fetched once; None where java, mvn or the network is missing."""
    folder = Path.home() / ".cache" / "idp-tests" / f"kafka-{VERSION}"
    if shutil.which("java") is None:
        return None
    if folder.is_dir():
        return folder
    if shutil.which("mvn") is None:
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        pom, fetched = Path(scratch, "pom.xml"), Path(scratch, "lib")
        pom.write_text(_POM)
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        result = subprocess.run(command, capture_output=True, timeout=180, check=False)
        if result.returncode != 0:
            return None
        if not folder.exists():  # another process may have been first
            fetched.rename(folder)
    return folder


@contextmanager
def _apache_kafka(libraries: Path) -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="idp-kafka-") as folder:
        plain, sasl, controller = _free_ports(3)
        properties = Path(folder, "server.properties")
        properties.write_text(
            _PROPERTIES.format(plain=plain, sasl=sasl, controller=controller, folder=folder, user=SASL_USER,
                               password=SASL_PASSWORD)
        )  # fmt: skip
        java = ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*"]
        format_ = [*java, "kafka.tools.StorageTool", "format", "-t", "idpTestsidpTestsidpTeA", "-c", str(properties)]
        subprocess.run(format_, check=True, capture_output=True, timeout=60)
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([*java, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
        try:
            _wait_for(plain, process, Path(folder, "log"))
            yield Broker("kafka", f"127.0.0.1:{plain}", f"127.0.0.1:{sasl}")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    admin = None
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            admin = admin or AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
            if admin.list_topics(timeout=2).brokers:
                return
        except (OSError, KafkaException):
            time.sleep(0.1)
