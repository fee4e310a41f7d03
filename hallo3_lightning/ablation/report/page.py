"""From contents to one page of HTML: everything is in it, and it asks nothing of any network."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hallo3_lightning.ablation.numerals import words
from hallo3_lightning.ablation.report.contents import Contents
from hallo3_lightning.ablation.report.side_by_side import SPARK
from hallo3_lightning.geometry import FPS

COLOURS = (
    ("#2468b4", "#7db3f2"),
    ("#cf5f22", "#f59d6c"),
    ("#23875a", "#67cf9f"),
    ("#9c3f88", "#e08fcc"),
    ("#a87f00", "#e4c455"),
    ("#5a55c4", "#aaa6f7"),
    ("#b3303f", "#f28b96"),
    ("#2f7f92", "#7fcadb"),
)
"""Of the first arms, on light and on dark paper; further ones are spread around the circle of hues."""

GOLDEN_ANGLE = 137.508


def html(contents: Contents) -> str:
    """The page. Names and texts of the grid are escaped wherever they stand; only our own script may run in it."""
    environment = Environment(
        loader=PackageLoader(__package__, "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = words
    script = _own("page.js")
    return environment.get_template("page.html").render(
        page=contents,
        style=Markup(_own("page.css")),
        script=Markup(script),
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        colours=[colours(number) for number in range(len(contents.arms))],
        spark=SPARK,
        fps=FPS,
    )


def colours(arm: int) -> tuple[str, str]:
    """Of an arm, on light and on dark paper."""
    if arm < len(COLOURS):
        return COLOURS[arm]
    hue = round(arm * GOLDEN_ANGLE % 360)
    return f"hsl({hue} 60% 38%)", f"hsl({hue} 65% 72%)"


def _own(name: str) -> str:
    return (files(__package__) / "template" / name).read_text(encoding="utf-8")
