"""A phase that starts from a folder of weights, and the weights of a run on their way out."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.cli import main
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.encoders.audio.log_mel import LogMel
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import Encoders
from hallo3_lightning.phases.audio import AudioPhase
from hallo3_lightning.phases.identity import IdentityPhase
from hallo3_lightning.training import provenance
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.writing import Folders
from hallo3_lightning.weights.folder import read
from tests import tiny
from tests.model.test_transformer import theirs_like

SIZE = tiny.backbone()
REFERENCE = "conditioners.identity_reference_network.network."


@pytest.fixture
def weights(tmp_path) -> Path:
    """A pretrained backbone, imported."""
    tiny.nudged(theirs_like(SIZE)).save_pretrained(tmp_path / "cogvideox")
    assert main(["import-weights", str(tmp_path / "cogvideox"), str(tmp_path / "weights")]) == 0
    return tmp_path / "weights"


def phase(kind: type[Phase], folder: Path, **settings) -> Phase:
    PatchAutoencoder(patch=4, channels=SIZE.latent_channels).save(folder / "autoencoder")
    encoders = Encoders("patch", str(folder / "autoencoder"), "hashed_words", "", "log_mel", "")
    inputs = Inputs(LogMel().layers, LogMel().channels, face_width=7)
    settings = {"options": tiny.OPTIONS} | settings
    return kind(backbone=SIZE, inputs=inputs, encoders=encoders, **settings)


def test_a_pretrained_backbone_begins_both_networks(weights, tmp_path):
    """As the published phase 1 does; face attention begins as it would without."""
    network = phase(IdentityPhase, tmp_path, init_from=str(weights)).denoiser
    state = network.state_dict()
    given = {name: value.to(state[name].dtype) for name, value in read(weights).items()}
    assert all(torch.equal(state[name], value) for name, value in given.items())
    copied = [name for name in state if name.startswith(REFERENCE)]
    assert copied
    assert all(torch.equal(state[n], given[n.replace(REFERENCE, "transformer.")]) for n in copied)
    assert not state["transformer.transformer_blocks.0.adapters.identity_face_attention.to_out.weight"].any()


def test_weights_may_lack_what_nothing_reads(weights, tmp_path):
    """A backbone alone fills the dead layer too; weights in which it was not built leave it as it is."""
    dead = {"options": tiny.OPTIONS | {"reference_network": {"dead_layer": True}}}
    whole = phase(IdentityPhase, tmp_path, init_from=str(weights), **dead).denoiser
    assert whole.unread()
    given = read(weights)
    for name in whole.unread():
        copied = given[name.replace(REFERENCE, "transformer.")]
        assert torch.equal(whole.state_dict()[name], copied.float())
    read_alone = phase(IdentityPhase, tmp_path, init_from=str(weights))
    Folders().save_checkpoint({"state_dict": read_alone.state_dict()}, tmp_path / "read.ckpt")
    following = phase(AudioPhase, tmp_path, init_from=str(tmp_path / "read.ckpt"), **dead).denoiser
    assert whole.unread() == following.unread()
    Folders().save_checkpoint(
        {"state_dict": phase(IdentityPhase, tmp_path, **dead).state_dict()}, tmp_path / "whole.ckpt"
    )
    with pytest.raises(UsageError, match="does not fit this model: 0 parameters missing"):
        phase(AudioPhase, tmp_path, init_from=str(tmp_path / "whole.ckpt"))


def test_another_audio_strategy_takes_the_place_of_the_trained_one(tmp_path):
    plain = phase(IdentityPhase, tmp_path)
    Folders().save_checkpoint({"state_dict": plain.state_dict()}, tmp_path / "plain.ckpt")
    trained = phase(AudioPhase, tmp_path, audio="cross_attention", init_from=str(tmp_path / "plain.ckpt"))
    tiny.nudged(trained.denoiser)
    trained.average.update(trained.denoiser)
    Folders().save_checkpoint({"state_dict": trained.state_dict()}, tmp_path / "trained.ckpt")
    with pytest.warns(UserWarning, match="its audio strategy is not this run's; .* parameters are left out"):
        other = phase(AudioPhase, tmp_path, audio="adaln", init_from=str(tmp_path / "trained.ckpt"))
    assert not [name for name in other.denoiser.state_dict() if "cross_attention" in name]
    shared = other.denoiser.state_dict().keys() & trained.denoiser.state_dict().keys()
    with trained.average.applied(trained.denoiser):
        expected = trained.denoiser.state_dict()
        assert all(torch.equal(other.denoiser.state_dict()[name], expected[name]) for name in shared)


LACKING = {
    "its tokens": lambda name: name.startswith("conditioners.audio_cross_attention."),
    "its adapter in a block": lambda name: "blocks.1.adapters.audio_cross_attention." in name,
    "one parameter": lambda name: name == "conditioners.audio_cross_attention.audio_tokens.conv1.bias",
}


@pytest.mark.parametrize("lacking", LACKING)
def test_half_an_audio_strategy_is_none(tmp_path, lacking):
    Folders().save_checkpoint({"state_dict": phase(IdentityPhase, tmp_path).state_dict()}, tmp_path / "plain.ckpt")
    whole = phase(AudioPhase, tmp_path, init_from=str(tmp_path / "plain.ckpt")).state_dict()
    half = {name: value for name, value in whole.items() if not LACKING[lacking](name.removeprefix("denoiser."))}
    assert len(half) < len(whole)
    Folders().save_checkpoint({"state_dict": half}, tmp_path / "half.ckpt")
    with pytest.raises(UsageError, match=rf"does not fit this model: {len(whole) - len(half)} parameters missing"):
        phase(AudioPhase, tmp_path, init_from=str(tmp_path / "half.ckpt"))


def test_a_backbone_with_adapters_is_not_a_backbone_alone(tmp_path):
    """Its conditioners are missing, which were trained with them: fresh ones would not fit."""
    trained = phase(IdentityPhase, tmp_path)
    Folders().save_checkpoint({"state_dict": trained.state_dict()}, tmp_path / "trained.ckpt")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    state = {name: value for name, value in trained.state_dict().items() if ".conditioners." not in name}
    Folders().save_checkpoint({"state_dict": state}, run / "checkpoints" / "step=1.ckpt")
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"backbone": vars(SIZE)}}))
    assert main(["export-weights", str(run), str(tmp_path / "out")]) == 0
    assert "transformer.transformer_blocks.0.adapters.identity_face_attention.to_k.weight" in read(tmp_path / "out")
    with pytest.raises(UsageError, match="does not fit this model"):
        phase(IdentityPhase, tmp_path, init_from=str(tmp_path / "out"))


def test_the_dead_layer_asks_for_no_gradient(tmp_path):
    """Every parameter that asks for one gets one, which is what DDP waits for."""
    dead = {"options": tiny.OPTIONS | {"reference_network": {"dead_layer": True}}}
    network = tiny.nudged(phase(IdentityPhase, tmp_path, **dead).denoiser)
    asking = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert network.unread()
    assert not asking & network.unread()
    tiny.predict(network, tiny.batch(SIZE)).square().mean().backward()
    assert asking == {name for name, parameter in network.named_parameters() if parameter.grad is not None}


def test_weights_of_other_sizes_are_refused(weights, tmp_path):
    (tmp_path / "other").mkdir()
    big = theirs_like(tiny.backbone(width=64))
    big.save_pretrained(tmp_path / "other" / "transformer")
    main(["import-weights", str(tmp_path / "other"), str(tmp_path / "big")])
    with pytest.raises(UsageError, match="of a model of other sizes"):
        phase(IdentityPhase, tmp_path, init_from=str(tmp_path / "big"))


def test_what_a_run_trained_comes_out_and_begins_the_next_phase(weights, tmp_path):
    """The moving average goes out, under the denoiser's names; the audio phase begins from it."""
    trained = phase(IdentityPhase, tmp_path, init_from=str(weights))
    tiny.nudged(trained.denoiser)
    trained.average.update(trained.denoiser)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    Folders().save_checkpoint({"state_dict": trained.state_dict()}, run / "checkpoints" / "step=3.ckpt")
    options = {"face_attention": {"width": 14}}
    model = {
        "backbone": vars(SIZE),
        "identity": "reference_network+face_attention",
        "audio": "none",
        "options": options,
    }
    (run / "config.yaml").write_text(yaml.safe_dump({"model": model}))

    assert main(["export-weights", str(run), str(tmp_path / "out")]) == 0
    with trained.average.applied(trained.denoiser):
        expected = {name: value.clone() for name, value in trained.denoiser.state_dict().items()}
    out = read(tmp_path / "out")
    assert out.keys() == expected.keys()
    assert all(torch.equal(out[name], expected[name]) for name in out)
    assert main(["export-weights", str(tmp_path / "out"), str(tmp_path / "again")]) == 0
    for folder in ("out", "again"):
        record = json.loads((tmp_path / folder / "weights.json").read_text())
        assert record["strategies"] == {"identity_reference_network": {}, "identity_face_attention": {"width": 14}}
        assert record["model"]["options"] == options
    following = phase(AudioPhase, tmp_path, init_from=str(tmp_path / "out")).denoiser.state_dict()
    assert all(torch.equal(following[name], value) for name, value in expected.items())


def test_a_run_without_identity_does_not_begin_one(tmp_path):
    """Only what no phase trained is completed: an arm must not get an identity that nobody taught it."""
    plain = phase(IdentityPhase, tmp_path, identity="none")
    Folders().save_checkpoint({"state_dict": plain.state_dict()}, tmp_path / "plain.ckpt")
    with pytest.raises(UsageError, match="does not fit this model"):
        phase(AudioPhase, tmp_path, identity="reference_network", init_from=str(tmp_path / "plain.ckpt"))


def test_a_run_without_a_config_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert main(["export-weights", str(tmp_path / "run"), str(tmp_path / "out")]) == 2
    assert "is no run and no folder of weights" in capsys.readouterr().err


def test_the_fingerprint_goes_into_the_provenance(weights, tmp_path, monkeypatch):
    config = {"data": {"shards": str(tmp_path)}, "model": {"init_from": str(weights)}}
    monkeypatch.setattr(provenance, "fingerprint", lambda _: "")
    provenance.write(RunFolder(tmp_path / "run"), config)
    written = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert written["weights"] == json.loads((weights / "weights.json").read_text())["fingerprint"]
