"""The providers on the sign-in page: their buttons, and which one an app or an address chooses."""

from urllib.parse import urlencode

from idp.federation.providers import Provider, Providers
from idp.pages.sign_in_steps import Journey


def start_path(provider: Provider, journey: Journey, *, login_hint: str | None = None) -> str:
    """Return the path that begins a login at a provider and keeps the journey."""
    hint = urlencode({"login_hint": login_hint}) if login_hint else ""
    query = journey.query if not hint else f"{journey.query}&{hint}" if journey.query else f"?{hint}"
    return f"/federation/{provider.name}/start{query}"


def buttons(providers: Providers, journey: Journey) -> list[tuple[str, str]]:
    """Return label and path of each button."""
    return [(each.label, start_path(each, journey)) for each in providers if not each.settings.hidden]


def chosen_by_app(providers: Providers, journey: Journey) -> Provider | None:
    """Return the provider that the app asks for, by `idp_hint` or `domain_hint`; None for an unknown one."""
    pending = journey.pending
    if pending is None:
        return None
    named = next((each for each in providers if each.name == pending.idp_hint), None)
    return named or (providers.find_of_domain(pending.domain_hint) if pending.domain_hint else None)


def chosen_by_address(providers: Providers, email: str, password: str) -> Provider | None:
    """Return the provider that an address's domain is bound to, if no password is entered or none is accepted."""
    bound = providers.find_of_email(email)
    return bound if bound is not None and (bound.settings.refuse_passwords or not password) else None
