"""Settings that production refuses, except secrets (tests/test_settings.py)."""

import itertools
import secrets
from pathlib import Path

import pytest

from idp.cache import connect
from idp.cli.production import unsafe
from idp.db.address import DatabaseUrlError, parse
from idp.settings import Settings, SettingsError, environment_names, fields, load
from idp.settings_safety import refuse_unsafe

KEY = secrets.token_urlsafe(48)


def safe(**environ: str) -> Settings:
    usual = {"DATABASE_URL": "postgresql://db/idp", "IDP_SECRET_KEY": secrets.token_urlsafe(48)}
    return load("production", environ=usual | environ).settings


def refused(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        refuse_unsafe(safe(**environ))
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("network", ["*", "0.0.0.0/0", "::/0", "10.0.0.1/8", "foo"])
def test_trusting_every_or_no_address_as_a_proxy_is_refused(network: str) -> None:
    """SEC-8: whoever is trusted chooses the address they are counted by."""
    problem = refused(IDP_TRUSTED_PROXIES=f"10.1.0.0/16,{network}")
    assert problem.startswith("IDP_TRUSTED_PROXIES contains ")
    assert network in problem


@pytest.mark.parametrize("origin", ["*", "https://*.example.com", "null", "example.com", "https://a.example/path"])
def test_only_exact_origins_are_accepted(origin: str) -> None:
    """S3-50 SEC-78 C-22."""
    assert "AUTH_API_CORS_ORIGINS contains" in refused(AUTH_API_CORS_ORIGINS=f"https://app.example.com,{origin}")


@pytest.mark.parametrize("name", ["IDP_SECRET_KEY", "ADMIN_TOKEN"])
def test_a_secret_that_siblings_hold_is_no_key_to_this_service(name: str) -> None:
    """C-06 C-09."""
    assert refused(**{"AUTH_JWT_SECRET_KEY": KEY, name: KEY}).startswith(f"{name} is also a shared JWT secret")


@pytest.mark.parametrize("value", ["abcdeghijk" * 4, "Zx9" * 14])
def test_a_piece_over_and_over_is_no_secret(value: str) -> None:
    """SEC-11."""
    assert "looks like a placeholder or a pattern" in refused(ADMIN_TOKEN=value)


def test_safe_settings_are_accepted() -> None:
    environ = {
        "DATABASE_URL": "postgresql://db/idp",
        "IDP_SECRET_KEY": KEY,
        "AUTH_JWT_SECRET_KEY": secrets.token_hex(32),
        "IDP_TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.1",
        "AUTH_API_CORS_ORIGINS": "https://app.example.com,http://localhost:5173",
    }
    assert refuse_unsafe(load("production", environ=environ).settings) is None


SINGLE = ("IDP_SECRET_KEY", "AUTH_JWT_SECRET_KEY", "JWT_SECRET_KEY", "ADMIN_TOKEN", "INTERNAL_API_TOKEN")
LISTS = ("IDP_PREVIOUS_SECRET_KEYS", "AUTH_JWT_PREVIOUS_SECRET_KEYS")
HARMLESS = (
    {"IDP_SECRET_KEY", "IDP_PREVIOUS_SECRET_KEYS"},
    {"AUTH_JWT_SECRET_KEY", "AUTH_JWT_PREVIOUS_SECRET_KEYS"},
    {"JWT_SECRET_KEY", "AUTH_JWT_PREVIOUS_SECRET_KEYS"},
)


@pytest.mark.parametrize("pair", list(itertools.combinations((*SINGLE, *LISTS), 2)))
def test_no_two_secrets_are_one(pair: tuple[str, str]) -> None:
    """But for one that is still named among its own predecessors."""
    if set(pair) in HARMLESS:
        pytest.skip("a secret among its own predecessors opens nothing more")
    problem = refused(**dict.fromkeys(pair, KEY))
    assert any(name in problem for name in pair)
    assert "another value" in problem or "different values" in problem
    assert KEY not in problem


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": f"postgresql://idp:{KEY}@db/idp"},
        {"VALKEY_URL": f"valkey://:{KEY}@v:6379/0"},
        {"SMTP_PASSWORD": KEY},
    ],
)
def test_no_key_of_the_service_is_the_password_of_another_server(environ: dict[str, str]) -> None:
    """A secret of ours that is another server's password too stops the start."""
    assert refused(ADMIN_TOKEN=KEY, **environ).startswith("ADMIN_TOKEN is also the password in ")


@pytest.mark.parametrize(
    "networks",
    [
        "0.0.0.0/1,128.0.0.0/1",
        "0.0.0.0/2,64.0.0.0/2,128.0.0.0/2,192.0.0.0/2",
        "::/1,8000::/1",
        "0.0.0.0/1",
        "::ffff:0:0/96",
        "2000::/3",
        "::ffff:0:0/64",
    ],
)
def test_networks_of_proxies_are_looked_at_together(networks: str) -> None:
    """SEC-8."""
    assert refused(IDP_TRUSTED_PROXIES=networks).startswith("IDP_TRUSTED_PROXIES contains ")


@pytest.mark.parametrize(
    ("environ", "start"),
    [
        ({"IDP_PUBLIC_URL": "http://id.example.com"}, "IDP_PUBLIC_URL begins with http://"),
        ({"IDP_PUBLIC_URL": "https://ada:Geheim9@id.example.com"}, "IDP_PUBLIC_URL contains credentials"),
        ({"IDP_PUBLIC_URL": "https://Geheim9@id.example.com/x"}, "IDP_PUBLIC_URL contains credentials"),
        ({"IDP_PUBLIC_URL": "https://id.example.com:0"}, "IDP_PUBLIC_URL is "),
        ({"IDP_PUBLIC_URL": "https://id.example.com:70000"}, "IDP_PUBLIC_URL is not a valid URL"),
        ({"IDP_PUBLIC_URL": "https://[::1"}, "IDP_PUBLIC_URL is not a valid URL"),
        ({"IDP_PUBLIC_URL": "https://id..example.com"}, "IDP_PUBLIC_URL is "),
        ({"IDP_PUBLIC_URL": "ftp://id.example.com"}, "IDP_PUBLIC_URL is "),
        ({"FRONTEND_URL": "http://app.example.com"}, "FRONTEND_URL begins with http://"),
        ({"FRONTEND_URL": "https://a:Geheim9@app.example.com"}, "FRONTEND_URL contains credentials"),
        ({"AUTH_API_CORS_ORIGINS": "http://app.example.com"}, "AUTH_API_CORS_ORIGINS contains "),
        ({"AUTH_API_CORS_ORIGINS": "https://a:Geheim9@app.example.com"}, "AUTH_API_CORS_ORIGINS contains one with"),
        ({"AUTH_API_CORS_ORIGINS": "https://app.example.com:99999"}, "AUTH_API_CORS_ORIGINS contains "),
        ({"AUTH_API_CORS_ORIGINS": "https://app.example.com/"}, "AUTH_API_CORS_ORIGINS contains "),
        ({"VALKEY_URL": "redis://h/0?family=0"}, "VALKEY_URL has an unknown option"),
        ({"VALKEY_URL": "redis://h/0?decode_responses=true"}, "VALKEY_URL has an unknown option"),
        ({"VALKEY_URL": "redis://h/0?socket_timeout=soon"}, "The option socket_timeout of VALKEY_URL"),
        ({"VALKEY_URL": "redis://h/zero"}, "VALKEY_URL has an invalid database number"),
        ({"VALKEY_URL": "redis://h:x/0"}, "VALKEY_URL is invalid"),
        ({"VALKEY_URL": "redis://::1:6379/0"}, "VALKEY_URL is invalid"),
        ({"VALKEY_URL": "redis://:Geheim#9@h/0"}, "VALKEY_URL is invalid"),
        ({"VALKEY_URL": "h:6379"}, "VALKEY_URL is not a Valkey URL"),
        ({"VALKEY_URL": "unix://"}, "VALKEY_URL has no socket path"),
        (
            {"VALKEY_URL": "redis://h/0?ssl_check_hostname=true"},
            "The option ssl_check_hostname of VALKEY_URL is for TLS",
        ),
        ({"VALKEY_URL": "unix:///v.sock?ssl_cert_reqs=none"}, "The option ssl_cert_reqs of VALKEY_URL is for TLS"),
        ({"VALKEY_URL": "unix:///v.sock?socket_keepalive=1"}, "The option socket_keepalive of VALKEY_URL is for TCP"),
        ({"VALKEY_URL": "rediss://h?ssl_ca_certs=/nope"}, "The file in option ssl_ca_certs of VALKEY_URL cannot"),
        ({"VALKEY_URL": "redis://h?socket_timeout=0"}, "The option socket_timeout of VALKEY_URL has an invalid value"),
        (
            {"VALKEY_URL": "redis://h?max_connections=0"},
            "The option max_connections of VALKEY_URL has an invalid value",
        ),
    ],
)
def test_an_address_that_is_unsafe_or_none_is_one_sentence(environ: dict[str, str], start: str) -> None:
    """At the start, and no credential of it is repeated."""
    problem = refused(**environ)
    assert problem.startswith(start)
    assert "Geheim" not in problem


MAIL = {"SMTP_HOST": "smtp.example.com", "FROM_EMAIL": "idp@example.com"}


@pytest.mark.parametrize("host", ["smtp.example.com:587", "smtp://smtp.example.com", "a b", "-x", "256.1.1.1", "[::1]"])
def test_a_mail_server_is_named_by_its_host_alone(host: str) -> None:
    """SMTP_HOST holds no scheme, no port and nothing that is neither a name nor an IP address."""
    assert refused(**(MAIL | {"SMTP_HOST": host})).startswith("SMTP_HOST ")


def test_a_password_for_mail_travels_encrypted_or_stays_on_this_machine() -> None:
    """SMTP_PASSWORD without TLS is accepted for a mail server on this machine only."""
    login = {"SMTP_USERNAME": "idp", "SMTP_PASSWORD": secrets.token_urlsafe(9), "SMTP_USE_TLS": "false"}
    assert refused(**MAIL, **login).startswith("SMTP_PASSWORD is set and SMTP_USE_TLS is false")
    accepted(**(MAIL | login | {"SMTP_HOST": "127.0.0.1"}))


def accepted(**environ: str) -> Settings:
    safe = {"DATABASE_URL": "postgresql://db/idp", "IDP_SECRET_KEY": secrets.token_urlsafe(48)}
    settings = load("production", environ=safe | environ).settings
    refuse_unsafe(settings)
    return settings


@pytest.mark.parametrize(
    "environ",
    [
        {"IDP_PUBLIC_URL": "http://localhost:8000"},
        {"IDP_PUBLIC_URL": "http://[::1]:8000/idp"},
        {"IDP_PUBLIC_URL": "https://bücher.example"},
        {"VALKEY_URL": "valkeys://user:p%40ss@[2001:db8::1]:6380/3?socket_keepalive=true&ssl_cert_reqs=required"},
        {"VALKEY_URL": "unix:///run/valkey.sock?db=2"},
        {"IDP_TRUSTED_PROXIES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fd00::/8"},
    ],
)
def test_addresses_that_are_right_are_accepted(environ: dict[str, str]) -> None:
    assert accepted(**environ)


@pytest.mark.parametrize("address", ["redis://h/0", "rediss://h/0", "unix:///v.sock"])
@pytest.mark.parametrize(("option", "value"), [
    ("db", "1"), ("username", "u"), ("password", "p"), ("socket_timeout", "1"), ("socket_connect_timeout", "1.5"),
    ("socket_keepalive", "yes"), ("health_check_interval", "30"), ("max_connections", "5"), ("retry_on_timeout", "no"),
    ("client_name", "idp"), ("protocol", "3"), ("ssl_cert_reqs", "none"), ("ssl_ca_certs", __file__),
    ("ssl_certfile", __file__), ("ssl_keyfile", __file__), ("ssl_check_hostname", "true"),
])  # fmt: skip
def test_accepted_addresses_are_those_the_client_accepts(address: str, option: str, value: str) -> None:
    """an option that only fits another scheme was a 500 at the first sign-in."""
    url = f"{address}?{option}={value}"
    client = connect(url)
    assert client is not None
    try:
        client.connection_pool.make_connection()
    except TypeError:
        assert f"The option {option} of VALKEY_URL" in refused(VALKEY_URL=url)
    else:
        accepted(VALKEY_URL=url)


@pytest.mark.parametrize(
    ("environ", "used"),
    [
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "[::1]", "REDIS_PORT": "7"}, "redis://[::1]:7/0"),
        ({"REDIS_HOST": "valkey", "REDIS_PASSWORD": "a@b/c"}, "redis://:a%40b%2Fc@valkey:6379/0"),
    ],
)
def test_the_old_variables_of_redis_make_an_address(environ: dict[str, str], used: str) -> None:
    """REDIS_HOST, REDIS_PORT and REDIS_PASSWORD make one address: IPv6 in brackets, the password percent-encoded."""
    url = accepted(**environ).valkey.url
    assert url is not None
    assert url.reveal() == used


@pytest.mark.parametrize(
    "environ",
    [{"REDIS_HOST": "redis://h"}, {"REDIS_HOST": "h:6379"}, {"REDIS_HOST": "h", "REDIS_PORT": "x"}],
)
def test_old_variables_that_make_none_are_refused(environ: dict[str, str]) -> None:
    """A scheme or a port in REDIS_HOST, or a port that is no number, stops the start and is named."""
    with pytest.raises(SettingsError, match=r"^REDIS_"):
        load("production", environ=environ)


# --- what surrounds a secret -----------------------------------------------------------------------------------------

AROUND = [
    "{}\n",
    "\r\n{}\r\n",
    "\ufeff{}",
    "\ufeff{}\n",
    "  {}\t",
    "\u200b{}\u00a0",
    "\n\ufeff {}",
    '"{}"\n',
    "\ufeff'{}'\r\n",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", [*SINGLE, *LISTS, "SMTP_PASSWORD", "CLERK_SECRET_KEY"])
def test_white_space_around_a_secret_is_removed(name: str, around: str, tmp_path: Path) -> None:
    """one rule for variables, files and lists."""
    file = tmp_path / "secret"
    file.write_bytes(around.format(KEY).encode())
    given = [{name: around.format(KEY)}, {f"{name}_FILE": str(file)}]
    if name in LISTS:
        given.append({name: f"{around.format(KEY)},{around.format(KEY)}"})
    for environ in given:
        settings = load("production", environ=environ).settings
        section, key = next(path for path, _ in fields() if name in environment_names(path)).split(".")
        value = getattr(getattr(settings, section), key)
        for each in value if isinstance(value, tuple) else (value,):
            assert each.reveal() == KEY, environ


# --- the database's address ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:Geheim#Wort9@h/db",
        "postgresql://u:Geheim/Wort9@h/db",
        "postgresql://u:Geheim?Wort9@h/db",
        "postgresql://u:Geheim@Wort9@h/db",
        "postgresql://u:Geheim%Wort9@h/db",
        "postgresql://u:[Geheim@h/db",
        "postgresql://u:Geheim Wort9@h/db",
        "postgresql://u:1234#Geheim@h/db",
        "postgresql://h:Geheim/db",
        "postgresql://u:p@h:Geheim/db",
        "Geheim:Wort9@h/db",
        "h:5432/Geheim",
        "Geheim://u:p@h/db",
        "postgresql://u:p@h/db?Geheim=Wort9",
        "postgresql://u:p@h/db?sslmode=Geheim",
        "postgresql://u:p@h/db?connect_timeout=Geheim",
        "postgresql://u:p@/db?host=Geheim%24Wort9",
        "postgresql://u:p@/db?host=h&port=Geheim",
        "postgresql://u:p@h/db?ssl_min_protocol_version=Geheim",
        "postgresql://u:p@h/Geheim%00Wort9",
        "postgresql://u:Geheim%00Wort9@h/db",
    ],
)
def test_no_piece_of_an_address_that_cannot_be_read_is_shown(url: str) -> None:
    """A password with a reserved character splits the address: the error quotes none of its parts."""
    with pytest.raises(DatabaseUrlError) as caught:
        parse(url)
    said = str(caught.value)
    assert not any(piece in said for piece in ("Geheim", "Wort9", "1234"))
    assert "DATABASE_URL" in said


def test_the_sentence_says_to_percent_encode() -> None:
    """The error for such a password names the remedy."""
    with pytest.raises(DatabaseUrlError, match="percent-encode"):
        parse("postgresql://u:Geheim#Wort9@h/db")


@pytest.mark.parametrize(
    ("url", "dsn", "hosts"),
    [
        (
            "postgresql://u:p@h1:5432,h2:5433/db",
            "postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write",
            "h1:5432, h2:5433",
        ),
        (
            "postgresql://u:p@h1,h2/db?target_session_attrs=any&connect_timeout=3&keepalives_idle=5",
            "postgresql://u:p@h1,h2/db?target_session_attrs=any",
            "h1:5432, h2:5432",
        ),
        ("postgresql://u:p@[::1]:5433/db", "postgresql://u:p@[::1]:5433/db", "[::1]:5433"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db?host=%2Frun%2Fpostgresql", "/run/postgresql"),
    ],
)
def test_several_hosts_and_libpqs_parameters_are_used(url: str, dsn: str, hosts: str) -> None:
    """Several hosts, a socket's folder and the timeouts of libpq reach the driver as libpq means them."""
    address = parse(url)
    assert (address.dsn, address.hosts) == (dsn, hosts)


@pytest.mark.parametrize(
    "parameter", ["gssencmode=require", "channel_binding=require", "hostaddr=10.0.0.1", "load_balance_hosts=random"]
)
def test_unsupported_parameters_are_refused_by_name(parameter: str) -> None:
    """A libpq parameter that the driver lacks stops the start instead of being ignored; a misspelt one is corrected."""
    with pytest.raises(DatabaseUrlError, match=parameter.partition("=")[0]):
        parse(f"postgresql://u:p@h/db?{parameter}")
    with pytest.raises(DatabaseUrlError, match="did you mean sslmode"):
        parse("postgresql://u:p@h/db?sslmod=require")


@pytest.mark.parametrize("url", [
    "postgresql://u:p@h1,/db", "postgresql://u:p@,h1/db", "postgresql://u:p@h1,,h2/db", "postgresql://u:p@/db?host=h1,",
    "postgresql://u:p@/db?host=h&port=70000", "postgresql://u:p@/db?host=h1,h2&port=1,2,3",
    "postgresql://u:p@h/db?keepalives_idle=99999", "postgresql://u:p@h/db?keepalives_count=500",
    "postgresql://u:p@h/db?sslnegotiation=direct", "postgresql://u:p@h/db?sslnegotiation=soon",
    "postgresql://u:p@h/db?ssl_max_protocol_version=TLSv9", "postgresql://u:p@h/db?sslmode=require&sslrootcert=system",
    "postgresql://u:p@h/db?target_session_attrs=read-only", "postgresql://u:p@h/db?target_session_attrs=standby",
])  # fmt: skip
def test_a_setting_that_fails_at_every_connection_is_refused_at_the_start(url: str) -> None:
    """a traceback of the driver, or a 503 for ever."""
    with pytest.raises(DatabaseUrlError, match="DATABASE_URL"):
        parse(url)


@pytest.mark.parametrize("mode", ["", "sslmode=verify-full&"])
def test_the_systems_certificates_can_be_chosen(mode: str) -> None:
    """`sslrootcert=system` is libpq's, and verifies the name, too; the driver reads a file."""
    dsn = parse(f"postgresql://u:p@h/db?{mode}sslrootcert=system").dsn
    assert "sslmode=verify-full" in dsn
    assert "sslrootcert=system" not in dsn


def test_verifying_without_a_certificate_is_a_mistake_of_the_address(tmp_path: Path) -> None:
    """sslmode=verify-full without a root certificate, or with one that cannot be read, is refused at the start."""
    with pytest.raises(DatabaseUrlError, match="without a CA certificate"):
        parse("postgresql://u:p@h/db?sslmode=verify-full")
    with pytest.raises(DatabaseUrlError, match="cannot be read"):
        parse(f"postgresql://u:p@h/db?sslmode=verify-full&sslrootcert={tmp_path}/none.crt")


def test_the_connect_timeout_is_ten_seconds_or_as_configured() -> None:
    """10 seconds is the setting's default; connect_timeout in DATABASE_URL counts where it is given."""
    assert accepted().database.connect_timeout_seconds == 10
    assert parse("postgresql://u:p@h/db?connect_timeout=25").connect_timeout == 25
    assert parse("postgresql://u:p@h/db").connect_timeout is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_OIDC_ISSUER", "http://issuer.example.com"),
        ("AUTH_OIDC_ISSUER", "http://127.0.0.1:9000"),
        ("AUTH_OIDC_ISSUER", "issuer.example.com"),
        ("AUTH_OIDC_ISSUER", "https://user:password@issuer.example.com"),
        ("AUTH_OIDC_JWKS_URL", "http://issuer.example.com/keys"),
        ("AUTH_OIDC_JWKS_URL", "file:///etc/passwd"),
    ],
)
def test_keys_of_other_issuers_travel_encrypted(name: str, value: str) -> None:
    """SEC-66: whoever replaces them on the way makes tokens of any user."""
    environ = {"AUTH_OIDC_ISSUER": "https://issuer.example.com", "AUTH_OIDC_AUDIENCE": "client"} | {name: value}
    problem = refused(**environ)
    assert problem.startswith(f"{name} ")
    assert "password" not in problem


def test_every_issuer_in_the_table_is_checked() -> None:
    """SEC-66."""
    providers = '{"corp": {"issuer": "http://issuer.example.com", "audience": ["client"]}}'
    assert refused(IDP_OIDC__PROVIDERS=providers).startswith("oidc.providers.corp.issuer ")


def test_a_good_issuer_is_accepted() -> None:
    environ = {
        "DATABASE_URL": "postgresql://db/idp",
        "IDP_SECRET_KEY": KEY,
        "AUTH_OIDC_ISSUER": "https://tenant.eu.auth0.com/",
        "AUTH_OIDC_AUDIENCE": "client",
        "AUTH_OIDC_JWKS_URL": "https://tenant.b2clogin.com/keys?p=b2c_1",
    }
    assert refuse_unsafe(load("production", environ=environ).settings) is None


@pytest.mark.parametrize("audience", ["", ",", " , "])
def test_an_issuer_without_an_audience_is_named(audience: str) -> None:
    """SEC-24: by `idp config check` too."""
    environ = {"AUTH_OIDC_ISSUER": "https://issuer.example.com", "AUTH_OIDC_AUDIENCE": audience}
    (problem,) = unsafe(safe(**environ))
    assert "has no audience: set AUTH_OIDC_AUDIENCE" in problem
    blank = '{"corp": {"issuer": "https://issuer.example.com", "audience": [""]}}'
    (problem,) = unsafe(safe(IDP_OIDC__PROVIDERS=blank))
    assert "has no audience: set oidc.providers.corp.audience" in problem
