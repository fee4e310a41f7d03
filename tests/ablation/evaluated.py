"""Evaluations of a grid's runs in the form that `hallo3 evaluate RUN --protocol P` leaves, without networks or videos."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from scored import write

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import places
from hallo3_lightning.evaluation.folders import pair
from hallo3_lightning.evaluation.footage import Measured
from hallo3_lightning.evaluation.kept import FOLDER, Store
from hallo3_lightning.evaluation.published_metric import metric
from hallo3_lightning.evaluation.recipe import read_recipe

SYNC, SET = "sync_c/valid", "kvd/disco-16"
CLIPS = [f"clip-{i:02d}" for i in range(10)]
WIDTH = 7


def grid(
    place: Path, sync: Mapping[str, float], off: Mapping[str, float], seeds: int = 2, **page
) -> tuple[Path, Path, str]:
    """A grid file, its root, and the protocol; arm -> level of Sync-C, and how far its features are from the real ones."""
    own = {arm: [dict.fromkeys(CLIPS, 0.5)] * seeds for arm in sync}
    file, root = write(place, {"mouth_correlation": (True, own)}, **{"decide_by": [], **page})
    protocol = place / "seen.yaml"
    protocol.write_text(yaml.safe_dump({"id": "seen", "version": 1, "about": "a test", "metrics": [SYNC, SET]}))
    for spot in places(read(file), root):
        assert spot.folder is not None
        where = spot.folder.path / "evaluation" / "seen"
        evaluate(where, str(protocol), sync[spot.run.arm.name], off[spot.run.arm.name], spot.run.seed)
    return file, root, str(protocol)


def evaluate(where: Path, protocol: str, sync: float, off: float, seed: int) -> None:
    """One evaluation: the last clip has no face, so no Sync-C."""
    _features(where, off, seed)
    noise = torch.randn(len(CLIPS), generator=torch.Generator().manual_seed(seed)).tolist()
    rows = [
        *(_row(clip, "generated", SYNC, sync + 0.05 * noise[i] + 0.1 * i) for i, clip in enumerate(CLIPS[:-1])),
        _row(CLIPS[-1], "generated", SYNC, None, "no face"),
        *(_row(clip, "real", SYNC, 7.0) for clip in CLIPS),
        *(_row(clip, "floor", SYNC, 1.0 + 0.01 * i) for i, clip in enumerate(CLIPS)),
        *(_row(clip, source, SET, None, "in the set") for clip in CLIPS for source in ("real", "generated")),
    ]
    (where / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    about = {"unit": "", "of": len(CLIPS), "real": {"value": 0.1}}
    report = {
        "protocol": {"id": "seen", "version": 1, "hash": read_recipe(protocol).hash},
        "real": {"folder": str(where / "real"), "clips": len(CLIPS)},
        "fake": {"folder": str(where / "fake"), "clips": len(CLIPS)},
        "metrics": {
            SYNC: {**about, "value": sync, "n": len(CLIPS) - 1, "higher_is_better": True},
            SET: {**about, "value": off, "n": len(CLIPS), "n_real": len(CLIPS), "higher_is_better": False},
        },
    }
    (where / "metrics.json").write_text(json.dumps(report))
    told = {"run": str(seed), "step": 9, "seed": seed, "guidance": 3.0, "device": "cpu"}
    (where / "generation.json").write_text(json.dumps(told))


def stamped(where: Path, stamp: str) -> None:
    """The same evaluation as if it were of invented weights."""
    for name in ("metrics.json", "rows.jsonl"):
        lines = (where / name).read_text().splitlines()
        (where / name).write_text("\n".join(json.dumps({**json.loads(line), "stamp": stamp}) for line in lines))


def _row(clip: str, source: str, name: str, value: float | None, status: str = "scored") -> dict:
    better = {"unit": "", "higher_is_better": name == SYNC, "protocol": "seen", "protocol_hash": "00"}
    return {"clip": clip, "source": source, "metric": name, "value": value, "status": status, "frames": 16, **better}


def _features(where: Path, off: float, seed: int) -> None:
    """Videos that nobody can decode, and rows as if one had: those of the fake ones are moved by `off`."""
    for side in ("real", "fake"):
        (where / side).mkdir(parents=True)
        for clip in CLIPS:
            (where / side / f"{clip}.mp4").write_bytes(b"x")
    store, feature = Store(where / FOLDER), metric(SET).features[0]
    for video in pair(where / "real", where / "fake").videos:
        number = CLIPS.index(video.clip)
        salt = [1000, 2000 + seed][video.side == "fake"]
        drawn = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(salt + number))
        values = {"rows": drawn + (off if video.side == "fake" else 0.0)}
        store.save(video, video.state, 16, {feature: Measured(values)}, {feature: "by hand"})
