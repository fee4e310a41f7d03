import json
from pathlib import Path

import pytest
import torch

from hallo3_lightning.ablation.meaning import resolve
from hallo3_lightning.cli import main
from hallo3_lightning.cost import (
    FULL,
    HALF,
    MIXED,
    Operations,
    Part,
    Precision,
    activation_bytes,
    figures_of,
    imaginary_clip,
    memory,
    networks,
    parts,
    precision_of,
    tokens,
)
from hallo3_lightning.model.transformer import Backbone, Transformer
from hallo3_lightning.sizing import Machine, Moved, moved, plans, seconds
from hallo3_lightning.training.parallel import Parallel
from tests import tiny

FULL_SIZE, TINY = "experiments/full", "experiments/tiny"
FULL_AUDIO = ("--config", f"{FULL_SIZE}/audio.yaml")
BILLION = 1e9


def count(name: str, without: str = "\0") -> tuple[float, float]:
    """Billions of parameters, and of those that train, of a full-size phase."""
    found = parts(networks(resolve([f"{FULL_SIZE}/{name}.yaml"], {})["model"])[0])
    kept = [part for name, part in found.items() if without not in name]
    return sum(p.total for p in kept) / BILLION, sum(p.trainable for p in kept) / BILLION


@pytest.mark.parametrize(("phase", "published"), [("identity", 6.685), ("audio", 8.921)])
def test_the_denoiser_has_the_published_number_of_parameters(phase, published):
    assert count(phase, without="reference_network")[0] == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize(("phase", "published"), [("identity", 4.232), ("audio", 2.236)])
def test_as_many_train_as_published(phase, published):
    assert count(phase)[1] == pytest.approx(published, abs=5e-4)


def test_the_reference_network_has_the_published_number_of_parameters():
    found = parts(networks(resolve([f"{FULL_SIZE}/audio.yaml"], {})["model"])[0])
    assert found["identity_reference_network"].total / BILLION == pytest.approx(5.625, abs=5e-4)


def test_without_the_dead_layer_there_is_less_to_train():
    options = "model.options.reference_network.dead_layer"
    models = [resolve([f"{FULL_SIZE}/identity.yaml"], {options: built})["model"] for built in (True, False)]
    whole, read = (parts(networks(model)[0])["identity_reference_network"] for model in models)
    assert whole.total > read.total
    assert whole.trainable > read.trainable
    assert {p.device.type for p in networks(models[0])[0].parameters()} == {"meta"}


def test_tokens_at_full_size():
    assert tokens(Backbone()) == {"text": 226, "video": 17550, "sequence": 17776}


@pytest.fixture(scope="module")
def figures() -> dict:
    return figures_of(resolve([f"{TINY}/audio.yaml"], {}))


def test_a_forward_of_the_backbone_is_what_paper_and_pencil_say(figures):
    """A block: 4 C^2 of attention's projections and 8 C^2 of the MLP a token, 12 C E of adaLN a clip."""
    width, blocks, time, text = 96, 3, 96, (16, 32)
    video, channels = 5 * 16, 16
    sequence = text[0] + video
    block = sequence * 12 * width**2 + 12 * width * time
    around = (
        video * (2 * channels * 4 * width + 4 * channels * width)  # patches in and out
        + text[0] * text[1] * width
        + width * time
        + time**2  # time
        + time * 2 * width  # output norm
    )
    counted = figures["operations"]["backbone forward"]
    assert counted["dense"] == 2 * (blocks * block + around)
    assert counted["attention"] == 2 * blocks * 2 * sequence**2 * width


def test_passes_add_up(figures):
    found = {name: operations["total"] for name, operations in figures["operations"].items()}
    assert found["forward"] == found["forward, prepared"] + found["signals"] + found["preparing adapters"]
    steps = resolve([f"{TINY}/audio.yaml"], {})["model"]["sampling"]["steps"]
    once = found["signals"] + found["preparing adapters"]
    assert found["sampling a window"] == 2 * (once + steps * found["forward, prepared"])


@pytest.mark.parametrize(("guidance", "branches"), [(1, 1), ({"text": 2, "audio": 4}, 3)])
def test_a_window_has_as_many_branches_as_guidance_needs(guidance, branches, figures):
    """Two where there is one scale, as in these figures."""
    found = figures_of(resolve([f"{TINY}/audio.yaml"], {"model.sampling.guidance": guidance}))["operations"]
    window = "sampling a window"
    assert branches * figures["operations"][window]["total"] == 2 * found[window]["total"]


def test_a_step_costs_three_forwards_where_all_trains_and_less_where_little_does():
    ratios = {}
    for trainable in ('["*"]', '["transformer.proj_out.*"]'):
        found = figures_of(resolve([f"{TINY}/audio.yaml"], {"model.trainable": trainable}))["operations"]
        ratios[trainable] = found["training step"]["total"] / found["forward"]["total"]
    assert ratios['["*"]'] == pytest.approx(3, abs=0.2)
    assert ratios['["transformer.proj_out.*"]'] == pytest.approx(1, abs=0.05)


def test_ranks_share_everything_but_activations():
    denoiser = tiny.denoiser(audio="adaln")
    one, four = (memory(denoiser, clips=2, shard=ranks, cost=MIXED, recompute="none") for ranks in (1, 4))
    assert one.activations == four.activations
    assert (one.weights, one.gradients, one.optimizer) == (4 * four.weights, 4 * four.gradients, 4 * four.optimizer)
    assert one.optimizer == 2 * one.gradients == 2 * one.weights


def test_blocks_that_compute_again_keep_less():
    denoiser, blocks = tiny.denoiser(blocks=6), 6
    values = 2 * tokens(tiny.backbone())["sequence"] * 32  # clips, tokens, width
    working, stream = MIXED.working, MIXED.stream
    kept = {
        "full": blocks * stream,
        "every_2": 3 * stream + 3 * working,
        "every_4": stream + 5 * working,
        "attention_kept": 2 * blocks * stream,
    }
    assert activation_bytes(denoiser, 2, MIXED, "none") == values * blocks * working
    for recompute, count in kept.items():
        one_at_a_time = working
        assert activation_bytes(denoiser, 2, MIXED, recompute) == values * (count + one_at_a_time), recompute


# -- on many GPUs ------------------------------------------------------------------------------------------------------


COUNTS = {
    "backbone": Part(total=1000, trainable=0),
    "identity_reference_network": Part(total=600, trainable=0),
    "audio_adaln adapters": Part(total=80, trainable=80),
}
MACHINE = Machine(peak_tflops=1, attained=0.5, node_gb_s=100, network_gb_s=10, gpus_per_node=4)


def test_what_moves_is_what_paper_and_pencil_say():
    """Frozen and before everything that trains: gathered once. Frozen and between: twice. Replicas exchange a shard."""
    found = moved(COUNTS, Parallel(shard=4, replicate=2, gather="bfloat16", reduce="float32"))
    assert found.gathered == 3 / 4 * (600 + 2 * (1000 + 80)) * 2
    assert found.scattered == 3 / 4 * 80 * 4
    assert found.reduced == 2 * 1 / 2 * 80 / 4 * 4
    alone = moved(COUNTS, Parallel())
    assert alone.gathered == alone.scattered == alone.reduced == 0
    everywhere = moved(COUNTS, Parallel(replicate=5))
    assert (everywhere.gathered, everywhere.reduced) == (0, 2 * 4 / 5 * 80 * 4)


def test_the_network_between_nodes_is_slower():
    traffic = Moved(gathered=4e9, scattered=1e9, reduced=2e9)
    assert seconds(traffic, Parallel(shard=4), MACHINE) == pytest.approx(5 / 100 + 2 / 100)
    assert seconds(traffic, Parallel(shard=4, replicate=2), MACHINE) == pytest.approx(5 / 100 + 2 / 10)
    assert seconds(traffic, Parallel(shard=8), MACHINE) == pytest.approx(5 / 10 + 2 / 10)


def test_every_plan_uses_all_gpus_and_shards_what_it_says(figures):
    config = resolve([f"{TINY}/audio.yaml"], {"parallel.gather": "bfloat16"})
    passes = {name: Operations(found["dense"], found["attention"]) for name, found in figures["operations"].items()}
    found = plans(config, passes, Machine())
    assert [plan.shard * plan.replicate for plan in found] == [8] * 2 + [16] * 3 + [32] * 3 + [64] * 3
    whole = found[0]
    trained = sum(part["trainable"] for part in figures["parameters"].values())
    assert whole.shard == 1
    assert whole.state == 4 * (sum(part["total"] for part in figures["parameters"].values()) + 4 * trained)
    assert all(plan.state == whole.state / plan.shard for plan in found)
    assert whole.compute_s["none"] < whole.compute_s["attention_kept"] < whole.compute_s["full"]
    clips, speed = config["data"]["batch_size"], 989.4e12 * 0.4
    assert whole.compute_s["none"] == pytest.approx(clips * figures["operations"]["training step"]["total"] / speed)


def test_blocks_that_train_keep_more_than_blocks_that_gradients_pass_through():
    denoiser = tiny.denoiser(audio="adaln")
    channels = 2 * tokens(tiny.backbone())["sequence"] * 32 * 2  # clips, tokens, width, blocks
    assert activation_bytes(denoiser, 2, MIXED, "none") == channels * MIXED.working
    denoiser.requires_grad_(False)
    denoiser.transformer.blocks[0].adapters.requires_grad_(True)
    assert activation_bytes(denoiser, 2, MIXED, "none") == channels * MIXED.working_frozen
    denoiser.transformer.blocks[1].ff.requires_grad_(True)
    assert activation_bytes(denoiser, 2, MIXED, "none") == channels * MIXED.working


@pytest.mark.parametrize(
    ("setting", "cost"),
    [("bf16-mixed", MIXED), ("16-mixed", MIXED), ("bf16-true", HALF), ("32-true", FULL), (32, FULL)],
)
def test_the_precision_is_that_of_the_trainer(setting, cost):
    assert precision_of(setting) is cost


def saved(cost: Precision, trains: bool, blocks: int, frames: int) -> tuple[int, int]:
    """Bytes that autograd saves in a forward pass, each storage once and no parameter; and those of a value between
    blocks."""
    size = tiny.backbone(width=64, blocks=blocks, latent_height=16, latent_width=18, latent_frames=frames)
    dtype = torch.bfloat16 if cost is HALF else torch.float32
    network, kept, streams = Transformer(size).to(dtype).requires_grad_(trains), {}, []
    network.blocks[-1].register_forward_pre_hook(lambda _, given: streams.append(given[0]))

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    latents, text = tiny.draw(1, frames, 8, 16, 18).to(dtype).requires_grad_(), tiny.draw(1, 6, 9).to(dtype)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=cost is MIXED),
    ):
        alive = network(latents, text, torch.tensor([5]), [{}] * blocks)
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    assert alive.shape[1] == frames
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own), streams[0].itemsize


@pytest.mark.parametrize("cost", [FULL, MIXED, HALF])
@pytest.mark.parametrize("trains", [True, False])
def test_a_block_keeps_as_many_bytes_as_the_estimate_says(cost, trains):
    """Of two more blocks, for four more latent frames: what does not grow with both is none of theirs."""
    found = {(b, f): saved(cost, trains, b, f) for b in (1, 3) for f in (2, 6)}
    grown = (found[3, 6][0] - found[1, 6][0]) - (found[3, 2][0] - found[1, 2][0])
    channels = 2 * 4 * (8 * 9) * 64  # blocks, frames, patches, width
    assert grown / channels == pytest.approx(cost.working if trains else cost.working_frozen, abs=2)
    assert found[1, 2][1] == cost.stream


def test_the_imaginary_clip_has_the_sizes_of_a_real_one():
    size = tiny.backbone()
    real, imaginary = tiny.batch(size, clips=1), imaginary_clip(size, tiny.INPUTS)
    for field in imaginary.present():
        assert getattr(imaginary, field).shape == getattr(real, field).shape
        assert getattr(imaginary, field).device == torch.device("meta")


def test_the_verb_prints_and_writes_without_any_file_of_weights_or_data(tmp_path: Path, capsys):
    arguments = [
        "describe",
        "--config",
        f"{TINY}/audio.yaml",
        "--model.audio",
        "adaln",
        "--json",
        str(tmp_path / "out"),
        "--network-gb-s=25",
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "audio_adaln adapters" in printed
    figures = json.loads((tmp_path / "out").read_text())
    assert figures["parameters"]["audio_adaln adapters"]["trainable"] > 0
    assert figures["machine"]["network_gb_s"] == 25
    assert len(figures["sizing"]) == 11
    assert main(["describe", "--config", f"{TINY}/audio.yaml", "--model.audio", "adalm"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", f"{TINY}/audio.yaml", "--json", "nowhere/x.json"], "cannot write --json nowhere/x.json"),
        (["--config", f"{TINY}/audio_long.yaml"], "is a layer: name the file that it changes before it"),
        (["--config", "experiments/grids/demo.yaml"], "is a grid of runs, and describe takes the config of one"),
        (["--config=experiments/grids/demo.yaml"], "is a grid of runs"),
        ([*FULL_AUDIO, "--model.backbone.heads", "7"], "backbone.width 3072 is not a multiple of backbone.heads 7"),
        ([*FULL_AUDIO, "--model.backbone.heads", "128"], "is 24 a head, which rotation cannot split"),
        ([*FULL_AUDIO, "--model.backbone.blocks", "0"], "backbone.blocks is 0; give a whole number from 1"),
        ([*FULL_AUDIO, "--model.backbone.width", "99999999999"], "backbone.width is 99999999999; give a whole number"),
        ([*FULL_AUDIO, "--model.backbone.latent_width", "91"], "backbone.latent_width is 91"),
        ([*FULL_AUDIO, "--model.backbone.norm_eps", "-1"], "backbone.norm_eps is -1"),
        ([*FULL_AUDIO, "--model.inputs.face_width", "0"], "inputs.face_width is 0"),
        ([*FULL_AUDIO, "--model.options.cross_attention.tokens", "-3"], "no network has these sizes"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(arguments, says, capsys):
    assert main(["describe", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert complaint.count("\n") == 1


def test_help_says_that_it_takes_the_settings_of_fit(capsys):
    with pytest.raises(SystemExit):
        main(["describe", "--help"])
    assert "every setting of `hallo3 fit`" in " ".join(capsys.readouterr().out.split())
