"""HTTP client of the commands: JSON in and out; errors become a sentence and an exit code."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from idp.cli.failure import Away, BadInput, Failure, NotFound, Refused
from idp.cli.http import Answer, ConnectionFailed, is_loopback, send
from idp.cli.target import Target

_LATER = frozenset({429, 502, 503, 504})


class Client:
    """Client of one service.

    Args:
        target: URL and credential.
        hints: remedies for error statuses, one sentence each.
    """

    def __init__(self, target: Target, *, hints: Mapping[int, str]) -> None:
        self._target = target
        self._hints = hints

    def get(self, path: str, **query: object) -> Any:
        """Return the decoded response; None values are left out of the query. Raises as `_call`."""
        given = {name: _text(value) for name, value in query.items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(given)}" if given else path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the decoded response. Raises as `_call`."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the decoded response. Raises as `_call`."""
        return self._call("PATCH", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the decoded response. Raises as `_call`."""
        return self._call("PUT", path, body)

    def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the decoded response. Raises as `_call`."""
        return self._call("DELETE", path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request.

        Raises:
            Away: the service is unreachable or temporarily unavailable.
            Refused: 401 or 403.
            NotFound: 404.
            BadInput: any other 4xx.
            Failure: the response is not from idp.
        """
        try:
            answer = send(method, self._target.url + path, headers=self._target.headers, body=body)
        except ConnectionFailed as error:
            advice = "is it running?" if is_loopback(self._target.url) else "is the URL correct?"
            raise Away(f"{self._target.url} does not answer ({error}): {advice}") from None
        decoded = answer.json()
        if 200 <= answer.status < 300 and decoded is not None:
            return decoded
        raise self._failure(answer, decoded)

    def _failure(self, answer: Answer, decoded: Any) -> Failure:
        where, said = self._target.url, _detail(decoded)
        if said is None:
            return Failure(
                f"{where} is not an idp service: unexpected response ({answer.status}). Check the URL (--url)."
            )
        if answer.status in {401, 403}:
            return Refused(f"{where} refuses: {said} {self._hints.get(answer.status, '')}".rstrip())
        if answer.status == 404:
            return NotFound(f"{said}")
        if answer.status in _LATER:
            return Away(f"{where} is temporarily unavailable: {said}")
        return BadInput(said) if answer.status < 500 else Failure(f"{where} failed ({answer.status}): {said}")


def segment(text: str) -> str:
    """Return text escaped as one path segment."""
    return quote(text, safe="")


def _detail(decoded: Any) -> str | None:
    """Return the detail of idp's problem document (RFC 9457 with `code`), None for anything else."""
    detail = decoded.get("detail") if isinstance(decoded, dict) and "code" in decoded else None
    if not isinstance(detail, str) or not detail:
        return None
    return detail if detail.endswith((".", "?", "!")) else f"{detail}."


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
