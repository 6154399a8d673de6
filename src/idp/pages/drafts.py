"""What a person had entered in a form whose session ended: kept in an encrypted cookie until they are back."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from litestar.datastructures import Cookie
from msgspec import Struct

from idp import clock
from idp.ops.origins import AllowedOrigins
from idp.signing.sealing import Sealer

_LIFE = timedelta(minutes=30)
_MAX_LENGTH = 3800  # characters of a cookie that every browser keeps
_NOT_KEPT = ("csrf_token", "password", "code", "secret", "credential")  # parts of names of fields


class Draft(Struct, frozen=True):
    """The fields of a form.

    Attributes:
        path: of the page that shows the form.
        user_id: who entered them, as the form named them.
    """

    path: str
    user_id: str
    fields: dict[str, str]
    expires_at: datetime


class Drafts:
    """Keeps drafts in the browser.

    Args:
        sealer: encrypts them.
        origins: our own URL: whether it is https, and its path.
    """

    def __init__(self, sealer: Sealer, origins: AllowedOrigins) -> None:
        self._sealer = sealer
        self._secure = origins.own.startswith("https://")
        self._path = origins.cookie_path
        self.name = origins.cookie_name("idp_draft")

    def keep(self, path: str, form: Mapping[str, str]) -> list[Cookie]:
        """Return the cookie that keeps a form without its secrets; none if it is too long for a cookie.

        Args:
            path: of the page that shows the form.
            form: its fields; `form_user` names who entered them.
        """
        fields = {name: text for name, text in form.items() if not any(each in name for each in _NOT_KEPT)}
        user_id = fields.pop("form_user", "")
        if not fields:
            return []
        draft = Draft(path, user_id, fields, clock.now() + _LIFE)
        sealed = self._sealer.seal(msgspec.json.encode(draft), purpose="draft")
        return [self._cookie(sealed, int(_LIFE.total_seconds()))] if len(sealed) <= _MAX_LENGTH else []

    def take(self, cookies: Mapping[str, str], path: str, user_id: str) -> tuple[dict[str, str], list[Cookie]]:
        """Return what this user had entered on this page, and the cookie that deletes it; empty without a draft."""
        sealed = cookies.get(self.name)
        opened = self._sealer.open(sealed, purpose="draft") if sealed else None
        if opened is None:
            return {}, []
        draft = msgspec.json.decode(opened, type=Draft)
        if draft.path != path or draft.user_id != user_id or draft.expires_at <= clock.now():
            return {}, []
        return draft.fields, [self._cookie("", 0)]

    def _cookie(self, value: str, seconds: int) -> Cookie:
        return Cookie(
            key=self.name,
            value=value,
            max_age=seconds,
            path=self._path,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )
