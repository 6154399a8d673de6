"""The chart of the README: what a request costs, compared with other services.

matplotlib draws it, in an environment of its own: the project itself does not need it.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import Contestant
from bench.peers.install import NotInstalled, install_in_venv
from bench.scenarios import Scenario

_MATPLOTLIB = "matplotlib==3.11.*"
_DRAW = Path(__file__).with_name("draw_chart.py")
# In the order of the chart: the scenario, and its name there.
_SHOWN = {
    "validate": "validate a key",
    "introspect": "introspect a key",
    "introspect-jwt": "introspect a token",
    "me": "who is calling",
    "client-credentials": "client_credentials",
    "code": "code to tokens",
}


def draw(measured: Sequence[tuple[Scenario, Sequence[Contestant]]], to: Path) -> str:
    """Write the chart as SVG.

    Args:
        measured: scenarios with their results; those that are not shown or not measured are left out.
        to: the file.

    Returns:
        Why it was not drawn, "" if it was.
    """
    costs = {
        _SHOWN[scenario.name]: {each.name: median(each.costs) for each in contestants if each.costs}
        for scenario, contestants in measured
        if scenario.name in _SHOWN
    }
    with tempfile.TemporaryDirectory(prefix="idp-chart-") as folder:
        try:
            python = install_in_venv(Path(folder), _MATPLOTLIB)
        except NotInstalled as error:
            return str(error)
        subprocess.run([python, str(_DRAW), str(to)], input=json.dumps(costs), text=True, check=True)
    return ""
