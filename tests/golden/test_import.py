"""The published checkpoint, in the form in which it is published, through `hallo3 import-weights`."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hallo3_lightning.cli import main
from hallo3_lightning.weights.folder import read
from hallo3_lightning.weights.names import mapped
from hallo3_lightning.weights.rows import published
from tests.golden.near import allowed, error
from tests.golden.network import fresh, ours, published_weights, recorded_batch


@pytest.fixture(scope="module")
def weights(goldens) -> dict[str, Tensor]:
    return published_weights(goldens, "s2")


@pytest.fixture(scope="module")
def latents(goldens) -> str:
    config = goldens.config
    return f"{config['latent_frames']}x{config['lat_h']}x{config['lat_w']}"


def sat_folder(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """A checkpoint as SAT writes it: beside the weights, the state of a random generator."""
    import numpy

    (folder / "1000").mkdir(parents=True)
    (folder / "latest").write_text("1000\n")
    content = {"module": tensors, "iteration": 1000, "np_rng_state": numpy.random.RandomState(0).get_state()}
    torch.save(content, folder / "1000" / "mp_rank_00_model_states.pt")
    return folder


def test_names_there_and_back(weights):
    """All that we build of the published parameters comes back under its name, bit for bit."""
    back = published(ours(weights))
    found = mapped(weights)
    halved = {name for name in weights if name not in back and name not in found.dropped}
    assert all(torch.equal(back[name], weights[name]) for name in back)
    last = max(int(name.split(".")[-3]) for name in weights if "adaLN_modulations" in name)
    assert halved == {f"ref_model.diffusion_model.mixins.adaln_layer.adaLN_modulations.{last}.1.{k}" for k in BOTH}
    assert not set(back) & set(found.dropped)


BOTH = ("weight", "bias")


def test_imported_weights_give_the_published_output(goldens, weights, latents, tmp_path):
    out = tmp_path / "ours"
    assert main(["import-weights", str(sat_folder(tmp_path / "sat", weights)), str(out), "--latents", latents]) == 0
    network = fresh(goldens.config, "cross_attention")
    network.load_state_dict(read(out), strict=True)
    recorded = goldens.tensors("s2_forward")
    with torch.no_grad():
        got = network.train()(recorded["in.noised_latents"], recorded["in.timesteps"], recorded_batch(recorded))
    assert error(got, recorded["out.network"]) <= allowed(network, recorded)


def test_record_of_what_was_imported(goldens, weights, latents, tmp_path):
    main(["import-weights", str(sat_folder(tmp_path / "sat", weights)), str(tmp_path / "ours"), "--latents", latents])
    record = json.loads((tmp_path / "ours" / "weights.json").read_text())
    assert record["kind"] == "hallo3"
    assert record["dtype"] == "float32"
    assert record["dropped"] == mapped(weights).dropped
    size, config = record["backbone"], goldens.config
    assert (size["width"], size["heads"], size["blocks"]) == (config["hidden"], config["heads"], config["layers"])
    assert (size["text_tokens"], size["latent_frames"]) == (config["text_len"], config["latent_frames"])
    assert size["output_norm_eps"] == 1e-6
    assert record["strategies"]["audio_cross_attention"]["tokens"] == config["a_tokens"]
    assert (tmp_path / "ours" / "card.md").read_text().count("ref_model.") > 10


def test_a_backbone_alone_is_cogvideox(weights, latents, tmp_path):
    """CogVideoX's own SAT file: one network, and encoders that are not ours to take."""
    words = ("face_", "audio_")
    backbone = {n: v for n, v in weights.items() if n.startswith("model.") and not any(word in n for word in words)}
    encoders = {"first_stage_model.encoder.conv": torch.zeros(2), "conditioner.embedders.0.weight": torch.zeros(2)}
    sat_folder(tmp_path / "sat" / "transformer", backbone | encoders)
    assert main(["import-weights", str(tmp_path / "sat"), str(tmp_path / "ours"), "--latents", latents]) == 0
    record = json.loads((tmp_path / "ours" / "weights.json").read_text())
    assert (record["kind"], record["strategies"]) == ("cogvideox_sat", {})
    assert encoders.keys() <= record["dropped"].keys()
    assert all(name.startswith("transformer.") for name in read(tmp_path / "ours"))


WRONG = {
    "missing": (
        lambda w: {n: v for n, v in w.items() if "audio_proj.proj2" not in n},
        r"2 missing \(conditioners.audio",
    ),
    "unknown": (
        lambda w: w | {"model.diffusion_model.lora.0": torch.zeros(2)},
        r"1 unknown \(model.diffusion_model.lora",
    ),
    "another shape": (
        lambda w: w | {"model.diffusion_model.transformer.final_layernorm.weight": torch.zeros(7)},
        r"1 of another shape \(transformer.norm_final.weight \(7,\) for",
    ),
    "unequal parts": (
        lambda w: w | {"model.diffusion_model.transformer.layers.0.attention.query_key_value.bias": torch.zeros(7)},
        r"should be 3 equal parts",
    ),
    "no learned positions": (
        lambda w: {n: v for n, v in w.items() if "pos_embedding" not in n},
        r"transformer.patch_embed.pos_embedding is missing",
    ),
    "no learned positions of the reference network": (
        lambda w: {n: v for n, v in w.items() if not (n.startswith("ref_") and "pos_embedding" in n)},
        r"1 missing \(conditioners.identity_reference_network.network.patch_embed.pos_embedding",
    ),
    "no reference network": (
        lambda w: {n: v for n, v in w.items() if not n.startswith("ref_")},
        r"missing \(conditioners.identity_reference_network.network.",
    ),
    "no face tokens": (
        lambda w: {n: v for n, v in w.items() if "face_proj" not in n},
        r"conditioners.identity_face_attention.face_tokens.norm.weight is missing",
    ),
    "a word": (lambda w: w | {"model.diffusion_model.extra": "hello"}, r"1 no tensors of numbers \(model"),
    "nothing of it": (lambda _: {"weight": torch.zeros(2)}, r"1 unknown \(weight\)"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_another_model_is_refused(fault, weights, latents, tmp_path, capsys):
    change, told = WRONG[fault]
    source = sat_folder(tmp_path / "sat", change(weights))
    assert main(["import-weights", str(source), str(tmp_path / "ours"), "--latents", latents]) == 2
    assert_one_sentence(capsys.readouterr().err, told)
    assert [path.name for path in tmp_path.iterdir()] == ["sat"]


def test_latents_of_another_size_are_refused(weights, tmp_path, capsys):
    source = sat_folder(tmp_path / "sat", weights)
    assert main(["import-weights", str(source), str(tmp_path / "ours")]) == 2
    assert_one_sentence(capsys.readouterr().err, "say for which latents it is with --latents")


def test_latents_that_the_rotary_table_contradicts_are_refused(goldens, weights, tmp_path, capsys):
    """One frame less would be text tokens by the table of learned positions alone."""
    config, source = goldens.config, sat_folder(tmp_path / "sat", weights)
    latents = f"{config['latent_frames'] - 1}x{config['lat_h']}x{config['lat_w']}"
    assert main(["import-weights", str(source), str(tmp_path / "ours"), "--latents", latents]) == 2
    assert_one_sentence(capsys.readouterr().err, f"but {latents} latents are")
    odd = f"{config['latent_frames']}x{config['lat_h'] + 1}x{config['lat_w']}"
    assert main(["import-weights", str(source), str(tmp_path / "ours"), "--latents", odd]) == 2
    assert_one_sentence(capsys.readouterr().err, "height and width even")


def assert_one_sentence(text: str, told: str) -> None:
    import re

    assert text.count("\n") == 1, text
    assert re.search(told, text), text
