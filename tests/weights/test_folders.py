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

from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.transformer import Backbone, Transformer
from hallo3_lightning.weights.folder import add_to_fingerprint, read, written_aside
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
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def shortened(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def test_a_cut_safetensors_file_is_refused(source, tmp_path, capsys):
    shortened(next(iter(sorted((source / "transformer").glob("*.safetensors")))))
    refused(capsys, tmp_path, source, "damaged, cut short or absent")


def test_an_absent_shard_is_refused(source, tmp_path, capsys):
    next(iter((source / "transformer").glob("*.safetensors"))).unlink()
    refused(capsys, tmp_path, source, "damaged, cut short or absent")


def test_a_cut_sat_file_is_refused(tmp_path, capsys):
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": {"model.a": torch.zeros(1000)}}, file)
    shortened(file)
    refused(capsys, tmp_path, file, "damaged, cut short, or no PyTorch checkpoint")


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, capsys):
    file, trace = tmp_path / "mp_rank_00_model_states.pt", tmp_path / "it_ran"
    torch.save({"module": {"model.a": torch.zeros(2)}, "extra": Payload(trace)}, file)
    refused(capsys, tmp_path, file, "could run code")
    assert not trace.exists()


def test_a_file_without_weights_is_refused(tmp_path, capsys):
    torch.save([1, 2], tmp_path / "model.pt")
    refused(capsys, tmp_path, tmp_path / "model.pt", "no 'module' with named tensors")


def test_another_model_of_diffusers_is_refused(source, tmp_path, capsys):
    file = source / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"patch_size_t": 2}))
    refused(capsys, tmp_path, source, "patch_size_t 2 where we need None")


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


@pytest.mark.parametrize("verb", ["import-weights", "export-weights"])
def test_a_full_disk_leaves_nothing(source, tmp_path, verb, capsys):
    if verb == "export-weights":
        import_weights(source, tmp_path / "given")
        source = tmp_path / "given"
    before = sorted(path.name for path in tmp_path.iterdir())
    with files_of_at_most(20_000):
        assert main([verb, str(source), str(tmp_path / "ours")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "could not be written" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_too_small_a_disk_is_seen_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="make room first"), written_aside(tmp_path / "out", size=10**18):
        pytest.fail("began to write")
    assert list(tmp_path.iterdir()) == []
