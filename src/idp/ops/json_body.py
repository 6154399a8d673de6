"""Request bodies: JSON and forms, decoded once and strictly into the handler's struct.

The framework converts leniently: the string "false" becomes false. An authorization service must not guess, so bodies
are decoded here and the framework gets the finished struct.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.plugins.htmx import HTMXRequest

from idp.errors import MalformedJson, OAuthInvalidRequest, UnsupportedMediaType, ValidationFailed
from idp.ops.misspelt_members import check_members, strict_annotation, struct_of
from idp.ops.problems import FieldError

_MAX_PARAMETERS = 50
_MAX_SHOWN = 5  # errors in `detail`; `errors` has all of them
_LINE = (
    "Send one line of text that does not begin with a space, without control characters (such as a line break) and "
    "invisible ones (such as U+202E)."
)
_FORMS: dict[str, str] = {
    "email": "This is not an e-mail address.",
    "name": _LINE,
    "external_ref": _LINE,
    "key": "Send lower case letters, digits, dot, dash and underscore, the first a letter or a digit.",
    "reason": "Send one line of text without control and invisible characters.",
    "scopes": "A scope is plain ASCII without spaces, quotation marks or backslashes.",
    "roles": "A role is lower case letters, digits, dot, dash, colon and underscore, the first a letter.",
}
_JSON = re.compile(r"application/([a-z0-9.+-]+\+)?json\s*(;|$)", re.IGNORECASE)


class StrictRequest(HTMXRequest):
    """A request whose `json()` is the struct that the handler declared, and whose `htmx` tells what htmx asks for."""

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            UnsupportedMediaType: Content-Type is not JSON.
            MalformedJson: it is not JSON, or not UTF-8.
            ValidationFailed: it is JSON of another shape.
        """
        declared = self.headers.get("content-type")
        if declared and not _JSON.match(declared):
            raise UnsupportedMediaType
        body = await self.body()
        if body and not declared:
            raise UnsupportedMediaType  # a cross-site page can send this without a preflight
        field = self.route_handler.parsed_data_field
        assert field is not None
        if not body and field.is_optional:
            return None
        try:
            return decode_body(body, field.annotation)
        except msgspec.ValidationError as error:
            raise _refusal([place_of(error)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _malformed(str(error)[:200]) from None


def decode_body(body: bytes, annotation: Any) -> Any:
    """Decode a body; unknown members are ignored unless they look like a misspelling of a known one.

    Raises:
        ValidationFailed: a required member is missing, or a name is misspelt.
        msgspec.DecodeError: it is not JSON, or has another shape.
    """
    struct = struct_of(annotation)
    try:
        decoded = msgspec.json.decode(body, type=strict_annotation(annotation))
        # The framework requires the declared type itself.
        return decoded if struct is None or decoded is None else struct(*msgspec.structs.astuple(decoded))
    except msgspec.ValidationError:
        sent = msgspec.json.decode(body) if struct is not None else None
        if struct is not None and isinstance(sent, dict) and (entries := check_members(sent, struct)):
            raise _refusal(entries) from None
        return msgspec.json.decode(body, type=annotation)


def _refusal(entries: list[FieldError]) -> ValidationFailed:
    return ValidationFailed(_details(entries), errors=entries)


def _details(entries: list[FieldError]) -> str:
    return "; ".join(f"{'.'.join(map(str, entry.loc))}: {entry.msg}" for entry in entries[:_MAX_SHOWN])


async def check_form(request: Request[Any, Any, Any]) -> None:
    """Refuse an ambiguous form before the framework reads it (a `before_request` hook).

    Raises:
        OAuthInvalidRequest: it is not a form; a parameter is repeated (RFC 6749 section 3.1), missing or misspelt.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/x-www-form-urlencoded":
        raise OAuthInvalidRequest("Send the body as application/x-www-form-urlencoded.")
    sent = dict(parse_form(await request.body()))
    field = request.route_handler.parsed_data_field
    struct = struct_of(field.annotation) if field is not None else None
    if struct is not None and (entries := check_members(sent, struct)):
        raise OAuthInvalidRequest(_details(entries).replace("body.", "").replace("member", "parameter"))


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a form.

    Raises:
        OAuthInvalidRequest: it is not UTF-8, has too many parameters, or repeats one.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise OAuthInvalidRequest("The form cannot be read.") from None
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise OAuthInvalidRequest("A parameter is repeated.")
    return pairs


def _malformed(reason: str) -> MalformedJson:
    return MalformedJson(errors=[FieldError(loc=["body"], msg=reason, type="json_invalid")])


def place_of(error: msgspec.ValidationError) -> FieldError:
    """Return the place and text of msgspec's error, such as "Expected `str`, got `int` - at `$.email`"."""
    message, _, place = str(error).partition(" - at `")
    path: list[str | int] = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]$`]+", place)]
    if "matching regex" in message:
        names = [part for part in path if isinstance(part, str)]  # for an item, the name of its list
        message = _FORMS.get(names[-1] if names else "", "The format is wrong; /docs shows the expected one.")
    return FieldError(loc=["body", *path], msg=message[:200], type="value_error")
