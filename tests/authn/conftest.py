"""The example plugin, installed once for all tests of this folder."""

import importlib
import sys
from collections.abc import Iterator

import pytest

from authn.gateway_plugin import Gateway, install


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """The plugin in its own folder, which is not on the path yet."""
    return install(tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="session")
def installed_gateway(gateway: Gateway) -> Iterator[Gateway]:
    """The same, importable by this process as an installed package is."""
    sys.path.append(str(gateway.site))
    importlib.invalidate_caches()
    yield gateway
    sys.path.remove(str(gateway.site))
