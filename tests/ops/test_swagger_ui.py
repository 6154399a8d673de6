"""The files of Swagger UI are identical with upstream's."""

import hashlib
from pathlib import Path

from swagger_ui_bundle import swagger_ui_path

# `npm pack swagger-ui-dist@5.31.0`, then sha256sum.
UPSTREAM = {
    "swagger-ui-bundle.js": "93b7b0862a80e2786f85b560be7693c2344354ffa7e7e224f850a54349724c31",
    "swagger-ui.css": "9e576f8322132c76949da47f9bb53c891373c303ea3a761ff548ffc9de50a98c",
}


def test_the_files_of_the_wheel_are_those_of_npm() -> None:
    """docs/decisions/0007."""
    for name, digest in UPSTREAM.items():
        assert hashlib.sha256((Path(str(swagger_ui_path)) / name).read_bytes()).hexdigest() == digest, name
