"""Refuses unknown members that look like a misspelling of a known one (decision 0033).

Paths of the old services ignore unknown members (C-16). But a client that sends `ttl: 30` for `ttl_days`, or
`required_scope` for `required_scopes`, would get more access than intended. So near misses are refused.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, get_args

import msgspec

from idp.ops.problems import FieldError

_LIFE = frozenset({
    "ttl", "ttl_days", "ttl_seconds", "expires", "expires_at", "expires_in", "expires_in_days", "expires_in_seconds",
    "expires_after", "expire_days", "expiry", "expiry_days", "expiration", "expiration_days", "extend_days", "extend",
    "days", "duration", "lifetime", "lifetime_days", "max_age", "valid_for", "valid_days", "validity",
})  # fmt: skip
_SCOPES = frozenset({"scope", "scopes", "required_scope", "required_scopes", "permission", "permissions"})
_PASSWORD = frozenset({"password", "new_password", "current_password", "pass", "passwd", "pwd"})
_CREDENTIAL = frozenset({"token", "key", "api_key", "access_token", "credential", "jwt", "secret"})
_EMAIL = frozenset({"email", "new_email", "email_address", "mail", "username", "user_email", "login"})
_REMEMBER = frozenset({"remember", "remember_me", "remember_user", "persistent", "stay_signed_in", "stay_logged_in",
                       "keep_signed_in", "keep_logged_in", "keep_me_signed_in", "keep_me_logged_in"})  # fmt: skip
# Synonyms of a member, on other paths and in common use. They are checked only if the member itself was not sent.
_SYNONYMS: dict[str, frozenset[str]] = {
    "expires_in_days": _LIFE,
    "ttl_days": _LIFE,
    "extend_days": _LIFE,
    "scopes": _SCOPES,
    "required_scopes": _SCOPES,
    "remember_me": _REMEMBER,
    "password": _PASSWORD,
    "new_password": _PASSWORD,
    "current_password": _PASSWORD,
    "token": _CREDENTIAL,
    "key": _CREDENTIAL,
    "refresh_token": frozenset({"refresh", "token", "rt"}),
    "email": _EMAIL,
    "new_email": _EMAIL,
    "metadata": frozenset({"meta"}),
    "name": frozenset({"key_name", "token_name", "full_name", "display_name", "label", "title"}),
    "overlap_seconds": frozenset({"overlap", "grace", "grace_seconds", "grace_period"}),
}
# For members whose loss grants more access (no expiry, no required scope), one word of the name is enough.
_LIFE_WORDS = frozenset({"ttl", "exp", "expire", "expires", "expired", "expiry", "expiration", "expiring", "lifetime",
                         "validity", "valid", "duration", "days", "hours", "until", "after", "age"})  # fmt: skip
_SCOPE_WORDS = frozenset({"scope", "scopes", "permission", "permissions", "role", "roles", "privilege", "privileges",
                          "grant", "grants"})  # fmt: skip
_SIGNAL_WORDS: dict[str, frozenset[str]] = {
    "expires_in_days": _LIFE_WORDS,
    "ttl_days": _LIFE_WORDS,
    "extend_days": _LIFE_WORDS,
    "scopes": _SCOPE_WORDS,
    "required_scopes": _SCOPE_WORDS,
    "remember_me": frozenset({"remember", "remembered", "persist", "persistent", "persisted"}),
}
_TWO_LETTERS_FROM, _ONE_LETTER_FROM = (
    6,
    4,
)  # length of the known member; in a shorter one, one letter makes another word
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAX_UNKNOWN = 100  # unknown members checked in one body, to bound the time
_MAX_NAME = 100  # characters of a name that are compared and shown


def strict(struct: type[msgspec.Struct]) -> type[Any]:
    """Return a copy of the struct that forbids unknown members."""
    if struct.__struct_config__.forbid_unknown_fields:
        return struct
    return msgspec.defstruct(struct.__name__, [], bases=(struct,), frozen=True, forbid_unknown_fields=True)


@cache
def strict_annotation(annotation: Any) -> Any:
    """Return an annotation, such as `RefreshIn | None`, with its struct replaced by the strict one."""
    struct = struct_of(annotation)
    if struct is None:
        return annotation
    return strict(struct) | None if type(None) in get_args(annotation) else strict(struct)


def struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    """Return the struct that an annotation names, alone or beside None."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def check_members(sent: dict[str, Any], struct: type[msgspec.Struct]) -> list[FieldError]:
    """Check the names of the members of a body.

    Args:
        sent: the decoded body.
        struct: of the route.

    Returns:
        An error for each unknown member that looks like a known one or that the route forbids, with a suggestion, and
        for each missing required member. Empty if all names are right.
    """
    known = {each.encode_name: each.required for each in msgspec.structs.fields(struct)}
    unknown = [name for name in sent if name not in known][:_MAX_UNKNOWN]
    missing = [name for name, required in known.items() if required and name not in sent]
    refuses = struct.__struct_config__.forbid_unknown_fields
    meant = {name: _suggestion(name, known, sent) for name in unknown}
    entries = [_unknown(name, meant[name]) for name in unknown if meant[name] or refuses]
    return [*(_missing(name, unknown, meant) for name in missing), *entries]


def _unknown(name: str, meant: str | None) -> FieldError:
    hint = f"did you mean `{meant}`?" if meant else "this path does not accept unknown members."
    return FieldError(loc=["body", name[:_MAX_NAME]], msg=f"Unknown member; {hint}", type="unknown_member")


def _missing(name: str, unknown: list[str], meant: dict[str, str | None]) -> FieldError:
    likely = next((each for each in unknown if meant[each] == name), None)
    text = "This member is required."
    if likely is not None:
        text = f"This member is required; `{likely[:_MAX_NAME]}` was sent: did you mean `{name}`?"
    elif unknown:
        text = f"This member is required; sent and unknown: {_quoted(unknown)}."
    return FieldError(loc=["body", name], msg=text, type="missing")


def _quoted(names: list[str]) -> str:
    shown = ", ".join(f"`{name[:_MAX_NAME]}`" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _suggestion(name: str, known: Iterable[str], sent: dict[str, Any]) -> str | None:
    """Return the known member that a name is a misspelling or a synonym of, None if there is none."""
    plain = _plain(name[:_MAX_NAME])
    by_spelling = [each for each in known if _is_near(plain, _plain(each))]
    if by_spelling:
        return min(by_spelling, key=lambda each: (_distance(plain, _plain(each)), each in sent))
    words = _words(name[:_MAX_NAME])
    return next((each for each in known if each not in sent and _is_synonym(words, each)), None)


def _is_synonym(words: str, known: str) -> bool:
    return words in _SYNONYMS.get(known, ()) or not _SIGNAL_WORDS.get(known, frozenset()).isdisjoint(words.split("_"))


def _plain(name: str) -> str:
    """Return letters and digits in lower case, so that camelCase, kebab-case and snake_case compare equal."""
    return re.sub(r"[\W_]", "", name.casefold())


def _words(name: str) -> str:
    return re.sub(r"\W+", "_", _CAMEL_CASE.sub("_", name)).strip("_").casefold()


def _is_near(sent: str, known: str) -> bool:
    if sent == known or sent in {f"{known}s", f"{known}es"} or known in {f"{sent}s", f"{sent}es"}:
        return True
    allowed = 2 if len(known) >= _TWO_LETTERS_FROM else 1 if len(known) >= _ONE_LETTER_FROM else 0
    return abs(len(sent) - len(known)) <= allowed and _distance(sent, known) <= allowed


def _distance(one: str, other: str) -> int:
    """Return the edit distance: insertions, deletions, substitutions and swaps of neighbours."""
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, against in enumerate(other, 1):
            cost = min(above[column] + 1, line[-1] + 1, above[column - 1] + (letter != against))
            swapped = row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == against
            line.append(min(cost, before[column - 2] + 1) if swapped else cost)
        before, above = above, line
    return above[-1]
