"""What must hold for every file in the strategy folders, mentioned here or not."""

import pytest
import torch

from hallo3_lightning.conditioning.conditioner import conditioners
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names
from hallo3_lightning.geometry import latent_of_frame, pixel_frames
from hallo3_lightning.model.attention import Attention
from hallo3_lightning.model.sites import Adapter
from tests import tiny

AUDIO = names("conditioning.audio")
IDENTITY = names("conditioning.identity")
ALL = [("audio", name) for name in AUDIO] + [("identity", name) for name in IDENTITY]
TOGETHER = [{"identity": "reference_network+face_attention", "audio": name} for name in AUDIO]


def read_by(name: str, kind: str) -> tuple[str, ...]:
    return next(iter(tiny.denoiser(**{kind: name}).needs.values()))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_what_a_strategy_needs_reaches_the_video(kind, name):
    network = tiny.nudged(tiny.denoiser(**{kind: name}))
    clip = tiny.batch()
    before = tiny.predict(network, clip)
    for field in read_by(name, kind):
        other = clip.with_(**{field: getattr(clip, field).flip(0)})
        assert (tiny.predict(network, other) - before).abs().max() > 1e-4, field


@pytest.mark.parametrize("kinds", TOGETHER + [{kind: name} for kind, name in ALL])
def test_every_parameter_gets_a_gradient(kinds):
    network = tiny.nudged(tiny.denoiser(**kinds))
    tiny.predict(network, tiny.batch()).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_fresh_adapter_is_neutral_exactly_where_it_says_so(kind, name):
    plain = tiny.nudged(tiny.denoiser())
    with_it = tiny.denoiser(**{kind: name})
    with_it.load_state_dict(plain.state_dict(), strict=False)
    same = torch.equal(tiny.predict(with_it, tiny.batch()), tiny.predict(plain, tiny.batch()))
    assert same == find(f"conditioning.{kind}", name).starts_neutral


@pytest.mark.parametrize("name", AUDIO)
def test_audio_of_one_frame_stays_out_of_another_but_for_self_attention(name, monkeypatch):
    network = tiny.nudged(tiny.denoiser(audio=name, latent_frames=5))
    clip = tiny.batch(tiny.backbone(latent_frames=5))
    monkeypatch.setattr(Attention, "output", lambda _self, queries, *_: torch.zeros_like(_flat(queries)))
    before = tiny.predict(network, clip)
    features = clip.audio_features.clone()
    features[:, 3] += 1
    moved = (tiny.predict(network, clip.with_(audio_features=features)) - before).abs().amax((0, 2, 3, 4))
    assert set(moved.nonzero().flatten().tolist()) <= {latent_of_frame(3)}
    assert pixel_frames(5) > 7
    assert latent_of_frame(3) != latent_of_frame(7)


def test_joint_audio_tokens_are_seen_by_every_frame_and_text():
    size = tiny.backbone()
    options = {"token_concat": {**tiny.OPTIONS["token_concat"], "apart": False}}
    network = tiny.nudged(Denoiser(size, conditioners("audio", "token_concat", size, tiny.INPUTS, options)))
    clip = tiny.batch()
    steps = torch.tensor([300, 400])
    before = network(clip.latents, steps, clip)
    features = clip.audio_features.clone()
    features[:, 3] += 1
    moved = (network(clip.latents, steps, clip.with_(audio_features=features)) - before).abs().amax((0, 2, 3, 4))
    assert (moved > 1e-6).all()
    prepared = network.prepared(network.signals(clip), clip.latents)
    torch.testing.assert_close(network(clip.latents, steps, clip, prepared), before, rtol=0, atol=1e-6)


def _flat(queries):
    batch, heads, tokens, width = queries.shape
    return queries.new_zeros(batch, tokens, heads * width)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_preparing_changes_nothing(kind, name):
    network = tiny.nudged(tiny.denoiser(**{kind: name}))
    clip = tiny.batch()
    steps = torch.tensor([300, 400])
    prepared = network.prepared(network.signals(clip), clip.latents)
    torch.testing.assert_close(
        network(clip.latents, steps, clip, prepared), network(clip.latents, steps, clip), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_preparing_leaves_no_work_on_the_signal_for_the_step(kind, name):
    network = tiny.nudged(tiny.denoiser(**{kind: name}))
    clip = tiny.batch()
    prepared = network.prepared(network.signals(clip), clip.latents)
    calls = []
    for module in network.modules():
        if isinstance(module, Adapter):
            module.prepare = lambda *_: calls.append(1)
    network(clip.latents, torch.tensor([300, 400]), clip, prepared)
    assert calls == []


@pytest.mark.parametrize("kinds", TOGETHER + [{kind: name} for kind, name in ALL])
def test_a_clip_does_not_depend_on_the_others_of_its_batch(kinds):
    network = tiny.nudged(tiny.denoiser(**kinds))
    both = tiny.batch()
    alone = both.rows(slice(1, 2))
    steps = torch.tensor([300, 400])
    expected = network(both.latents, steps, both)[1:]
    torch.testing.assert_close(network(alone.latents, steps[1:], alone), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_arm_has_something_of_its_own_to_train(kind, name):
    network = tiny.denoiser(**{kind: name})
    own = [n for n, _ in network.named_parameters() if n.startswith("conditioners.") or ".adapters." in n]
    assert own
    if kind == "audio":
        for block in range(len(network.transformer.blocks)):
            assert [n for n in own if n.startswith(f"transformer.transformer_blocks.{block}.adapters.")]


def test_a_wrong_name_lists_the_right_ones():
    with pytest.raises(UsageError, match="no audio strategy 'adalm'; did you mean 'adaln'\\? there are: adaln, cross"):
        tiny.denoiser(audio="adalm")


def test_a_wrong_option_names_the_nearest():
    with pytest.raises(UsageError, match="no option 'token' in model.options.adaln; did you mean 'tokens'"):
        conditioners("audio", "adaln", tiny.backbone(), tiny.INPUTS, {"adaln": {"token": 3}})


def test_a_strategy_named_twice_is_refused():
    with pytest.raises(UsageError, match="names a strategy twice"):
        tiny.denoiser(audio="adaln+adaln")
