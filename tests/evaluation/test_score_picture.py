"""Every clip under every metric, drawn."""

from matplotlib.figure import Figure

from hallo3_lightning.evaluation import score_picture

TOLD = {"unit": "", "higher_is_better": None, "title": "a", "protocol": "a/b"}


def test_the_order_of_what_is_drawn_is_no_matter_of_the_process():
    """Text in a set has another order in every process, and lines lie upon each other: other pixels."""
    clips = [f"clip-{number:02d}" for number in range(30)]
    sources = {side: {clip: float(place) for place, clip in enumerate(clips)} for side in ("real", "fake")}
    axis = Figure().add_subplot()
    score_picture._strips(axis, sources, TOLD)
    joined = [line.get_ydata()[0] for line in axis.lines if line.get_color() == "#cccccc"]
    assert joined == sorted(joined)
    assert len(joined) == len(clips)
