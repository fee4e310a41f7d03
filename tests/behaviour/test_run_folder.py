"""A run's folder: found again by what changes its results, complete, and never shared by two processes."""

import io
import json
from copy import deepcopy

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from hallo3_lightning.ablation.meaning import fingerprint, flat, resolve, results_of
from hallo3_lightning.cli import main
from hallo3_lightning.evaluation.conditions import CONDITIONS
from hallo3_lightning.evaluation.rows_file import read
from hallo3_lightning.training import kept_clips
from tests.behaviour.ending import stopping
from tests.behaviour.studio import TINY, events, read_json, scalars


def test_a_finished_run_has_everything(identity):
    names = {path.name for path in identity.path.iterdir()}
    assert {"config.yaml", "provenance.json", "facts.json", "status.json", "metrics.json"} <= names
    assert {"samples", "tensorboard", "checkpoints"} <= names
    assert identity.status().state == "finished"
    assert identity.status().step == identity.status().max_steps == 2
    facts = identity.facts()
    assert facts["steps"] == 2
    assert 0 < facts["trainable_parameters"] == facts["total_parameters"]
    origin = read_json(identity.path / "provenance.json")
    assert origin["fingerprint"] == fingerprint(identity.config())
    assert origin["data"]["arguments"]["takes"] == 6
    assert {"torch", "lightning", "python"} <= origin["versions"].keys()
    rows = read(identity.path)
    assert {name for source, name in rows.metrics if source == "generated"} >= set(
        read_json(identity.path / "metrics.json")["metrics"]
    )
    assert {name: len(clips) for name, clips in rows.conditions.items()} == dict.fromkeys(CONDITIONS, 3)
    clips = load_file(identity.samples / "clips.safetensors")
    assert clips["generated"].shape == clips["truth"].shape == (3, 32, 3, 32, 32)
    assert clips["generated"].dtype == np.uint8
    videos = kept_clips.read(identity.samples)
    assert len(videos) == 3
    for clip in videos:
        assert clip.frames == len(clip.loudness) == 32
        assert {source: (identity.samples / file).stat().st_size > 0 for source, file in clip.files.items()} == {
            "truth": True,
            "generated": True,
            "reconstruction": True,
        }


def test_tensorboard_has_curves_scores_strips_and_videos(studio):
    run = studio.run("fit", *studio.identity, "--seed_everything=1", "--run.sample_every=1", "--run.evaluate=true")
    seen = events(run)
    assert [step for step, _ in scalars(run, "train/loss")] == [0, 1]
    assert {"val/loss", "lr-AdamW/pg1"} <= set(seen.Tags()["scalars"])
    assert not [tag for tag in seen.Tags()["scalars"] if tag.startswith("alarm/")]  # three clips say too little
    report = run.metrics()
    assert report is not None
    assert {f"test/{name}" for name in report["metrics"]} <= set(seen.Tags()["scalars"])
    assert scalars(run, "test/psnr") == [(2, pytest.approx(report["metrics"]["psnr"]["value"]))]
    for stage in ("val", "test"):
        strip = Image.open(io.BytesIO(seen.Images(f"{stage}/strip")[0].encoded_image_string))
        assert strip.height % (2 * 32) == 0
        video = Image.open(io.BytesIO(seen.Images(f"{stage}/video")[0].encoded_image_string))
        assert video.format == "GIF"
        assert video.n_frames == (17 if stage == "val" else 32)


def test_a_finished_run_has_nothing_left_to_do(studio, identity, capsys):
    before = identity.status().updated
    assert main(["fit", *studio.identity, "--run.evaluate=true"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert identity.status().updated == before


def test_its_config_is_one_that_fit_takes(studio, identity, capsys):
    assert main(["fit", "--config", str(identity.config_file)]) == 0
    assert capsys.readouterr().out == f"finished: {identity.path}; nothing to do\n"
    assert resolve([identity.config_file], {}) == identity.config()


def test_a_stopped_run_is_tested_when_it_is_done(studio):
    typed = ("fit", *studio.identity, "--seed_everything=6", "--run.evaluate=true")
    run = studio.run(*typed, stopping(1))
    assert (run.status().state, run.status().step, run.metrics()) == ("stopped", 1, None)
    assert studio.run(*typed).metrics() is not None
    assert run.status().state == "finished"


def test_the_verbs_after_fit_use_its_checkpoint(studio, identity, capsys):
    before = identity.metrics()
    (identity.path / "metrics.json").unlink()
    assert main(["test", *studio.identity]) == 0
    assert identity.metrics() == before
    assert main(["validate", *studio.identity]) == 0
    assert f"{scalars(identity, 'val/loss')[0][1]:.10f}"[:6] in capsys.readouterr().out
    assert {step for step, _ in scalars(identity, "test/psnr")} == {2}


def test_predict_writes_every_held_out_clip(studio, identity):
    assert main(["predict", *studio.identity]) == 0
    clips = load_file(identity.samples / "clips.safetensors")
    files = sorted((identity.path / "predictions").glob("*.npy"))
    assert len(files) == 3
    for file, tested in zip(files, clips["generated"], strict=True):
        frames = np.load(file)
        assert frames.dtype == np.uint8
        assert np.array_equal(frames, tested.transpose(0, 2, 3, 1)), "the same clips that were scored"
        assert Image.open(file.with_suffix(".gif")).n_frames == 32


def test_two_processes_do_not_share_a_run(studio, identity, capsys):
    with studio.place("fit", *studio.identity, "--seed_everything=8").locked():
        assert main(["fit", *studio.identity, "--seed_everything=8"]) == 2
    assert "is being run by another process; wait for it or stop it" in capsys.readouterr().err


def test_a_folder_holds_one_config(studio, identity, capsys):
    taken = f"--run.folder={identity.path}"
    assert main(["fit", *studio.identity, taken, "--seed_everything=2", "--model.motion_frames=1"]) == 2
    said = capsys.readouterr().err
    assert (
        "holds a run of another config; differing: data.seed, model.motion_frames, model.seed, seed_everything;" in said
    )
    assert main(["fit", *studio.identity, taken]) == 0


# What a folder is called


BASE = resolve([TINY / "audio.yaml"], {"model.init_from": "phase1.ckpt"})
ASIDE = (
    "trainer.log_every_n_steps",
    "trainer.val_check_interval",
    "trainer.enable_progress_bar",
    "data.num_workers",
    "data.eval_batch_size",
    "data.leading_frames",
    "data.strict",
    "data.max_bad_fraction",
    "run.root",
    "run.name",
    "run.evaluate",
    "run.checkpoint_every",
    "run.sample_every",
)


def changed(config: dict, key: str) -> dict:
    """The config with another value at a dotted key."""
    *groups, leaf = key.split(".")
    copy = deepcopy(config)
    inner = copy
    for group in groups:
        inner = inner[group]
    was = inner[leaf]
    inner[leaf] = f"another {was}" if was is None or isinstance(was, str) else [was]
    if leaf == "mixture":
        inner[leaf] = [{"shards": "another", "weight": 1}]
    return copy


@pytest.mark.parametrize("key", sorted(flat(results_of(BASE)).keys() - {"clips_a_step"}))
def test_whatever_changes_results_changes_the_fingerprint(key):
    assert fingerprint(changed(BASE, key)) != fingerprint(BASE)


@pytest.mark.parametrize("key", ASIDE)
def test_what_does_not_change_results_does_not(key):
    assert fingerprint(changed(BASE, key)) == fingerprint(BASE)


def spread(clips: int, accumulate: int, **parallel: int) -> dict:
    trainer = BASE["trainer"] | {"accumulate_grad_batches": accumulate, "devices": parallel.pop("devices", 1)}
    return BASE | {"data": BASE["data"] | {"batch_size": clips}, "trainer": trainer, "parallel": parallel}


def test_clips_of_a_step_count_and_not_how_many_ranks_share_them():
    one = fingerprint(spread(16, 1))
    same = [spread(4, 4), spread(2, 4, shard=2), spread(4, 1, shard=2, replicate=2), spread(8, 1, devices=2)]
    assert {fingerprint(config) for config in same} == {one}
    assert one not in {fingerprint(config) for config in (spread(8, 1), spread(16, 2), spread(16, 1, shard=2))}
    assert fingerprint(spread(16, 1, devices="auto")) == one


def test_every_setting_of_model_and_data_but_a_few_changes_results():
    known = {f"{group}.{key}" for group in ("model", "data") for key in flat(BASE[group])}
    aside = {key for key in ASIDE if key.startswith("data.")} | {"data.batch_size"}
    assert known - flat(results_of(BASE)).keys() == aside


def test_options_of_the_trainer_that_change_results_are_known():
    """Written out here: a key that is taken from the list would make the test above forget it too."""
    changing = {"max_steps", "precision", "gradient_clip_val", "gradient_clip_algorithm"}
    changing |= {"limit_train_batches", "limit_test_batches", "overfit_batches"}
    assert {key for key in results_of(BASE) if key.startswith("trainer.")} == {f"trainer.{key}" for key in changing}


def test_shards_count_by_what_they_hold_and_not_by_where_they_lie(tmp_path):
    def at(place: str, says: str) -> dict:
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "dataset.json").write_text(json.dumps({"fingerprint": says}))
        return changed(BASE, "data.shards") | {"data": BASE["data"] | {"shards": str(tmp_path / place)}}

    def of_a_mixture(place: str) -> str:
        mixture = [{"shards": str(tmp_path / place), "weight": 2}]
        return fingerprint(BASE | {"data": BASE["data"] | {"mixture": mixture}})

    one, mixed = fingerprint(at("here", "1")), of_a_mixture("here")
    assert fingerprint(at("there", "1")) == one
    assert of_a_mixture("there") == mixed
    assert fingerprint(at("here", "2")) != one
    assert of_a_mixture("here") != mixed


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": null}'])
def test_shards_that_do_not_say_what_they_hold_count_by_where_they_lie(tmp_path, text):
    at = {place: BASE | {"data": BASE["data"] | {"shards": str(tmp_path / place)}} for place in ("here", "there")}
    (tmp_path / "here").mkdir()
    before = fingerprint(at["here"])
    (tmp_path / "here/dataset.json").write_text(text)
    assert fingerprint(at["here"]) == before != fingerprint(at["there"])


def test_an_ancestor_counts_by_what_is_in_its_files(tmp_path):
    def audio_after(text: str, name: str) -> str:
        (tmp_path / name).write_text(text)
        return fingerprint(
            resolve([TINY / "audio.yaml"], {"model.init_from": [str(TINY / "identity.yaml"), str(tmp_path / name)]})
        )

    plain = audio_after("{}", "plain.yaml")
    assert plain == audio_after("trainer: {log_every_n_steps: 7}", "other_name.yaml")
    assert plain != audio_after("trainer: {max_steps: 7}", "plain.yaml")
