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
from hallo3_lightning.weights.aside import written_aside
from hallo3_lightning.weights.exporting import export_weights
from hallo3_lightning.weights.folder import add_to_fingerprint, read
from hallo3_lightning.weights.importing import import_weights
from hallo3_lightning.weights.sat import Remapped
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


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99])
def test_a_cut_sat_file_is_refused(tmp_path, capsys, part, zipped):
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": {"model.a": torch.zeros(1000)}}, file, _use_new_zipfile_serialization=zipped)
    os.truncate(file, int(part * file.stat().st_size))
    refused(capsys, tmp_path, file, "damaged, cut short, or no PyTorch checkpoint")


def resident(file: Path) -> int:
    """Bytes of a file that are mapped into this process and in memory."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = line.endswith(str(file))
        elif ours and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="asks Linux what is in memory")
def test_what_was_read_leaves_memory(tmp_path):
    """16 tensors of 1 MB, mapped anew every 4 MB: no more than those and the one just asked for stay."""
    file, megabyte = tmp_path / "model.pt", 2**20
    torch.save({"module": {str(i): torch.full((megabyte // 4,), i) for i in range(16)}}, file)
    read_of, seen = Remapped(file, limit=4 * megabyte), []
    for i in range(16):
        assert read_of(str(i)).sum() == i * megabyte // 4
        seen.append(resident(file))
    assert megabyte <= max(seen) <= 6 * megabyte


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, capsys):
    file, trace = tmp_path / "mp_rank_00_model_states.pt", tmp_path / "it_ran"
    torch.save({"module": {"model.a": torch.zeros(2)}, "extra": Payload(trace)}, file)
    refused(capsys, tmp_path, file, "holds more than tensors (posix.system), which could run code when it is read")
    assert not trace.exists()


def test_a_file_without_weights_is_refused(tmp_path, capsys):
    torch.save([1, 2], tmp_path / "model.pt")
    refused(capsys, tmp_path, tmp_path / "model.pt", "no 'module' with named tensors")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patch_size_t": 2}, "patch_size_t 2 where we need None"),
        ({"activation_fn": "geglu"}, "activation_fn geglu where we need gelu-approximate"),
        ({"timestep_activation_fn": "mish"}, "timestep_activation_fn mish where we need silu"),
        ({"freq_shift": 1}, "freq_shift 1 where we need 0"),
        ({"flip_sin_to_cos": False}, "flip_sin_to_cos False where we need True"),
        ({"num_attention_heads": 3}, "3 heads of 16, but its weights are 32 wide and 2 heads of 16"),
        ({"attention_head_dim": 8}, "2 heads of 8, but its weights are 32 wide and 2 heads of 16"),
        ({"sample_frames": 0}, "sample_frames 0 where we need a whole number"),
        ({"norm_eps": "small"}, "norm_eps 'small' where we need a number"),
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


@pytest.mark.parametrize("text", ["{garbage", "[1, 2]", "", "\x00\xff"])
@pytest.mark.parametrize("name", ["config.json", INDEX])
def test_a_garbled_json_is_refused(source, tmp_path, capsys, name, text):
    (source / "transformer" / name).write_bytes(text.encode("latin-1"))
    refused(capsys, tmp_path, source, f"{name}' ")


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
        (lambda bias: bias.long(), "1 not of floating point (proj_out.bias)"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(theirs, tmp_path, capsys, changed, told):
    state = theirs_like(SIZE).state_dict()
    theirs.save_pretrained(tmp_path / "cogvideox" / "transformer")
    save_file(state | {"proj_out.bias": changed(state["proj_out.bias"])}, tmp_path / "cogvideox" / WHOLE)
    refused(capsys, tmp_path, tmp_path / "cogvideox", told)


WHOLE = "transformer/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("record", ["{", "[]", "{}", '"text"'])
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


def test_too_small_a_disk_is_seen_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="make room first"), written_aside(tmp_path / "out", size=10**18):
        pytest.fail("began to write")
    assert list(tmp_path.iterdir()) == []
