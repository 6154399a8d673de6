"""Checks of a running deployment, seen from outside (`idp doctor --url`)."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from idp import clock
from idp.doctor.findings import Finding, ok, problem, unknown, warning

_SECONDS = 10.0
_OF_DEV_HEADERS = frozenset({"dev_headers_malformed", "dev_email_required"})
_FOREIGN = "https://doctor.invalid"
_MIN_CERTIFICATE_LIFE = timedelta(days=14)
_MAX_SKEW = timedelta(seconds=5)
_UNREACHABLE = "nobody can sign in"


def check_deployment(url: str) -> Iterator[Finding]:
    """Yield a finding for each check.

    Args:
        url: the public URL, without a trailing slash.
    """
    with httpx2.Client(base_url=url, timeout=_SECONDS, follow_redirects=False) as client:
        try:
            client.get("/healthz")
        except httpx2.HTTPError as error:
            yield problem(
                "reachable",
                f"{url}: {error or type(error).__name__}",
                why=_UNREACHABLE,
                change="the URL, DNS, TLS or the proxy",
            )
            return
        yield ok("reachable", url)
        for check in (_tls, _certificate, _readiness, _issuer, _keys, _internal_routes, _metrics, _dev_headers, _cors,
                      _forwarded_host, _pages, _clock):  # fmt: skip
            try:
                yield check(client, url)
            except httpx2.HTTPError as error:
                yield unknown(
                    check.__name__.strip("_").replace("_", " "), f"no answer: {type(error).__name__}", why=_UNREACHABLE
                )


def _tls(client: httpx2.Client, url: str) -> Finding:
    if not url.startswith("https://"):
        return problem(
            "TLS",
            f"{url} is not encrypted",
            why="passwords and tokens can be read on the way",
            change="put TLS in front: docs/operations.md#tls-and-reverse-proxy",
        )
    if "strict-transport-security" not in client.get("/healthz").headers:
        return warning(
            "TLS",
            "no Strict-Transport-Security header",
            why="a first visit by http:// can be intercepted",
            change="IDP_PUBLIC_URL must begin with https://, and the proxy must keep the header",
        )
    return ok("TLS", "with Strict-Transport-Security")


def _certificate(_client: httpx2.Client, url: str) -> Finding:
    parts = urlsplit(url)
    if parts.scheme != "https":
        return ok("certificate", "none, without TLS")
    with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_SECONDS) as connection:
        context = ssl.create_default_context()
        with context.wrap_socket(connection, server_hostname=parts.hostname) as secured:
            until = str((secured.getpeercert() or {}).get("notAfter", ""))
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC)
    left = ends - clock.now()
    if left < _MIN_CERTIFICATE_LIFE:
        return problem(
            "certificate",
            f"ends on {ends:%Y-%m-%d}",
            why="browsers and services refuse the site from then on",
            change="renew it, and check its automatic renewal",
        )
    return ok("certificate", f"valid until {ends:%Y-%m-%d}")


def _readiness(client: httpx2.Client, _url: str) -> Finding:
    answer = client.get("/readyz")
    if answer.status_code == 200:
        return ok("readiness", "/readyz is 200")
    return problem(
        "readiness",
        f"/readyz is {answer.status_code}: {answer.text[:200]}",
        why="requests that need the database fail",
        change="`idp check-db` in the service's environment",
    )


def _issuer(client: httpx2.Client, url: str) -> Finding:
    answer = client.get("/.well-known/openid-configuration")
    issuer = _json(answer).get("issuer")
    if issuer == url:
        return ok("issuer", url)
    return problem(
        "issuer",
        f"{issuer or answer.status_code} instead of {url}",
        why="clients compare the issuer with the URL that they were given, and refuse every token",
        change=f"IDP_PUBLIC_URL={url}",
    )


def _keys(client: httpx2.Client, _url: str) -> Finding:
    keys = _json(client.get("/.well-known/jwks.json")).get("keys") or []
    private = [key for key in keys if isinstance(key, dict) and {"d", "k", "p"} & key.keys()]
    if private:
        return problem(
            "JWKS", "contains a private key", why="everyone can forge tokens", change="replace the signing keys now"
        )
    if not keys:
        return problem(
            "JWKS", "has no key", why="services cannot verify any token", change="`idp check-db`, then /readyz"
        )
    return ok("JWKS", ", ".join(str(key.get("alg")) for key in keys))


def _internal_routes(client: httpx2.Client, _url: str) -> Finding:
    """C-28."""
    answer = client.post("/internal/validate-key", json={"key": "sk_live_doctor"})
    if answer.status_code == 200:
        return problem(
            "internal routes",
            "/internal/validate-key answers without a credential",
            why="it tells anyone whether a guessed key is valid",
            change="do not route /internal, or set INTERNAL_API_TOKEN",
        )
    if answer.status_code in {401, 403} and _json(answer).get("code"):
        return warning(
            "internal routes",
            f"/internal is routed, and asks for a token ({answer.status_code})",
            why="what is not routed cannot be attacked",
            change="do not route /internal (deploy/kubernetes/ingress.yaml lists the public paths)",
        )
    return ok("internal routes", f"not reachable ({answer.status_code})")


def _metrics(client: httpx2.Client, _url: str) -> Finding:
    status = client.get("/metrics").status_code
    if status == 200:
        return problem(
            "metrics",
            "/metrics answers without a credential",
            why="it tells how often sign-ins fail, and what is in use",
            change="do not route /metrics; METRICS_TOKEN or IDP_METRICS_PORT for Prometheus",
        )
    return ok("metrics", f"not public ({status})")


def _dev_headers(client: httpx2.Client, _url: str) -> Finding:
    """S3-48, SEC-12."""
    answer = client.get("/auth/me", headers={"X-User-Email": "not an address"})  # so that no user is created
    if answer.status_code == 200 or _json(answer).get("code") in _OF_DEV_HEADERS:
        return problem(
            "dev headers",
            "X-User-Email signs in",
            why="everyone can claim to be anyone",
            change="run `idp serve`, not `idp dev`",
        )
    return ok("dev headers", f"refused ({answer.status_code})")


def _cors(client: httpx2.Client, _url: str) -> Finding:
    """S3-50, SEC-78."""
    headers = {"Origin": _FOREIGN, "Access-Control-Request-Method": "GET"}
    for answer in (client.options("/auth/me", headers=headers), client.get("/auth/me", headers=headers)):
        allowed = answer.headers.get("access-control-allow-origin")
        if allowed in {_FOREIGN, "*"} and "access-control-allow-credentials" in answer.headers:
            return problem(
                "CORS",
                f"{_FOREIGN} may send credentials",
                why="any page could act for its visitors",
                change="AUTH_API_CORS_ORIGINS with your origins, and no CORS headers of the proxy's own",
            )
    return ok("CORS", "a foreign origin is not allowed")


def _forwarded_host(client: httpx2.Client, url: str) -> Finding:
    """SEC-10: links and the issuer never follow what a client sends."""
    answer = client.get(
        "/.well-known/openid-configuration",
        headers={"X-Forwarded-Host": "doctor.invalid", "Forwarded": "host=doctor.invalid"},
    )
    if "doctor.invalid" in answer.text:
        return problem(
            "forwarded host",
            "X-Forwarded-Host changes the issuer",
            why="mails could carry links to an attacker's site",
            change=f"IDP_PUBLIC_URL={url}",
        )
    return ok("forwarded host", "ignored")


def _pages(client: httpx2.Client, _url: str) -> Finding:
    """SEC-43."""
    headers = client.get("/login", headers={"Accept": "text/html"}).headers
    policy = headers.get("content-security-policy", "")
    if "frame-ancestors 'none'" not in policy or "unsafe-inline" in policy:
        return problem(
            "pages",
            f"/login has the policy {policy or 'none'}",
            why="another site could frame the sign-in page, or run scripts in it",
            change="the proxy must keep Content-Security-Policy",
        )
    return ok("pages", "/login has a strict Content-Security-Policy")


def _clock(client: httpx2.Client, _url: str) -> Finding:
    sent = clock.now()
    answer = client.get("/healthz")
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return unknown("clock", "no Date header", why="tokens need the same time everywhere")
    skew = max(sent - theirs - timedelta(seconds=1), theirs - clock.now(), timedelta(0))
    if skew > _MAX_SKEW:
        return problem(
            "clock",
            f"{skew.total_seconds():.0f} s from this machine's",
            why="tokens are refused as expired or as not valid yet",
            change="synchronise the machines with NTP",
        )
    return ok("clock", "the same as this machine's")


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
