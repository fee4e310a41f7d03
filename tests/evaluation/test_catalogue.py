"""Every metric is told with what one must know to use it."""

import json

from hallo3_lightning.backbones.weight_files import REGISTRY
from hallo3_lightning.cli import main
from hallo3_lightning.evaluation.catalogue import BETTER, catalogue
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.evaluation.published_metric import known_metrics
from hallo3_lightning.evaluation.recipe import known_recipes, read_recipe
from hallo3_lightning.find import names


def test_every_metric_is_there_once_with_unit_direction_and_needs():
    entries = catalogue(Networks())
    ids = [entry.protocol for entry in entries]
    files = {name for one in ("published", "metrics") for name in names(f"evaluation.{one}")}
    assert len(ids) == len(set(ids))
    assert set(known_metrics()) < set(ids)
    assert {part for name in ids for part in name.removeprefix("truth/").split("/")[:1]} == files
    for entry in entries:
        assert entry.title
        assert entry.unit
        assert entry.better in BETTER.values()
        assert all(REGISTRY[name].needed_by.count("evaluate") for name in entry.lacks)


def test_what_a_metric_needs_is_what_it_lacks_until_it_is_there(tmp_path):
    (tmp_path / "raft-things.pth").write_bytes(b"raft")
    before, after = ({e.protocol: e for e in catalogue(Networks(folder))} for folder in (None, tmp_path))
    assert before["mean_flow/raft"].lacks == ("raft-things.pth",)
    assert after["mean_flow/raft"].lacks == ()
    assert before["efid/deep3d64"].lacks == after["efid/deep3d64"].lacks
    assert before["sync_c/valid"].needs == ("syncnet_v2.model", "sfd_face.pth or a faces.jsonl", "sound")
    assert before["lip_distance/68"].needs == ("x.landmarks.npy beside x.mp4", "the true clip")
    assert before["fid/pytorch_fid"].needs[1:] == ("a set of true clips",)
    assert before["sharpness/laplacian"].needs == ()
    assert before["truth/mouth_lag"].needs == ("the true clip", "its aperture")


def test_the_doctor_lists_them_for_evaluate(tmp_path, capsys):
    (tmp_path / "raft-things.pth").write_bytes(b"raft")
    assert main(["doctor", "--for", "evaluate", "--weights-dir", str(tmp_path)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "dynamic_degree/vbench: higher is better, in share of clips; needs raft-things.pth " in told
    assert "subject_consistency/vbench: higher is better; needs dino_vitbase16_pretrain.pth (missing)" in told
    assert "kvd/{disco, disco-16, videogpt," in told
    assert main(["doctor", "--for", "evaluate", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["metrics"]) == len(catalogue(Networks()))
    assert main(["doctor", "--json"]) == 0
    assert "metrics" not in json.loads(capsys.readouterr().out)


def test_every_protocol_names_metrics_of_it_and_says_what_it_leaves_open():
    known = {entry.protocol for entry in catalogue(Networks())}
    recipes = {name: read_recipe(name) for name in known_recipes()}
    assert {"hdtf-paper", "celebv-paper", "wild-paper", "tiny", "hallo3-v1"} <= set(recipes)
    for name, recipe in recipes.items():
        assert recipe.id == name
        assert set(recipe.metrics) <= known
        assert recipe.choices or name == "tiny"
