"""Request bodies: JSON, decoded once, strictly, straight into the handler's struct.

The framework decodes into plain objects and then converts leniently, where "false" is false and "null" is null. A
service that decides who may do what must not guess: the body is read here, and the framework gets the finished struct.
"""

import re
from typing import Any, TypeVar

import msgspec
from litestar import Request

from idp.errors import MalformedJson, UnsupportedMediaType, ValidationFailed
from idp.ops.problems import FieldError

U = TypeVar("U")
A = TypeVar("A")
S = TypeVar("S", bound=Any)

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_LINE = "Send one line of text that does not begin with a space."
_FORMS: dict[str | int, str] = {
    "email": "This is not an e-mail address.",
    "name": _LINE,
    "external_ref": _LINE,
    "key": "Send lower case letters, digits, dot, dash and underscore, the first a letter or a digit.",
}
_JSON = re.compile(r"application/([a-z0-9.+-]+\+)?json\s*(;|$)", re.IGNORECASE)


class StrictRequest(Request[U, A, S]):
    """A request whose `json()` is the struct that the handler declared."""

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            UnsupportedMediaType: the client says that it is something else.
            MalformedJson: it is not JSON, or not UTF-8.
            ValidationFailed: it is JSON of another shape.
        """
        declared = self.headers.get("content-type")
        if declared and not _JSON.match(declared):
            raise UnsupportedMediaType
        body = await self.body()
        field = self.route_handler.parsed_data_field
        assert field is not None
        try:
            return msgspec.json.decode(body, type=field.annotation)
        except msgspec.ValidationError as error:
            entry = _place(error)
            raise ValidationFailed(f"{'.'.join(map(str, entry.loc))}: {entry.msg}", errors=[entry]) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _malformed(str(error)[:200]) from None


def _malformed(reason: str) -> MalformedJson:
    return MalformedJson(errors=[FieldError(loc=["body"], msg=reason, type="json_invalid")])


def _place(error: msgspec.ValidationError) -> FieldError:
    """Turn msgspec's text, such as "Expected `str`, got `int` - at `$.email`", into a place and a message."""
    message, _, place = str(error).partition(" - at `")
    path: list[str | int] = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]$`]+", place)]
    if missing := _MISSING.match(message):
        return FieldError(loc=["body", *path, missing[1]], msg="This member is required.", type="missing")
    if "matching regex" in message:
        message = _FORMS.get(path[-1] if path else "", "Not of the form that /docs shows.")
    return FieldError(loc=["body", *path], msg=message[:200], type="value_error")
