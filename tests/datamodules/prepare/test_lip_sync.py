"""SyncNet with weights of no training runs for real here; what it says means nothing, so the limits decide."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datamodules.prepare.faces import finder
from datamodules.prepare.judge import Judge
from datamodules.prepare.settings import Settings
from datamodules.prepare.verdict import Verdict
from hallo3_lightning.backbones.lip_sync import LipSync
from hallo3_lightning.backbones.syncnet import SyncNet

SMALL = Settings(height=16, width=24, min_frames=20)


@pytest.fixture(scope="module")
def lip_sync(tmp_path_factory) -> LipSync:
    file = tmp_path_factory.mktemp("weights") / "syncnet_v2.model"
    torch.manual_seed(5)
    torch.set_num_threads(1)
    torch.save(SyncNet().state_dict(), file)
    return LipSync(file)


def verdict(videos: Path, sources, lip_sync: LipSync, **limits) -> Verdict:
    found = finder(faces_file=videos / "faces.jsonl")
    return next(Judge(replace(SMALL, **limits), found, lip_sync).judge(sources[0]))[0]


def test_lips_that_do_not_fit_the_sound_are_dropped_with_the_measurement(videos, sources, lip_sync):
    apart = verdict(videos, sources, lip_sync, sync_offset=-1, sync_confidence=-1e9)
    unsure = verdict(videos, sources, lip_sync, sync_offset=99, sync_confidence=1e9)
    assert apart.verdict == unsure.verdict == "lip-sync offset"
    assert apart.detail == unsure.detail
    frames, confidence = apart.detail.split(" frames, confidence ")
    assert abs(int(frames)) <= lip_sync.shifts
    float(confidence)


def test_lips_within_the_limits_are_kept(videos, sources, lip_sync):
    assert verdict(videos, sources, lip_sync, sync_offset=99, sync_confidence=-1e9).kept
