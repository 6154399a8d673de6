"""Templates of the pages of `idp dev`, which extend those of the service."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from idp import pages

FOLDER = Path(__file__).parent
TEMPLATES = Environment(
    loader=FileSystemLoader([FOLDER / "templates", Path(str(pages.__file__)).parent / "templates"]),
    autoescape=True,
    undefined=StrictUndefined,
)
