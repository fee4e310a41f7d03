"""diffusers' own files in and out, and everything that can go wrong on the way."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from safetensors.torch import save_file

from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.transformer import Backbone, Transformer
from hallo3_lightning.weights.exporting import export_weights
from hallo3_lightning.weights.folder import add_to_fingerprint, read, record_of
from hallo3_lightning.weights.importing import import_weights
from tests import tiny
from tests.model.test_transformer import theirs_like

SIZE = tiny.backbone(latent_frames=3, output_norm_eps=1e-5)
SHARD = "50KB"


@pytest.fixture(scope="module")
def theirs() -> CogVideoXTransformer3DModel:
    model = tiny.nudged(theirs_like(SIZE))
    model.patch_embed.pos_embedding.copy_(tiny.draw(*model.patch_embed.pos_embedding.shape, name="positions"))
    return model


@pytest.fixture
def source(theirs, tmp_path) -> Path:
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer", max_shard_size=SHARD)
    assert len(list((tmp_path / "cogvideox" / "transformer").glob("*.safetensors"))) > 2
    return tmp_path / "cogvideox"


def evaluated(model: CogVideoXTransformer3DModel) -> torch.Tensor:
    clip, grid = tiny.batch(SIZE), (SIZE.latent_height // 2, SIZE.latent_width // 2)
    table = get_3d_rotary_pos_embed(SIZE.head_dim, ((0, 0), grid), grid, SIZE.latent_frames)
    latents = torch.cat([clip.latents, clip.motion_latents], dim=2)
    steps = torch.tensor([17, 801])
    with torch.no_grad():
        return model(latents, clip.text_embeddings, steps, image_rotary_emb=table, return_dict=False)[0]


def test_diffusers_there_and_back(theirs, source, tmp_path):
    assert main(["import-weights", str(source), str(tmp_path / "ours")]) == 0
    assert main(["export-weights", str(tmp_path / "ours"), str(tmp_path / "back"), "--format", "diffusers"]) == 0
    back = CogVideoXTransformer3DModel.from_pretrained(tmp_path / "back").eval()
    assert (
        dict(back.config).items() >= {k: theirs.config[k] for k in ("sample_frames", "norm_eps", "num_layers")}.items()
    )
    assert torch.equal(evaluated(back), evaluated(theirs))


def test_imported_diffusers_weights_are_the_backbone(theirs, source, tmp_path):
    main(["import-weights", str(source), str(tmp_path / "ours")])
    ours = Transformer(SIZE)
    ours.load_state_dict({name.removeprefix("transformer."): v for name, v in read(tmp_path / "ours").items()})
    record = json.loads((tmp_path / "ours" / "weights.json").read_text())
    assert Backbone(**record["backbone"]) == SIZE


def test_diffusers_one_epsilon_is_that_of_all_norms_there_and_back(theirs, tmp_path):
    """1e-2 is large enough, beside the variance, to see in the output in which norm it is missing."""
    config = {name: value for name, value in theirs.config.items() if not name.startswith("_")}
    other = CogVideoXTransformer3DModel(**(config | {"norm_eps": 1e-2})).eval()
    other.load_state_dict(theirs.state_dict())
    other.save_pretrained(tmp_path / "cogvideox")
    import_weights(tmp_path / "cogvideox", tmp_path / "ours")
    size = Backbone(**json.loads((tmp_path / "ours" / "weights.json").read_text())["backbone"])
    ours = Transformer(size)
    ours.load_state_dict({name.removeprefix("transformer."): v for name, v in read(tmp_path / "ours").items()})
    clip = tiny.batch(SIZE)
    with torch.no_grad():
        latents = torch.cat([clip.latents, clip.motion_latents], dim=2)
        got = ours(latents, clip.text_embeddings, torch.tensor([17, 801]), [{}] * size.blocks)
    expected = evaluated(other)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()
    export_weights(tmp_path / "ours", tmp_path / "back", "diffusers")
    assert torch.equal(evaluated(CogVideoXTransformer3DModel.from_pretrained(tmp_path / "back").eval()), expected)
    assert "not_held_by_diffusers" not in json.loads((tmp_path / "back" / "weights.json").read_text())


def test_what_diffusers_cannot_hold_is_said(source, tmp_path):
    import_weights(source, tmp_path / "ours")
    file = tmp_path / "ours" / "weights.json"
    record = json.loads(file.read_text())
    record["backbone"]["output_norm_eps"] = 1e-6
    file.write_text(json.dumps(record))
    export_weights(tmp_path / "ours", tmp_path / "back", "diffusers")
    told = json.loads((tmp_path / "back" / "weights.json").read_text())["not_held_by_diffusers"]
    assert list(told) == ["output_norm_eps"]
    assert "1e-06 in our network, 1e-05 in diffusers'" in (tmp_path / "back" / "card.md").read_text()


def test_shards_hold_what_they_may_and_the_fingerprint_is_of_the_content(source, tmp_path):
    import hashlib

    import_weights(source, tmp_path / "small", shard_bytes=50_000)
    import_weights(source, tmp_path / "whole")
    records = [json.loads((tmp_path / name / "weights.json").read_text()) for name in ("small", "whole")]
    assert records[0]["fingerprint"] == records[1]["fingerprint"]
    assert len(list((tmp_path / "small").glob("*.safetensors"))) > 2
    small, whole, digest = read(tmp_path / "small"), read(tmp_path / "whole"), hashlib.sha256()
    assert all(torch.equal(small[name], whole[name]) for name in small.keys() | whole.keys())
    for name in sorted(whole):
        add_to_fingerprint(digest, name, whole[name])
    assert digest.hexdigest() == records[1]["fingerprint"]
    del whole["transformer.proj_out.bias"]
    assert "transformer.proj_out.bias" in small


def test_the_fingerprint_is_of_every_number(theirs, source, tmp_path):
    other = theirs_like(SIZE)
    other.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        other.proj_out.bias[3] += 1e-3
    other.save_pretrained(tmp_path / "other")
    for name in ("cogvideox", "other"):
        import_weights(tmp_path / name, tmp_path / f"from {name}")
    records = [json.loads((tmp_path / f"from {name}" / "weights.json").read_text()) for name in ("cogvideox", "other")]
    assert records[0]["fingerprint"] != records[1]["fingerprint"]


def test_dtype_is_kept(theirs, tmp_path):
    model = theirs_like(SIZE).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    import_weights(tmp_path / "half", tmp_path / "ours")
    assert {value.dtype for value in read(tmp_path / "ours").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "ours" / "weights.json").read_text())["dtype"] == "bfloat16"


def refused(capsys, tmp_path: Path, source: Path, told: str) -> None:
    """One sentence with these words, and no file that was not there."""
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["import-weights", str(source), str(tmp_path / "ours")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert told in error, error
    assert "weights_only" not in error, error
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def shortened(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def test_a_cut_safetensors_file_is_refused(source, tmp_path, capsys):
    shortened(next(iter(sorted((source / "transformer").glob("*.safetensors")))))
    refused(capsys, tmp_path, source, "damaged, cut short or absent")


def test_an_absent_shard_is_refused(source, tmp_path, capsys):
    next(iter((source / "transformer").glob("*.safetensors"))).unlink()
    refused(capsys, tmp_path, source, "damaged, cut short or absent")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patch_size_t": 2}, "patch_size_t 2 where we need None"),
        ({"activation_fn": "geglu"}, "activation_fn geglu where we need gelu-approximate"),
        ({"timestep_activation_fn": "mish"}, "timestep_activation_fn mish where we need silu"),
        ({"freq_shift": 1}, "freq_shift 1 where we need 0"),
        ({"flip_sin_to_cos": False}, "flip_sin_to_cos False where we need True"),
        ({"dropout": 0.5}, "dropout 0.5 where we need 0.0"),
        ({"attention_bias": False}, "attention_bias False where we need True"),
        ({"norm_elementwise_affine": False}, "norm_elementwise_affine False where we need True"),
        ({"patch_bias": False}, "patch_bias False where we need True"),
        ({"spatial_interpolation_scale": 3.0}, "spatial_interpolation_scale 3.0 where we need 1.875"),
        ({"num_attention_heads": 3}, "num_attention_heads 3 where its weights have 2"),
        ({"attention_head_dim": 8}, "attention_head_dim 8 where its weights have 16"),
        ({"num_layers": 9}, "num_layers 9 where its weights have 2"),
        ({"time_embed_dim": 25}, "time_embed_dim 25 where its weights have 24"),
        ({"text_embed_dim": 10}, "text_embed_dim 10 where its weights have 9"),
        ({"in_channels": 99}, "in_channels 99 and out_channels 4"),
        ({"out_channels": 3}, "in_channels 8 and out_channels 3"),
        ({"in_channels": 10, "out_channels": 5}, "in_channels 10 where its weights have 8, out_channels 5 where"),
        (
            {"max_text_seq_length": 99},
            "max_text_seq_length 99 and 3x4x10 latents, 129 positions, where its weights have 36",
        ),
        ({"sample_width": 10**9, "sample_height": 10**9}, "where its weights have 36"),
        (
            {"use_learned_positional_embeddings": False},
            "use_learned_positional_embeddings False where its weights have",
        ),
        ({"use_learned_positional_embeddings": "yes"}, "'yes' where we need true or false"),
        ({"sample_frames": 0}, "sample_frames 0 where we need a whole number"),
        ({"sample_frames": 10}, "sample_frames 10 where we need 1 + 4k"),
        ({"sample_height": 5}, "sample_height 5 where we need an even number"),
        ({"norm_eps": "small"}, "norm_eps 'small' where we need a number"),
        ({"norm_eps": -1.0}, "norm_eps -1.0 where we need a number"),
        ({"norm_eps": float("nan")}, "norm_eps nan where we need a number"),
        ({"norm_eps": float("inf")}, "norm_eps inf where we need a number"),
    ],
)
def test_another_model_of_diffusers_is_refused(source, tmp_path, capsys, changes, told):
    file = source / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    refused(capsys, tmp_path, source, told)


def test_a_config_that_lacks_a_key_is_refused(source, tmp_path, capsys):
    file = source / "transformer" / "config.json"
    config = json.loads(file.read_text())
    del config["sample_frames"]
    file.write_text(json.dumps(config))
    refused(capsys, tmp_path, source, "does not say sample_frames")


INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.mark.parametrize("text", ["{garbage", "[1, 2]", "", "\x00\xff", "[" * 100_000, '{"a":' * 100_000])
@pytest.mark.parametrize("name", ["config.json", INDEX])
def test_a_garbled_json_is_refused(source, tmp_path, capsys, name, text):
    (source / "transformer" / name).write_bytes(text.encode("latin-1"))
    refused(capsys, tmp_path, source, f"{name}' ")


def test_an_index_names_no_file_elsewhere(source, tmp_path, capsys):
    file = source / "transformer" / INDEX
    places = json.loads(file.read_text())["weight_map"]
    for elsewhere in ("../transformer/" + places["proj_out.bias"], "/etc/passwd"):
        file.write_text(json.dumps({"weight_map": places | {"proj_out.bias": elsewhere}}))
        refused(capsys, tmp_path, source, "which is no file beside it")


@pytest.mark.parametrize("content", [{}, {"weight_map": 3}, {"weight_map": {"proj_out.bias": 3}}])
def test_an_index_without_files_is_refused(source, tmp_path, capsys, content):
    (source / "transformer" / INDEX).write_text(json.dumps(content))
    refused(capsys, tmp_path, source, "has no weight_map that names")


def test_an_index_that_is_not_of_its_files_is_refused_before_anything_is_written(source, tmp_path, capsys):
    file = source / "transformer" / INDEX
    places = json.loads(file.read_text())["weight_map"]
    first, last = min(places.values()), max(places.values())
    lacking = {name: place for name, place in places.items() if name != "proj_out.bias"}
    wrong = {
        "proj_out.bias is nowhere by the index": lacking,
        f"extra is in {last} by the index but nowhere in truth": places | {"extra": last},
        f"proj_out.bias is in {first} by the index but in {places['proj_out.bias']}": places | {"proj_out.bias": first},
    }
    assert places["proj_out.bias"] != first
    for told, given in wrong.items():
        file.write_text(json.dumps({"weight_map": given}))
        refused(capsys, tmp_path, source, told)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda bias: bias.fill_(torch.nan), "proj_out.bias holds values that are not finite"),
        (lambda bias: bias.long(), "1 not of floating point in 16 to 64 bits (proj_out.bias)"),
        (lambda bias: bias.to(torch.float8_e4m3fn), "1 not of floating point in 16 to 64 bits (proj_out.bias)"),
        (lambda bias: bias.to(torch.complex64), "1 not of floating point in 16 to 64 bits (proj_out.bias)"),
        (lambda _: torch.zeros(()), "1 of another shape (transformer.proj_out.bias () for (16,))"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(theirs, tmp_path, capsys, changed, told):
    state = theirs_like(SIZE).state_dict()
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer")
    save_file(state | {"proj_out.bias": changed(state["proj_out.bias"])}, tmp_path / "cogvideox" / WHOLE)
    refused(capsys, tmp_path, tmp_path / "cogvideox", told)


WHOLE = "transformer/diffusion_pytorch_model.safetensors"


def test_an_epsilon_without_a_point_is_one(source, tmp_path):
    file = source / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"norm_eps": 1}))
    assert import_weights(source, tmp_path / "ours")["backbone"]["norm_eps"] == 1.0


def test_a_table_that_the_config_promises_must_be_there(theirs, tmp_path, capsys):
    state = theirs.state_dict()
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer")
    del state["patch_embed.pos_embedding"]
    save_file(state, tmp_path / "cogvideox" / WHOLE)
    refused(capsys, tmp_path, tmp_path / "cogvideox", "1 missing (transformer.patch_embed.pos_embedding)")


def test_latents_other_than_those_of_the_config_are_refused(source, tmp_path, capsys):
    for latents, told in {"3x4x12": "config.json says 3x4x10 latents", "3x5x8": "height and width even"}.items():
        assert main(["import-weights", str(source), str(tmp_path / "ours"), "--latents", latents]) == 2
        assert told in capsys.readouterr().err
    assert main(["import-weights", str(source), str(tmp_path / "ours"), "--latents", "3x4x10"]) == 0


@pytest.mark.parametrize("empty", ["patch_embed.proj.weight", "transformer_blocks.0.attn1.norm_q.weight"])
def test_an_empty_tensor_is_refused(theirs, tmp_path, capsys, empty):
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer")
    state = theirs.state_dict()
    save_file(state | {empty: state[empty][:0].contiguous()}, tmp_path / "cogvideox" / WHOLE)
    refused(capsys, tmp_path, tmp_path / "cogvideox", "has the shape (0")


def test_what_a_name_holds_does_not_reach_the_terminal(theirs, tmp_path, capsys):
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer")
    save_file(theirs.state_dict() | {"a\n\x1b[31mred": torch.zeros(2)}, tmp_path / "cogvideox" / WHOLE)
    refused(capsys, tmp_path, tmp_path / "cogvideox", r"a\n\x1b[31mred")


def test_no_parameters_are_told_as_that(theirs, tmp_path, capsys):
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer")
    save_file({}, tmp_path / "cogvideox" / WHOLE)
    refused(capsys, tmp_path, tmp_path / "cogvideox", "proj.weight is missing; it has no parameters\n")


def test_each_command_names_the_other_for_what_is_its(source, tmp_path, capsys):
    assert main(["export-weights", str(source), str(tmp_path / "out")]) == 2
    assert "`hallo3 import-weights" in capsys.readouterr().err
    import_weights(source, tmp_path / "ours")
    assert main(["export-weights", str(tmp_path / "ours" / "weights.json"), str(tmp_path / "out")]) == 2
    assert "name the folder" in capsys.readouterr().err
    assert main(["import-weights", str(tmp_path / "ours"), str(tmp_path / "out")]) == 2
    assert "a folder of weights of ours already" in capsys.readouterr().err


def test_what_was_done_is_said(source, tmp_path, capsys):
    main(["import-weights", str(source), str(tmp_path / "ours")])
    record = json.loads((tmp_path / "ours" / "weights.json").read_text())
    said = capsys.readouterr().out
    assert f"{record['parameters']:,} parameters in {record['dtype']}, fingerprint {record['fingerprint']}\n" in said
    main(["export-weights", str(tmp_path / "ours"), str(tmp_path / "back")])
    assert json.loads((tmp_path / "back" / "weights.json").read_text())["fingerprint"] in capsys.readouterr().out


def changed(folder: Path, name: str, change) -> None:
    """Another tensor of that name in a folder of weights, whose weights.json says the new size."""
    file, state = folder / "weights-00001-of-00001.safetensors", read(folder)
    save_file({key: value.clone() for key, value in (state | {name: change(state[name])}).items()}, file)
    record = json.loads((folder / "weights.json").read_text())
    (folder / "weights.json").write_text(json.dumps(record | {"files": {file.name: file.stat().st_size}}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda bias: bias.int(), "transformer.proj_out.bias is of torch.int32"),
        (lambda bias: bias.fill_(torch.inf), "transformer.proj_out.bias is not finite"),
    ],
)
def test_a_folder_of_what_are_no_weights_is_not_read(source, tmp_path, change, told):
    import_weights(source, tmp_path / "ours")
    changed(tmp_path / "ours", "transformer.proj_out.bias", change)
    with pytest.raises(UsageError, match=told):
        read(tmp_path / "ours")


def test_export_holds_a_folder_to_its_fingerprint(source, tmp_path, capsys):
    import_weights(source, tmp_path / "ours")
    changed(tmp_path / "ours", "transformer.proj_out.bias", lambda bias: bias + 1)
    for form in ("diffusers", "safetensors"):
        assert main(["export-weights", str(tmp_path / "ours"), str(tmp_path / "out"), "--format", form]) == 2
        assert "are not those of its fingerprint" in capsys.readouterr().err


def test_a_file_of_another_size_is_seen_without_reading_it(source, tmp_path):
    import_weights(source, tmp_path / "ours")
    os.truncate(tmp_path / "ours" / "weights-00001-of-00001.safetensors", 1000)
    with pytest.raises(UsageError, match="has 1000, weights.json says"):
        record_of(tmp_path / "ours")
    (tmp_path / "ours" / "weights-00001-of-00001.safetensors").unlink()
    with pytest.raises(UsageError, match="is absent, weights.json says"):
        record_of(tmp_path / "ours")


@pytest.mark.parametrize("wrong", [{"width": "x"}, {"zzz": 1}, {"heads": 3}])
def test_sizes_that_are_none_are_refused(source, tmp_path, capsys, wrong):
    import_weights(source, tmp_path / "ours")
    file = tmp_path / "ours" / "weights.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"backbone": record["backbone"] | wrong}))
    assert main(["export-weights", str(tmp_path / "ours"), str(tmp_path / "out")]) == 2
    assert "weights.json' is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("record", ["{", "[]", "{}", '"text"', "[" * 100_000])
def test_a_damaged_record_of_weights_is_refused(source, tmp_path, capsys, record):
    import_weights(source, tmp_path / "ours")
    (tmp_path / "ours" / "weights.json").write_text(record)
    assert main(["export-weights", str(tmp_path / "ours"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "weights.json' is " in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_there_are_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export-weights", "nothere", "out"]) == 2
    assert capsys.readouterr().err.count("there is no 'nothere'") == 1
    Path("alone.ckpt").touch()
    assert main(["export-weights", "alone.ckpt", "out"]) == 2
    assert "is no run and no folder of weights" in capsys.readouterr().err


def test_a_place_that_cannot_hold_a_folder_is_refused(source, tmp_path, capsys):
    (tmp_path / "file").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, told in {
        "link": "is a link to nothing",
        "link/deep/out": "link' is no folder",
        "file": "exists",
        "file/out": "file' is no folder",
        "file/deep/out": "file' is no folder",
    }.items():
        assert main(["import-weights", str(source), str(tmp_path / out)]) == 2
        error = capsys.readouterr().err
        assert told in error, error
        assert "make room" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cogvideox", "file", "link"]


def test_an_empty_folder_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    refused(capsys, tmp_path, tmp_path / "empty", "no weights at")


def test_an_existing_folder_is_left_alone(source, tmp_path, capsys):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "mine.txt").write_text("keep")
    refused(capsys, tmp_path, source, "exists; name a folder that does not")
    assert (tmp_path / "ours" / "mine.txt").read_text() == "keep"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full: this process may write no larger file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("place", ["ours", "there/deep/er/ours"])
@pytest.mark.parametrize("verb", ["import-weights", "export-weights"])
def test_a_full_disk_leaves_nothing(source, tmp_path, verb, place, capsys):
    if verb == "export-weights":
        import_weights(source, tmp_path / "given")
        source = tmp_path / "given"
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with files_of_at_most(20_000):
        assert main([verb, str(source), str(tmp_path / place)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "could not be written" in error
    assert sorted(tmp_path.rglob("*")) == before
