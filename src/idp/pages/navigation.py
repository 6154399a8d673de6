"""The navigation of the account and the administration: each entry's name, path and icon, in order.

The text of an entry is `nav.NAME`. A page names its entry as `section`.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """An entry: its name, path, and the outline of its icon (an SVG path in a box of 24 by 24)."""

    name: str
    path: str
    icon: str


ACCOUNT = (
    Entry("account_overview", "/account", "M4 11l8-7 8 7v9h-5v-6H9v6H4z"),
    Entry("account_profile", "/account/profile", "M12 4a4 4 0 1 0 .01 0M4 20c1-4.5 4.5-6 8-6s7 1.5 8 6"),
    Entry("account_security", "/account/security", "M12 3l7 3v5c0 5-3 8.5-7 10-4-1.5-7-5-7-10V6zM9 12l2 2 4-4"),
    Entry("account_sessions", "/account/sessions", "M3 5h18v11H3zM9 20h6M12 16v4"),
    Entry("account_keys", "/account/keys", "M7.5 12a4.5 4.5 0 1 0 .01 9 4.5 4.5 0 0 0 0-9M11 13L20 4M16 8l3 3"),
    Entry(
        "account_identities", "/account/identities", "M9 15l6-6M8 12l-3 3a3 3 0 0 0 4 4l3-3M12 8l3-3a3 3 0 0 1 4 4l-3 3"
    ),
    Entry("account_apps", "/account/apps", "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z"),
    Entry("account_activity", "/account/activity", "M12 4a8 8 0 1 0 .01 0M12 8v4l3 2"),
    Entry("account_data", "/account/data", "M12 4v11M7 11l5 5 5-5M5 20h14"),
)
ADMIN = (
    Entry("admin_overview", "/admin", "M4 4h7v7H4zM13 4h7v4h-7zM13 10h7v10h-7zM4 13h7v7H4z"),
    Entry(
        "admin_users",
        "/admin/users",
        "M9 11a4 4 0 100-8 4 4 0 000 8zM2 21c0-4 3-6 7-6s7 2 7 6M17 4a4 4 0 010 7M22 21c0-3-1-5-4-6",
    ),
    Entry(
        "admin_teams",
        "/admin/teams",
        "M9 2h6v6H9zM2 14h6v6H2zM16 14h6v6h-6zM12 8v4M5 14v-2h14v2",
    ),
    Entry("admin_domains", "/admin/domains", "M4 4h6v5H4zM14 10h6v5h-6zM14 17h6v4h-6zM7 9v10h7M7 12h7"),
    Entry("admin_roles", "/admin/roles", "M12 3l8 3v6c0 5-3 7-8 9-5-2-8-4-8-9V6zM9 12l2 2 4-4"),
    Entry("admin_keys", "/admin/keys", "M8 20a5 5 0 100-10 5 5 0 000 10zM11.5 11.5L21 2M17 6l3 3"),
    Entry("admin_clients", "/admin/clients", "M4 5h16v12H4zM4 9h16M8 21h8M7 7h.1"),
    Entry("admin_providers", "/admin/providers", "M4 12h11M11 7l5 5-5 5M14 4h6v16h-6"),
    Entry("admin_signing_keys", "/admin/signing-keys", "M4 20l5-1 11-11-4-4L5 15zM14 6l4 4"),
    Entry("admin_events", "/admin/events", "M13 3L5 14h6l-1 7 8-11h-6z"),
    Entry("admin_webhooks", "/admin/webhooks", "M12 9a3 3 0 100-6 3 3 0 000 6zM10 8l-4 7M6 21a3 3 0 100-6M14 8l4 7h-9"),
    Entry("admin_audit", "/admin/audit", "M6 3h9l4 4v14H6zM9 12h7M9 16h7M9 8h3"),
    Entry("admin_settings", "/admin/settings", "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M8 14v6"),
    Entry("admin_clerk", "/admin/clerk", "M4 12a8 8 0 0114-5l2-2v6h-6M20 12a8 8 0 01-14 5l-2 2v-6h6"),
    Entry(
        "admin_explain",
        "/admin/explain",
        "M11 18a7 7 0 100-14 7 7 0 000 14zM16 16l5 5M9 9a2 2 0 114 0c0 1.5-2 1.5-2 3M11 14v.1",
    ),
)
