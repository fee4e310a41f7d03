"""Every mistake that a user can make ends with status 2 and one sentence, and leaves nothing behind."""

import shutil
from dataclasses import replace

import pytest

from datamodules.index import open_index
from datamodules.shards import write_shard
from hallo3_lightning.cli import main
from tests.behaviour.ending import stopping
from tests.behaviour.studio import TINY


@pytest.fixture
def refused(studio, identity, capsys):
    """Types a command that must be refused, and gives the sentence."""

    def check(*typed: str) -> str:
        before = studio.runs
        capsys.readouterr()
        assert main(typed) == 2
        said = capsys.readouterr()
        lines = said.err.strip().splitlines()
        assert len(lines) == 1, lines
        assert said.out == ""
        assert studio.runs == before, "a run that was refused leaves no folder"
        return lines[0]

    return check


@pytest.fixture
def layer(tmp_path):
    """Writes a config file, and gives the argument that names it."""

    def write(text: str) -> str:
        (tmp_path / "layer.yaml").write_text(text)
        return f"--config={tmp_path / 'layer.yaml'}"

    return write


ARGUMENTS = [
    ("--model.audio=adalm", "no audio strategy 'adalm'; did you mean 'adaln'? there are: adaln, cross_attention, "),
    ("--model.audio=adaln+adaln", "--model.audio adaln+adaln names a strategy twice"),
    ("--model.identity=face_adain", "no identity strategy 'face_adain'; did you mean 'face_adaln'? there are: face_"),
    ("--model.motion_framez=2", "no setting 'model.motion_framez'; did you mean 'model.motion_frames'? there are: "),
    ("--motion_frames=2", "no setting 'motion_frames'; did you mean 'model.motion_frames'?"),
    ("--model.backbone.widht=2", "no setting 'model.backbone.widht'; did you mean 'model.backbone.width'?"),
    ("--modle.audio=adaln", "no setting 'modle.audio'; did you mean 'model.audio'?"),
    ("--trainer.max_step=2", "no setting 'trainer.max_step'; did you mean 'trainer.max_steps'?"),
    ("--model.seed=3", "seed_everything"),
    ("--model.motion_frames=two", "model.motion_frames is 'two'; expected a whole number"),
    ("--run.evaluate=maybe", "run.evaluate is 'maybe'; expected true or false"),
    ("--data.validation_clips=x", "data.validation_clips is 'x'; expected a whole number or null"),
    ("--model.optimization.schedule=cosin", "schedule is 'cosin'; expected 'constant', 'linear', 'cosine'"),
    ("--model.options=3", "model.options is '3'; expected a mapping or null"),
    ("--model.options.cross_attention.token=3", "no option 'token' in model.options.cross_attention; did you mean"),
    ("--model.motion_frames=17", "17 motion frames (--motion-frames, model.motion_frames), but a window has 17 frames"),
    ("--model.sampling.sampler=dim", "no sampler 'dim'; did you mean 'ddim'?"),
    ("--model.sampling.guided=[audoi]", "no condition 'audoi' in model.sampling.guided; did you mean 'audio'?"),
    ("--model.sampling.guidance={audoi: 2}", "no condition 'audoi' in model.sampling.guidance; did you mean 'audio'?"),
    ("--model.sampling.steps=0", "0 sampling steps; give 1 to 1000"),
    ("--model.trainable=['nothing.*']", "no parameter matching 'nothing.*' in model.trainable; there are: "),
    ("--model.inputs.audio_layers=3", "model.inputs and model.backbone.text_width say (3, 24, 32)"),
    ("--model.init_from=null", "make one with `hallo3 fit --config experiments/tiny/identity.yaml`"),
    ("--model.init_from=nowhere", "no checkpoint at 'nowhere'; give a step=N.ckpt folder, "),
    ("--model.init_from=nowhere.yaml", "no config file 'nowhere.yaml'"),
    ("--model.identity=none", "does not fit this model: 0 parameters missing"),
    ("--model.backbone.width=64", "is of a model of other sizes: "),
    ("--data.shards=nowhere", "no shards: nowhere is not a folder; make one with: hallo3 synthesize nowhere"),
    ("--data.clip_frames=13", "the backbone is built for (5, 16, 8, 8); set model.backbone and data.clip_frames"),
    ("--data.clip_frames=14", "clip_frames is 14; the autoencoder needs 1 + 4k frames"),
    ("--data.batch_size=0", "batch_size is 0; it must be at least 1"),
    ("--trainer.max_steps=-1", "trainer.max_steps is -1; the data have no end"),
    ("--trainer.accelerator=gpuu", "Available names are: auto"),
    ("--trainer.devices=0", "`Trainer(devices='0')` value is not a valid input"),
    ("--ckpt_path=nowhere.ckpt", "no checkpoint at 'nowhere.ckpt'"),
    ("--config=nowhere.yaml", "no config file 'nowhere.yaml'; those that come with the project are in experiments/"),
    ("--phase=audoi", "no phase 'audoi'; did you mean 'audio'? there are: audio, identity"),
    ("extra", "no setting 'extra'"),
]


@pytest.mark.parametrize(("argument", "sentence"), ARGUMENTS, ids=[argument for argument, _ in ARGUMENTS])
def test_a_wrong_argument(argument, sentence, refused, studio):
    assert sentence in refused("fit", *studio.audio, argument)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trainer: {max_stepz: 5}", "no setting 'trainer.max_stepz'; did you mean 'trainer.max_steps'?"),
        ("model: {backbone: {widht: 5}}", "no setting 'model.backbone.widht'; did you mean 'model.backbone.width'?"),
        ("modle: {motion_frames: 2}", "no setting 'modle.motion_frames'; did you mean 'model.motion_frames'?"),
        ("trainer: {max_steps: many}", "trainer.max_steps is 'many'; expected a whole number"),
        ("model: {backbone: 5}", "model.backbone is '5'; expected a mapping of width, heads"),
        ("trainer: 5", "trainer is 5; expected a mapping"),
        ("trainer: [", "is not YAML"),
        ("just words", "holds no settings"),
    ],
)
def test_a_wrong_file(text, sentence, refused, layer, studio):
    assert sentence in refused("fit", *studio.audio, layer(text))


def test_a_setting_of_the_other_phase(refused, studio):
    assert "no setting 'model.audio'" in refused("fit", *studio.identity, "--model.audio=adaln")


def test_no_settings_at_all(refused):
    assert "data.shards is not set" in refused("fit")


def test_an_unknown_verb(refused):
    assert "no verb 'fitt'; did you mean 'fit'? there are: ablate, " in refused("fitt")


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_run_that_was_never_trained(verb, refused, studio):
    assert f"has no checkpoint to {verb}; train it with `hallo3 fit`" in refused(
        verb, *studio.identity, "--seed_everything=9"
    )


def test_phase_2_before_its_phase_1(refused, studio):
    missing = refused("fit", *studio.audio, f"--model.init_from={TINY / 'identity.yaml'}")
    assert f"starts from the run of {TINY / 'identity.yaml'}, which has no checkpoint yet" in missing
    assert f"`hallo3 fit --config {TINY / 'identity.yaml'} --run.root {studio.folder / 'runs'}`" in missing


def test_phase_2_from_a_phase_1_that_is_not_done(refused, studio, layer):
    layers = (*studio.identity, layer("trainer: {max_steps: 3}"))
    above = studio.run("fit", *layers, stopping(1))
    assert above.status().state == "stopped"
    files = [part.removeprefix("--config=") for part in layers if part.endswith(".yaml")]
    sentence = refused("fit", *studio.audio, f"--model.init_from=[{', '.join(files)}]")
    assert "which is at step 1 of 3 (" in sentence


def test_checkpoints_that_are_none(refused, studio, identity, tmp_path):
    shutil.copytree(next(identity.checkpoints.iterdir()), tmp_path / "torn.ckpt")
    (tmp_path / "torn.ckpt" / "facts.json").unlink()
    (tmp_path / "text.ckpt").write_text("hello")
    for name, sentence in {"torn": "torn.ckpt' is torn: ", "text": "no checkpoint at '"}.items():
        assert sentence in refused("fit", *studio.audio, f"--model.init_from={tmp_path / name}.ckpt")
        assert sentence in refused("test", *studio.identity, f"--ckpt_path={tmp_path / name}.ckpt")


def test_a_run_that_must_not_go_on(refused, studio, identity):
    assert "and --resume is never" in refused("fit", *studio.identity, "--resume=never")
    assert "'always'" in refused("fit", *studio.identity, "--resume=always")


def test_a_checkpoint_of_another_model(refused, studio, identity):
    below = next(identity.checkpoints.iterdir())
    assert "is of another model: of its weights" in refused("test", *studio.audio, f"--ckpt_path={below}")


@pytest.fixture(scope="session")
def faceless(studio) -> str:
    """The same shards without face embeddings."""
    folder = studio.folder / "faceless"
    for split in ("train", "held_out"):
        (folder / split).mkdir(parents=True)
        index = open_index(studio.folder / "shards" / split)
        samples = [replace(index.read(i), face_embedding=None) for i in range(len(index))]
        write_shard(folder / split / "shard-0.tar", samples)
    return f"--data.shards={folder}"


def test_a_place_that_cannot_be_written(refused, studio, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    said = refused("fit", *studio.identity, f"--run.folder={tmp_path / 'file' / 'run'}")
    assert "Not a directory" in said
    assert "make room or name another folder" in said


def test_shards_without_what_a_strategy_reads(refused, studio, faceless):
    sentence = refused("fit", *studio.identity, faceless, "--model.identity=reference_network+face_attention")
    assert "identity_face_attention (--model.identity) needs face_embedding, which the batch of sample '" in sentence
    assert "it has captions, video, reference, " in sentence
    assert main(["fit", *studio.identity, faceless]) == 0, "who does not read it does not miss it"


def test_shards_of_another_face_width(refused, studio):
    wrong = ("--model.identity=face_adaln", "--model.inputs.face_width=23")
    assert "has a face embedding of 24 numbers, model.inputs.face_width says 23" in refused(
        "fit", *studio.identity, *wrong
    )


def test_clips_that_are_longer_than_the_takes(refused, studio):
    typed = ("fit", *studio.identity, "--data.eval_frames=35", "--run.evaluate=true")
    assert "has 34 frames, a clip of 35 was asked for" in refused(*typed), "before training, not after"
