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
    Entry("account_security", "/account/security", "M12 3l7 3v5c0 5-3 8.5-7 10-4-1.5-7-5-7-10V6zM9 12l2 2 4-4"),
)
ADMIN = (Entry("admin_overview", "/admin", "M4 4h7v7H4zM13 4h7v4h-7zM13 10h7v10h-7zM4 13h7v7H4z"),)
