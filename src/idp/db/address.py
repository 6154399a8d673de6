"""Parse and check a database URL in libpq's format (PostgreSQL manual, 34.1.1).

Error messages never quote an invalid URL: an apparent host may be a part of the password.
"""

import difflib
import os
import re
import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from idp.settings import libpq_variable
from idp.settings_servers import is_host

_SCHEME = re.compile(r"^(?:postgres|postgresql)(?:\+[a-z0-9]+)?://")
# Schemes of other databases that a message may quote; any other text before "://" may be a secret.
_OTHER_SCHEMES = re.compile(
    r"^(mysql|mariadb|sqlite|mongodb|redis|valkey|http|https|mssql|oracle|cockroachdb|jdbc)\b[^@]*?://"
)
_EXAMPLE = "postgresql://user:password@host:5432/database"
_ENCODE = (
    "if the password contains one of @ / ? # : %, percent-encode it "
    "(`python3 -c 'import urllib.parse; print(urllib.parse.quote(input(), safe=\"\"))'`)"
)
# Parameters of Prisma and SQLAlchemy that PostgreSQL does not know. `schema` names the old service's schema; ours is
# always `idp`, so it is ignored.
_IGNORED = {
    "schema", "connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "statement_cache_size", "sslaccept",
    "sslidentity", "pool_size", "fallback_application_name", "client_encoding", "sslsni", "sslcompression",
    "passfile_optional", "prepared_statement_cache_size", "single_use_connections",
}  # fmt: skip
# Parameters that asyncpg handles.
_HANDLED_BY_ASYNCPG = {
    "host", "port", "dbname", "database", "user", "password", "passfile", "sslmode", "sslcert", "sslkey",
    "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib", "service", "servicefile", "options",
}  # fmt: skip
_HANDLED_BY_IDP = {
    "connect_timeout", "application_name", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
}  # fmt: skip
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS = ("any", "read-write", "primary", "prefer-standby")  # a subset of libpq's; a standby is read-only
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# libpq parameters for which only our own behaviour is accepted.
_FIXED_VALUES = {
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "load_balance_hosts": ("disable",),
    "requirepeer": ("",),
    "require_auth": ("",),
    "hostaddr": ("",),
    "replication": ("false", "off", "no", "0"),
}
_CHOICES = {
    "sslmode": _SSL_MODES,
    "target_session_attrs": _SESSIONS,
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "sslnegotiation": ("postgres", "direct"),
}
_MAX_KEEPALIVE, _MAX_PROBES = 32767, 127  # limits of Linux
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


class DatabaseUrlError(ValueError):
    """DATABASE_URL is not a valid PostgreSQL URL."""


class Keepalive(NamedTuple):
    """TCP keepalive settings; 0 uses the system default (libpq's parameters)."""

    idle: int = 30
    interval: int = 10
    probes: int = 3
    user_timeout: int = 30_000  # milliseconds


class Address(NamedTuple):
    """A parsed database URL.

    Attributes:
        dsn: for asyncpg.
        hosts: "host:port" of each host, for messages.
        user, database: for messages.
        connect_timeout: the parameter in seconds, None if absent.
        application_name: for `pg_stat_activity`.
        keepalive: None if disabled.
    """

    dsn: str
    hosts: str
    user: str
    database: str
    connect_timeout: float | None
    application_name: str
    keepalive: Keepalive | None


def parse(url: str) -> Address:
    """Parse a URL: `postgres://`, `postgresql://` or `postgresql+driver://`, with parameters of libpq or Prisma.

    Raises:
        DatabaseUrlError: it is invalid, or uses an unsupported parameter.
    """
    login, hosts, path, query = _split_url(url)
    parameters = _parameters(query)
    ports = [*_ports(hosts)]
    _check_host_parameters(parameters)
    hosts_given = hosts or parameters.get("host", "")
    if not hosts_given and not parameters.keys() & {"service"} and not libpq_variable("PGHOST"):
        raise DatabaseUrlError(f"DATABASE_URL has no host; use {_EXAMPLE}.")
    passed_on = {name: value for name, value in parameters.items() if name in _HANDLED_BY_ASYNCPG}
    if hosts_given.count(",") and "target_session_attrs" not in passed_on:
        passed_on["target_session_attrs"] = "read-write"  # use the primary of several servers
    database = unquote(path[1:]) or passed_on.get("dbname") or passed_on.get("database") or ""
    user = unquote(login.partition(":")[0]) or passed_on.get("user", "")
    separator = "@" if login else ""
    return Address(
        dsn=f"postgresql://{login}{separator}{hosts}{path}" + (f"?{urlencode(passed_on)}" if passed_on else ""),
        hosts=_shown(hosts, ports) or hosts_given or "the server",
        user=user,
        database=database or user,
        connect_timeout=_seconds(parameters),
        application_name=parameters.get("application_name") or "idp",
        keepalive=_keepalive(parameters),
    )


def _split_url(url: str) -> tuple[str, str, str, str]:
    """Return login, hosts, path and query, not decoded."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        other = _OTHER_SCHEMES.match(url)
        if other:
            raise DatabaseUrlError(f"DATABASE_URL starts with {other[1]}://; use {_EXAMPLE}.")
        raise DatabaseUrlError(f"DATABASE_URL does not start with postgresql://; use {_EXAMPLE}.")
    rest = url[scheme.end() :]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    after = rest[len(authority) :]
    if "#" in rest or "@" in after or authority.count("@") > 1 or re.search(r"[\s\x00-\x20\x7f]", rest):
        raise _unreadable_url()
    login, _, hosts = authority.rpartition("@")
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest) or "[" in login or "]" in login:
        raise _unreadable_url()
    path, _, query = after.partition("?")
    if path.count("/") > 1 or "%00" in rest:
        raise _unreadable_url()
    return login, hosts, path, query


def _unreadable_url() -> DatabaseUrlError:
    return DatabaseUrlError(f"DATABASE_URL is invalid: use {_EXAMPLE}; {_ENCODE}.")


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, given in parse_qsl(query, keep_blank_values=True):
        value = given
        if name in {"host", "port"} and name in parameters:
            value = f"{parameters[name]},{given}"  # SQLAlchemy's format of several hosts
        if name in _FIXED_VALUES:
            _check_choice(name, value, _FIXED_VALUES[name], "remove it")
        elif name not in _HANDLED_BY_ASYNCPG | _HANDLED_BY_IDP | _IGNORED:
            raise DatabaseUrlError(_unknown(name))
        elif name in _CHOICES:
            _check_choice(name, value, _CHOICES[name], f"use one of {', '.join(_CHOICES[name])}")
        parameters[name] = value
    _apply_system_certificates(parameters)
    _check_files(parameters)
    if parameters.get("sslnegotiation") == "direct" and parameters.get("sslmode") not in _SSL_MODES[3:]:
        raise DatabaseUrlError("The parameter sslnegotiation of DATABASE_URL requires TLS: add sslmode=require.")
    return parameters


def _apply_system_certificates(parameters: dict[str, str]) -> None:
    """Apply `sslrootcert=system` like libpq: OpenSSL's default file, with host name verification."""
    if parameters.get("sslrootcert") != "system":
        return
    if parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise DatabaseUrlError("DATABASE_URL has sslrootcert=system, which requires sslmode=verify-full.")
    paths = ssl.get_default_verify_paths()
    parameters["sslrootcert"] = paths.cafile or paths.openssl_cafile


def _check_host_parameters(parameters: dict[str, str]) -> None:
    """Check hosts and ports in the query."""
    hosts, ports = parameters.get("host"), parameters.get("port")
    listed = hosts.split(",") if hosts is not None else []
    if not all(host.startswith(("/", "@")) or is_host(host) for host in listed):
        raise DatabaseUrlError("The parameter host of DATABASE_URL is neither a host name nor a socket folder.")
    numbers = ports.split(",") if ports is not None else []
    if not all(re.fullmatch(r"\d{1,5}", port) and int(port) in range(1, 65536) for port in numbers):
        raise DatabaseUrlError("The parameter port of DATABASE_URL is invalid: use a whole number from 1 to 65535.")
    if len(numbers) > 1 and listed and len(numbers) != len(listed):
        raise DatabaseUrlError("The parameters host and port of DATABASE_URL differ in number: use one port per host.")


def _check_choice(name: str, value: str, choices: tuple[str, ...], advice: str) -> None:
    if value not in choices:
        raise DatabaseUrlError(f"The parameter {name} of DATABASE_URL has an unsupported value: {advice}.")


def _unknown(name: str) -> str:
    known = _HANDLED_BY_ASYNCPG | _HANDLED_BY_IDP | _FIXED_VALUES.keys()
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if close:
        return f"DATABASE_URL has an unknown parameter: did you mean {close[0]}?"
    shown = f"the parameter {name}" if re.fullmatch(r"[a-z][a-z_]{2,40}", name) else "a parameter"
    return f"DATABASE_URL has {shown}, which idp does not know: remove it."


def _check_files(parameters: dict[str, str]) -> None:
    for name in _FILES:
        file = parameters.get(name)
        if file and not os.access(file, os.R_OK):
            raise DatabaseUrlError(f"The file {file} in {name} of DATABASE_URL cannot be read.")
    mode = parameters.get("sslmode")
    default = libpq_variable("PGSSLROOTCERT") or str(Path("~/.postgresql/root.crt").expanduser())
    if mode in {"verify-ca", "verify-full"} and not parameters.get("sslrootcert") and not os.access(default, os.R_OK):
        raise DatabaseUrlError(
            f"DATABASE_URL has sslmode={mode} without a CA certificate: "
            "add &sslrootcert=/etc/ssl/certs/ca-certificates.crt, or the file of your own CA."
        )


def _ports(hosts: str) -> list[int]:
    """Check each of the hosts, and return their ports."""
    ports = []
    for each in hosts.split(",") if hosts else ():
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+(?:%[\w.]+)?\]|[^\[\]:]*)(?::(\d{0,5}))?", each)
        if match is None or int(match[2] or 5432) not in range(1, 65536):
            raise _unreadable_url()
        host = unquote(match[1])
        if not host and "," in hosts:
            raise DatabaseUrlError("DATABASE_URL has a comma without a host: remove it, or add the host.")
        if host and not host.startswith(("/", "@")) and not is_host(host):
            raise _unreadable_url()
        ports.append(int(match[2] or 5432))
    return ports


def _shown(hosts: str, ports: list[int]) -> str:
    names = [re.sub(r":\d*$", "", each) if not each.endswith("]") else each for each in hosts.split(",")]
    return ", ".join(f"{unquote(name)}:{port}" for name, port in zip(names, ports, strict=False))


def _number(parameters: dict[str, str], name: str, default: int, maximum: int = 999_999_999) -> int:
    value = parameters.get(name, "")
    if value and (not re.fullmatch(r"-?\d{1,9}", value) or int(value) > maximum):
        raise DatabaseUrlError(f"The parameter {name} of DATABASE_URL is not a whole number up to {maximum}.")
    return int(value or default)


def _seconds(parameters: dict[str, str]) -> float | None:
    seconds = _number(parameters, "connect_timeout", 0)
    return float(seconds) if seconds > 0 else None  # libpq waits forever for 0 and less; we use the default


def _keepalive(parameters: dict[str, str]) -> Keepalive | None:
    if _number(parameters, "keepalives", 1) == 0:
        return None
    usual = Keepalive()
    return Keepalive(
        _number(parameters, "keepalives_idle", usual.idle, _MAX_KEEPALIVE),
        _number(parameters, "keepalives_interval", usual.interval, _MAX_KEEPALIVE),
        _number(parameters, "keepalives_count", usual.probes, _MAX_PROBES),
        _number(parameters, "tcp_user_timeout", usual.user_timeout),
    )
