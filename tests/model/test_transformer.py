"""The backbone against diffusers' CogVideoX transformer, with the same random weights."""

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from einops import rearrange

from hallo3_lightning.model.positions import rotary_3d
from hallo3_lightning.model.transformer import Backbone, Transformer
from tests import tiny


def theirs_like(size: Backbone) -> CogVideoXTransformer3DModel:
    torch.manual_seed(1)
    return CogVideoXTransformer3DModel(
        num_attention_heads=size.heads,
        attention_head_dim=size.head_dim,
        in_channels=2 * size.latent_channels,
        out_channels=size.latent_channels,
        time_embed_dim=size.time_width,
        text_embed_dim=size.text_width,
        num_layers=size.blocks,
        sample_width=size.latent_width,
        sample_height=size.latent_height,
        sample_frames=1 + 4 * (size.latent_frames - 1),
        max_text_seq_length=size.text_tokens,
        use_rotary_positional_embeddings=size.rotary,
        use_learned_positional_embeddings=size.learned_positions,
    ).eval()


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("frames", [1, 3])
def test_same_output_as_diffusers(learned, frames):
    size = tiny.backbone(latent_frames=frames, learned_positions=learned, output_norm_eps=1e-5)
    theirs = tiny.nudged(theirs_like(size))
    if learned:
        theirs.patch_embed.pos_embedding.copy_(tiny.draw(*theirs.patch_embed.pos_embedding.shape, name="positions"))
    ours = Transformer(size)
    ours.load_state_dict(theirs.state_dict(), strict=True)

    clip = tiny.batch(size)
    latents = torch.cat([clip.latents, clip.motion_latents], dim=2)
    steps = torch.tensor([17, 801])
    grid = (size.latent_height // 2, size.latent_width // 2)
    table = get_3d_rotary_pos_embed(size.head_dim, ((0, 0), grid), grid, frames)
    expected = theirs(latents, clip.text_embeddings, steps, image_rotary_emb=table, return_dict=False)[0]
    got = ours(latents, clip.text_embeddings, steps, [{}] * size.blocks)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_state_keys_are_diffusers_and_adapters():
    size = tiny.backbone()
    theirs = set(theirs_like(size).state_dict())
    ours = set(tiny.denoiser(audio="adaln", identity="face_attention").transformer.state_dict())
    assert theirs <= ours
    assert all(".adapters." in key for key in ours - theirs)


def test_rotary_table_is_diffusers():
    cos, sin = get_3d_rotary_pos_embed(32, ((0, 0), (3, 5)), (3, 5), 4)
    ours = rotary_3d(4, 3, 5, 32, torch.device("cpu"))
    torch.testing.assert_close(ours.cos, cos)
    torch.testing.assert_close(ours.sin, sin)


def test_rotation_keeps_lengths_and_depends_on_distance_alone():
    table = rotary_3d(4, 3, 5, 32, torch.device("cpu"))
    query, key = (table(rearrange(tiny.draw(32, name=name), "d -> 1 d").expand(60, 32)) for name in ("q", "k"))
    torch.testing.assert_close(query.norm(dim=-1), query[:1].norm(dim=-1).expand(60))
    scores = query @ key.T
    step = 15
    torch.testing.assert_close(scores[0, step], scores[step, 2 * step], rtol=1e-4, atol=1e-4)


def test_epsilons_are_where_they_are_said_to_be():
    network = Transformer(tiny.backbone(norm_eps=1e-3, attention_norm_eps=1e-4, output_norm_eps=1e-2))
    block = network.blocks[0]
    assert (block.norm1.norm.eps, block.norm2.norm.eps, network.norm_final.eps) == (1e-3,) * 3
    assert (block.attn1.norm_q.eps, block.attn1.norm_k.eps) == (1e-4,) * 2
    assert network.norm_out.norm.eps == 1e-2


def test_published_epsilons_are_the_defaults():
    size = Backbone()
    assert (size.norm_eps, size.attention_norm_eps, size.output_norm_eps) == (1e-5, 1e-6, 1e-6)


def test_a_clip_longer_than_the_position_table_is_refused():
    network = tiny.denoiser()
    clip = tiny.batch(tiny.backbone(latent_frames=tiny.T + 1))
    with pytest.raises(ValueError, match="build the backbone with more latent_frames"):
        tiny.predict(network, clip)


def test_a_head_width_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        rotary_3d(2, 2, 2, 24, torch.device("cpu"))


def test_rotary_tables_in_bfloat16_are_an_option_and_round_alone():
    plain, rounded = (tiny.nudged(tiny.denoiser(rotary_dtype=dtype)) for dtype in ("float32", "bfloat16"))
    expected = tiny.predict(plain, tiny.batch())
    error = (tiny.predict(rounded, tiny.batch()) - expected).abs().max() / expected.abs().max()
    assert 1e-6 < error < 2e-2
