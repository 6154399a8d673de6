"""Sessions of support end with those of their administrator, and odd addresses are no errors of the service."""

from urllib.parse import quote

from factories import Service
from flows.test_support_sessions import REASON, act
from pages.visitor import Visitor, form_of


async def test_a_session_of_support_ends_when_its_administrator_signs_out_everywhere(service: Service) -> None:
    admin, person = await service.register_admin(), await service.register()
    started = (await act(service, admin, person.id)).json()
    gone = await service.client.post("/api/auth/logout-all", headers=admin.bearer, json={})
    assert gone.status_code < 300, gone.text
    bearer = {"Authorization": f"Bearer {started['access_token']}"}
    assert (await service.client.get("/auth/me", headers=bearer)).status_code == 401


async def test_odd_ids_in_addresses_are_not_errors_of_the_service(service: Service) -> None:
    admin, person = await service.register_admin(), await service.register()
    async with Visitor(service) as visitor:
        await visitor.sign_in(admin)
        page = await visitor.open(f"/admin/users/{person.id}/act")
        fields = form_of(page, f"/admin/users/{person.id}/act").fields
        headers = {"Origin": service.base_url}
        seen = {}
        for odd in ("a\r\nX-Evil: 1", "a\x00b", "ü€", "..%2f", "/evil.example"):
            for path in ("act", "profile"):
                for token in (fields["csrf_token"], "stale"):
                    answer = await visitor.client.post(
                        f"/admin/users/{quote(odd, safe='')}/{path}",
                        data={**fields, "csrf_token": token, "reason": REASON, "name": "x"},
                        headers=headers,
                    )
                    seen[odd, path, token == "stale"] = (
                        answer.status_code,
                        answer.headers.get("Location"),
                        answer.headers.get("X-Evil"),
                    )
            for path in (
                f"/admin/users/{quote(odd, safe='')}",
                f"/admin/users?after={quote(odd, safe='')}&q={quote(odd, safe='')}",
                f"/admin/keys?q={quote(odd, safe='')}&after={quote(odd, safe='')}",
                f"/admin/audit?user={quote(odd, safe='')}&cursor={quote(odd, safe='')}",
                f"/admin/clients?after={quote(odd, safe='')}",
                f"/admin/clients/{quote(odd, safe='')}",
                f"/admin/teams?q={quote(odd, safe='')}&after={quote(odd, safe='')}",
                "/admin/audit?since=0001-01-01T00:00%2B14:00",
                f"/account?done={quote(odd, safe='')}",
                f"/account/activity?cursor={quote(odd, safe='')}&before={quote(odd, safe='')}",
                f"/second-factor?return_to={quote(odd, safe='')}",
            ):
                answer = await visitor.client.get(path)
                seen[path] = answer.status_code
        bad = {
            key: value
            for key, value in seen.items()
            if (value if isinstance(value, int) else value[0]) >= 500 or (not isinstance(value, int) and value[2])
        }
        assert bad == {}
