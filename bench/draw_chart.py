"""Draws costs as horizontal bars on a logarithmic axis. Usage: draw_chart.py FILE < costs.json.

Input: the costs of each contestant (µs) by the request's name. Needs only matplotlib.
"""

import json
import sys
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot

# In this order within a request: the name in the results, in the legend, and the colour.
SERVICES = (
    ("ceiling", "bare ASGI application (the ceiling)", "#afb8c1"),
    ("idp", "idp", "#1f6feb"),
    ("oidc-provider", "oidc-provider (Node)", "#e8823a"),
    ("better-auth", "better-auth (Node)", "#8e62d9"),
    ("S2", "former token service (FastAPI)", "#4fa262"),
)
TEXT, MUTED, GRID = "#1f2328", "#59636e", "#d8dee4"
BAR = 1.0


def main() -> None:
    """Read costs from stdin and write the file."""
    costs: dict[str, dict[str, float]] = json.load(sys.stdin)
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "idp", "font.family": ["sans-serif"], "font.size": 10})
    figure, axes = pyplot.subplots(figsize=(9, 0.9 + 0.24 * sum(len(each) + 1.2 for each in costs.values())))
    at, ticks, seen = 0.0, list[tuple[float, str]](), set[str]()
    for request, by_service in costs.items():
        shown = [each for each in SERVICES if each[0] in by_service]
        for name, label, colour in shown:
            cost = by_service[name]
            axes.barh(at, cost, height=0.86 * BAR, color=colour, label=None if name in seen else label, zorder=2)
            weight = "bold" if name == "idp" else "normal"
            axes.text(cost * 1.06, at, f"{cost:,.0f}", va="center", color=TEXT, fontsize=9, fontweight=weight)
            seen.add(name)
            at += BAR
        ticks.append((at - BAR * (len(shown) + 1) / 2, request))
        at += 1.2 * BAR
    style(axes, ticks, largest=max(max(each.values()) for each in costs.values()))
    figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=9, labelcolor=TEXT)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(sys.argv[1], format="svg", facecolor="white", metadata={"Date": None, "Creator": None})


def style(axes: Any, ticks: list[tuple[float, str]], *, largest: float) -> None:
    """Set axes, labels and grid."""
    axes.set_xscale("log")
    axes.set_xlim(10, largest * 1.8)
    axes.invert_yaxis()
    axes.set_yticks([place for place, _ in ticks], [request for _, request in ticks], color=TEXT)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", colors=MUTED, labelsize=9)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(
        "Processor time of one request in µs, logarithmic: less is better",
        loc="left",
        fontsize=11.5,
        color=TEXT,
        pad=12,
    )


if __name__ == "__main__":
    main()
