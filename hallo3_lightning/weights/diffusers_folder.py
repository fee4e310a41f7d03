"""CogVideoX as diffusers saves it: config.json and safetensors."""

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FRAMES_PER_LATENT, PATCH, is_clip_length, latent_frames, pixel_frames
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.sizes import Grid, Shapes, axes, blocks_of
from hallo3_lightning.weights.source import Source, first_line, printable

FILE = "diffusion_pytorch_model.safetensors"
CLASS = "CogVideoXTransformer3DModel"
EPS = 1e-5
"""Of the norms of blocks, the last norm and the norm before the output, where a config.json says nothing."""

REQUIRED: Mapping[str, Any] = {
    "_class_name": CLASS,
    "patch_size": PATCH,
    "patch_size_t": None,
    "ofs_embed_dim": None,
    "temporal_compression_ratio": FRAMES_PER_LATENT,
    "use_rotary_positional_embeddings": True,
    "activation_fn": "gelu-approximate",
    "timestep_activation_fn": "silu",
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "dropout": 0.0,
    "attention_bias": True,
    "norm_elementwise_affine": True,
    "patch_bias": True,
    "spatial_interpolation_scale": 1.875,
    "temporal_interpolation_scale": 1.0,
}
"""What a diffusers transformer must say of itself to be one that we build; what it does not say is taken as this."""

LEARNED = "use_learned_positional_embeddings"


def config_of(size: Backbone) -> dict[str, Any]:
    """config.json of the backbone in diffusers, which has one epsilon for all norms but those of queries and keys."""
    return {
        "_class_name": CLASS,
        "num_attention_heads": size.heads,
        "attention_head_dim": size.head_dim,
        "in_channels": 2 * size.latent_channels,
        "out_channels": size.latent_channels,
        "time_embed_dim": size.time_width,
        "text_embed_dim": size.text_width,
        "num_layers": size.blocks,
        "sample_width": size.latent_width,
        "sample_height": size.latent_height,
        "sample_frames": pixel_frames(size.latent_frames),
        "patch_size": PATCH,
        "temporal_compression_ratio": FRAMES_PER_LATENT,
        "max_text_seq_length": size.text_tokens,
        "norm_eps": size.norm_eps,
        "use_rotary_positional_embeddings": size.rotary,
        LEARNED: size.learned_positions,
    }


def is_folder(path: Path) -> bool:
    """Whether a path is a folder that diffusers wrote."""
    return (path / "config.json").is_file()


def opened(folder: Path) -> Source:
    """The weights in a folder. Raises UsageError where they are no CogVideoX-5B-I2V, or damaged."""
    config = _json(folder / "config.json")
    differing = {k: config.get(k, v) for k, v in REQUIRED.items() if config.get(k, v) != v}
    if differing:
        told = ", ".join(f"{k} {v} where we need {REQUIRED[k]}" for k, v in differing.items())
        raise UsageError(f"'{folder}' is another model than CogVideoX-5B-I2V: its config.json says {told}")
    places = _places(folder)
    shapes, dtypes, held = {}, {}, {}
    for file in sorted(set(places.values())):
        with _safetensors(file) as opened_file:
            for name in opened_file.keys():  # noqa: SIM118
                tensor = opened_file.get_tensor(name)
                shapes[name], dtypes[name], held[name] = tuple(tensor.shape), tensor.dtype, file
    _check_places(folder, places, held)

    def read(name: str) -> Any:
        with _safetensors(places[name]) as opened_file:
            return opened_file.get_tensor(name)

    return Source(folder, "diffusers", shapes, dtypes, read, config=config)


def backbone_of(source: Source, shapes: Shapes, latents: Grid | None) -> Backbone:
    """The transformer that config.json describes. Raises UsageError where the weights' `shapes` are of another."""
    say = f"'{source.path}': its config.json"
    grid = _grid(source)
    if latents is not None and latents != grid:
        raise UsageError(f"{say} says {grid} latents, --latents {latents}; leave --latents out")
    counts = _counts(source)
    learned, eps = source.config.get(LEARNED, False), source.config.get("norm_eps", EPS)
    if not isinstance(learned, bool):
        raise UsageError(f"{say} says {LEARNED} {learned!r} where we need true or false")
    if isinstance(eps, bool) or not isinstance(eps, float | int) or not 0 < eps < math.inf:
        raise UsageError(f"{say} says norm_eps {eps!r} where we need a number such as 1e-5")
    _refuse_contradictions(say, counts, _found(shapes))
    _refuse_another_table(say, shapes, grid, counts["max_text_seq_length"] if learned else None)
    return Backbone(
        width=counts["num_attention_heads"] * counts["attention_head_dim"],
        heads=counts["num_attention_heads"],
        blocks=counts["num_layers"],
        time_width=counts["time_embed_dim"],
        text_width=counts["text_embed_dim"],
        text_tokens=counts["max_text_seq_length"],
        latent_channels=counts["out_channels"],
        latent_height=grid.height,
        latent_width=grid.width,
        latent_frames=grid.frames,
        learned_positions=learned,
        norm_eps=float(eps),
        output_norm_eps=float(eps),
    )


COUNTS = (
    *("num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "time_embed_dim", "text_embed_dim"),
    *("num_layers", "max_text_seq_length"),
)


def _counts(source: Source) -> dict[str, int]:
    counts = {key: _count(source, key) for key in COUNTS}
    if counts["in_channels"] != 2 * counts["out_channels"]:
        raise UsageError(
            f"'{source.path}': its config.json says in_channels {counts['in_channels']} and out_channels "
            f"{counts['out_channels']}; it reads latents and a picture, so that we need twice as many in as out"
        )
    return counts


def _refuse_contradictions(say: str, counts: Mapping[str, int], found: Mapping[str, int]) -> None:
    wrong = [f"{key} {counts[key]} where its weights have {found[key]}" for key in found if counts[key] != found[key]]
    if wrong:
        raise UsageError(f"{say} says {', '.join(wrong)}; fetch the config.json that belongs to them")


def _refuse_another_table(say: str, shapes: Shapes, grid: Grid, text: int | None) -> None:
    """Raise a UsageError for another table of learned positions than one for `text` tokens and those of the video.

    That one is absent which should be there is seen with the other parameters.
    """
    name = "transformer.patch_embed.pos_embedding"
    if name not in shapes:
        return
    rows = axes(shapes, name, 3)[1]
    if text is None:
        raise UsageError(f"{say} says {LEARNED} False where its weights have them; fetch the one that belongs to them")
    if rows != text + grid.tokens:
        raise UsageError(
            f"{say} says max_text_seq_length {text} and {grid} latents, {text + grid.tokens} positions, where its "
            f"weights have {rows}; fetch the config.json that belongs to them"
        )


def _found(shapes: Shapes) -> dict[str, int]:
    """The same sizes as the weights have them, as far as they say."""
    width, channels = axes(shapes, "transformer.patch_embed.proj.weight", 4)[:2]
    head_dim = axes(shapes, "transformer.transformer_blocks.0.attn1.norm_q.weight", 1)[0]
    return {
        "num_attention_heads": width // head_dim,
        "attention_head_dim": head_dim,
        "in_channels": channels,
        "out_channels": axes(shapes, "transformer.proj_out.weight", 2)[0] // PATCH**2,
        "time_embed_dim": axes(shapes, "transformer.time_embedding.linear_1.weight", 2)[0],
        "text_embed_dim": axes(shapes, "transformer.patch_embed.text_proj.weight", 2)[1],
        "num_layers": blocks_of(shapes),
    }


def _grid(source: Source) -> Grid:
    frames, height, width = (_count(source, f"sample_{axis}") for axis in ("frames", "height", "width"))
    if not is_clip_length(frames):
        raise UsageError(
            f"'{source.path}': its config.json says sample_frames {frames} where we need 1 + 4k, such as 49"
        )
    for key, side in (("sample_height", height), ("sample_width", width)):
        if side % PATCH:
            raise UsageError(f"'{source.path}': its config.json says {key} {side} where we need an even number")
    return Grid(latent_frames(frames), height, width)


def _count(source: Source, key: str) -> int:
    number = source.config.get(key)
    if type(number) is not int or number < 1:
        says = f"says {key} {number!r} where we need" if key in source.config else f"does not say {key},"
        raise UsageError(f"'{source.path}': its config.json {says} a whole number above 0; fetch it again")
    return number


def _places(folder: Path) -> dict[str, Path]:
    """The file of each tensor of a diffusers folder."""
    index = folder / f"{FILE}.index.json"
    if index.is_file():
        files = _json(index).get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
            raise UsageError(f"'{index}' has no weight_map that names the file of each tensor; fetch it again")
        if elsewhere := [file for file in files.values() if Path(file).name != file]:
            raise UsageError(f"'{index}' names '{printable(elsewhere[0])}', which is no file beside it; fetch it again")
        return {name: folder / file for name, file in files.items()}
    single = folder / FILE
    if not single.is_file():
        raise UsageError(f"'{folder}' has neither {index.name} nor {single.name}; fetch the model's safetensors files")
    with _safetensors(single) as opened_file:
        return dict.fromkeys(opened_file.keys(), single)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise UsageError(f"'{file}' is no JSON ({first_line(error)}); fetch it again") from None
    if not isinstance(content, dict):
        raise UsageError(f"'{file}' should be a JSON object with names and values; fetch it again")
    return content


def _check_places(folder: Path, places: Mapping[str, Path], held: Mapping[str, Path]) -> None:
    """Raise a UsageError unless the index and the files tell the same of where each tensor is."""
    for name in sorted(places.keys() | held.keys()):
        if places.get(name) != held.get(name):
            indexed, found = (f"in {at[name].name}" if name in at else "nowhere" for at in (places, held))
            told = f"{printable(name)} is {indexed} by the index but {found} in truth"
            raise UsageError(f"'{folder}': {told}; fetch them again")


def _safetensors(file: Path) -> AbstractContextManager[Any]:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UsageError(f"'{file}' is damaged, cut short or absent ({first_line(error)}); fetch it again") from None
