"""The published names of parameters and ours: one table.

Published are the names of SwissArmyTransformer (SAT) checkpoints: CogVideoX's, and Hallo3's, which has two networks in
one file. Ours are those of `Denoiser`: diffusers' for the backbone, and those of adapters and conditioners.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

DENOISER, REFERENCE = "model.diffusion_model.", "ref_model.diffusion_model."
BLOCK = "transformer_blocks.{i}"
OUR_REFERENCE = "conditioners.identity_reference_network.network."
FACE, FACE_TOKENS = f"{BLOCK}.adapters.identity_face_attention", "conditioners.identity_face_attention.face_tokens"
AUDIO, AUDIO_TOKENS = f"{BLOCK}.adapters.audio_cross_attention", "conditioners.audio_cross_attention.audio_tokens"


@dataclass(frozen=True)
class Rule:
    """What a published module becomes; `{i}` is the number of a block.

    Args:
        published: its name behind the network's prefix.
        ours: our modules, and which of its `parts` equal parts of rows each of them takes, in that order.
        parts: into how many equal parts of rows it is cut.
        why_dropped: the reason, where it becomes nothing.
    """

    published: str
    ours: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    parts: int = 1
    why_dropped: str = ""


def _same(published: str, ours: str) -> Rule:
    return Rule(published, {ours: (0,)})


def _split(published: str, *ours: str) -> Rule:
    return Rule(published, {name: (i,) for i, name in enumerate(ours)}, parts=len(ours))


BACKBONE = (
    _same("time_embed.0", "time_embedding.linear_1"),
    _same("time_embed.2", "time_embedding.linear_2"),
    _same("mixins.patch_embed.proj", "patch_embed.proj"),
    _same("mixins.patch_embed.text_proj", "patch_embed.text_proj"),
    _same("mixins.pos_embed.pos_embedding", "patch_embed.pos_embedding"),
    Rule(
        "mixins.adaln_layer.adaLN_modulations.{i}.1",
        {f"{BLOCK}.norm1.linear": (0, 1, 2, 6, 7, 8), f"{BLOCK}.norm2.linear": (3, 4, 5, 9, 10, 11)},
        parts=12,
    ),
    _same("mixins.adaln_layer.query_layernorm_list.{i}", f"{BLOCK}.attn1.norm_q"),
    _same("mixins.adaln_layer.key_layernorm_list.{i}", f"{BLOCK}.attn1.norm_k"),
    _same("transformer.layers.{i}.input_layernorm", f"{BLOCK}.norm1.norm"),
    _same("transformer.layers.{i}.post_attention_layernorm", f"{BLOCK}.norm2.norm"),
    _split(
        "transformer.layers.{i}.attention.query_key_value",
        f"{BLOCK}.attn1.to_q",
        f"{BLOCK}.attn1.to_k",
        f"{BLOCK}.attn1.to_v",
    ),
    _same("transformer.layers.{i}.attention.dense", f"{BLOCK}.attn1.to_out.0"),
    _same("transformer.layers.{i}.mlp.dense_h_to_4h", f"{BLOCK}.ff.net.0.proj"),
    _same("transformer.layers.{i}.mlp.dense_4h_to_h", f"{BLOCK}.ff.net.2"),
    _same("transformer.final_layernorm", "norm_final"),
    _same("mixins.final_layer.norm_final", "norm_out.norm"),
    _same("mixins.final_layer.adaLN_modulation.1", "norm_out.linear"),
    _same("mixins.final_layer.linear", "proj_out"),
    Rule("mixins.pos_embed.freqs_cos", why_dropped="a table that is computed"),
    Rule("mixins.pos_embed.freqs_sin", why_dropped="a table that is computed"),
    Rule("transformer.position_embeddings", why_dropped="never used by the published network"),
)

ADAPTERS = (
    _same("transformer.layers.{i}.face_input_layernorm", f"{FACE}.norm"),
    _same("transformer.layers.{i}.face_attn.query", f"{FACE}.to_q"),
    _split("transformer.layers.{i}.face_attn.key_value", f"{FACE}.to_k", f"{FACE}.to_v"),
    _same("transformer.layers.{i}.face_attn.dense", f"{FACE}.to_out"),
    _same("transformer.layers.{i}.audio_input_layernorm", f"{AUDIO}.norm"),
    _same("transformer.layers.{i}.audio_attn.query", f"{AUDIO}.to_q"),
    _split("transformer.layers.{i}.audio_attn.key_value", f"{AUDIO}.to_k", f"{AUDIO}.to_v"),
    _same("transformer.layers.{i}.audio_attn.dense", f"{AUDIO}.to_out"),
)

PROJECTORS = (
    _same("transformer.face_proj.proj", f"{FACE_TOKENS}.proj"),
    _same("transformer.face_proj.norm", f"{FACE_TOKENS}.norm"),
    *(
        _same(f"transformer.audio_proj.{n}", f"{AUDIO_TOKENS}.{n}")
        for n in ("proj1", "proj2", "proj3", "conv1", "norm")
    ),
)

TABLE: Mapping[str, tuple[tuple[str, tuple[Rule, ...]], ...]] = {
    DENOISER: (("transformer.", BACKBONE + ADAPTERS), ("", PROJECTORS)),
    REFERENCE: ((OUR_REFERENCE, BACKBONE),),
}
"""Prefix of a published network -> rules, and the prefix that their names take with us."""

ELSEWHERE = {
    "first_stage_model.": "the video autoencoder is read from a folder of its own",
    "conditioner.": "the text encoder is read from a folder of its own",
}
"""Other prefixes of a published file -> why nothing of them is taken."""

UNREACHED = ("attn1.", "norm2.", "ff.")
"""Parts of the reference network's last block behind its first norm: nothing of them reaches the video."""
UNREACHED_BEHIND = ("norm_final.", "norm_out.", "proj_out.")
WHY_UNREACHED = "behind the last place where the reference network is read"


@dataclass(frozen=True)
class Cut:
    """Where one of our parameters comes from: `rows` of the `parts` equal parts of a published tensor."""

    published: str
    rows: tuple[int, ...] = (0,)
    parts: int = 1


@dataclass(frozen=True)
class Mapped:
    """Published names, sorted out: what ours are cut from, what is dropped and why, what nobody knows."""

    cuts: dict[str, Cut]
    dropped: dict[str, str]
    unknown: list[str]


def mapped(published: Iterable[str]) -> Mapped:
    """Ours for the parameters of a published checkpoint; each of its names is used, dropped or unknown."""
    names = sorted(published)
    last = max((int(n) for name in names for n in re.findall(r"\.layers\.(\d+)\.", name)), default=-1)
    found = Mapped({}, {}, [])
    for name in names:
        cuts, reason = _cuts(name)
        kept = {ours: cut for ours, cut in cuts.items() if not _is_unreached(ours, last)}
        found.cuts.update(kept)
        if cuts and not kept:
            found.dropped[name] = WHY_UNREACHED
        elif reason:
            found.dropped[name] = reason
        elif not cuts:
            found.unknown.append(name)
    return found


def _cuts(name: str) -> tuple[dict[str, Cut], str]:
    for prefix, reason in ELSEWHERE.items():
        if name.startswith(prefix):
            return {}, reason
    for network, groups in TABLE.items():
        for ours, rules in groups:
            for rule in rules if name.startswith(network) else ():
                match = re.fullmatch(_pattern(rule.published), name.removeprefix(network))
                if match:
                    return {
                        ours + _filled(target, match) + (match["kind"] or ""): Cut(name, rows, rule.parts)
                        for target, rows in rule.ours.items()
                    }, rule.why_dropped
    return {}, ""


def _pattern(published: str) -> str:
    return re.escape(published).replace(r"\{i\}", r"(?P<i>\d+)") + r"(?P<kind>\.weight|\.bias)?"


def _filled(target: str, match: re.Match[str]) -> str:
    return target.replace("{i}", match.groupdict().get("i") or "")


def _is_unreached(ours: str, last: int) -> bool:
    if not ours.startswith(OUR_REFERENCE):
        return False
    name = ours.removeprefix(OUR_REFERENCE)
    return name.startswith(UNREACHED_BEHIND) or name.startswith(
        tuple(f"transformer_blocks.{last}.{part}" for part in UNREACHED)
    )


def published_cuts(ours: Iterable[str]) -> dict[str, Cut]:
    """Where each of our parameters stands in a published checkpoint; those it has no place for are left out."""
    found: dict[str, Cut] = {}
    for name in ours:
        for network, groups in TABLE.items():
            for prefix, rules in groups:
                for rule in rules if name.startswith(prefix) else ():
                    found.update(_cut_of(name, prefix, network, rule))
    return found


def _cut_of(name: str, prefix: str, network: str, rule: Rule) -> dict[str, Cut]:
    for target, rows in rule.ours.items():
        match = re.fullmatch(_pattern(target), name.removeprefix(prefix))
        if match:
            kind = match["kind"] or ""
            return {name: Cut(network + _filled(rule.published, match) + kind, rows, rule.parts)}
    return {}
