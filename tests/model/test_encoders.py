"""The frozen encoders: the tiny ones by what they must keep, the published ones with tiny models saved by the libraries."""

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, Wav2Vec2Config, Wav2Vec2Model

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names
from hallo3_lightning.geometry import SAMPLE_RATE_HZ, audio_samples, latent_frames, pixel_frames
from hallo3_lightning.model.encoders.audio.log_mel import LogMel
from hallo3_lightning.model.encoders.text.hashed_words import HashedWords
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders, pixels, signed, windows
from tests import tiny


@pytest.fixture
def patch_folder(tmp_path):
    clips = [tiny.draw(9, 3, 8, 12, name=f"clip {i}") for i in range(14)]
    PatchAutoencoder.fit(clips, patch=4, channels=192).save(tmp_path / "patch")
    return str(tmp_path / "patch")


@pytest.fixture
def t5_folder(tmp_path):
    words = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", "a", "person", "speaks"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path)
    torch.manual_seed(0)
    T5EncoderModel(T5Config(vocab_size=6, d_model=12, d_kv=4, d_ff=20, num_layers=2, num_heads=3)).save_pretrained(
        tmp_path
    )
    return str(tmp_path)


@pytest.fixture
def wav2vec2_folder(tmp_path):
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=20,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def cogvideox_folder(tmp_path):
    torch.manual_seed(0)
    AutoencoderKLCogVideoX(
        in_channels=3,
        out_channels=3,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        scaling_factor=0.7,
    ).save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9])
def test_patch_autoencoder_with_all_channels_loses_nothing(patch_folder, frames):
    autoencoder = PatchAutoencoder.load(patch_folder)
    video = tiny.draw(2, frames, 3, 8, 12, name="video")
    latents = autoencoder.encode(video)
    assert latents.shape == (2, latent_frames(frames), 192, 2, 3)
    back = autoencoder.decode(latents)
    assert back.shape[1] == pixel_frames(latent_frames(frames))
    torch.testing.assert_close(back, video[:, -back.shape[1] :], rtol=1e-3, atol=1e-3)


def test_patch_autoencoder_is_causal(patch_folder):
    autoencoder = PatchAutoencoder.load(patch_folder)
    video = tiny.draw(1, 9, 3, 8, 12, name="video")
    changed = video.clone()
    changed[:, 5:] += 1
    assert torch.equal(autoencoder.encode(video)[:, :2], autoencoder.encode(changed)[:, :2])


def test_patch_autoencoder_has_unit_deviation_over_all_channels():
    clips = [3 * tiny.draw(9, 3, 8, 12, name=f"clip {i}") for i in range(20)]
    autoencoder = PatchAutoencoder.fit(clips, patch=4, channels=7)
    latents = torch.cat([autoencoder.encode(clip[None]) for clip in clips])
    assert latents.std() == pytest.approx(1, abs=0.1)


def test_cogvideox_autoencoder_from_a_folder(cogvideox_folder):
    autoencoder = find("model.encoders.video", "cogvideox").load(cogvideox_folder)
    video = tiny.draw(1, 9, 3, 16, 24, name="video").clamp(-1, 1)
    with torch.no_grad():
        latents = autoencoder.encode(video)
        theirs = autoencoder.autoencoder.encode(video.transpose(1, 2)).latent_dist.mode().transpose(1, 2) * 0.7
        assert latents.shape == (1, 3, 4, 2, 3)
        assert torch.equal(latents, theirs)
        assert autoencoder.decode(latents).shape == video.shape
        with pytest.raises(ValueError, match="odd number"):
            autoencoder.decode(latents[:, :2])
        for frames in (1, 2, 3):
            assert autoencoder.encode(video[:, :frames]).shape[1] == latent_frames(frames)


@pytest.mark.parametrize("frames", [3, 5])
def test_cogvideox_decodes_as_diffusers_does(cogvideox_folder, frames):
    """diffusers takes latents that are not scaled, and decodes them in pairs that hand their last frames on."""
    theirs = AutoencoderKLCogVideoX.from_pretrained(cogvideox_folder).eval()
    latents = tiny.draw(2, frames, 4, 2, 3, name="latents")
    with torch.no_grad():
        got = find("model.encoders.video", "cogvideox").load(cogvideox_folder).decode(latents)
        expected = theirs.decode(latents.transpose(1, 2) / 0.7).sample.transpose(1, 2)
    assert got.shape == (2, pixel_frames(frames), 3, 16, 24)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_chunks_are_the_frames_that_diffusers_decodes_bit_for_bit(cogvideox_folder, frames):
    ours = find("model.encoders.video", "cogvideox").load(cogvideox_folder)
    latents = tiny.draw(2, frames, 4, 2, 3, name="latents")
    with torch.no_grad():
        expected = ours.autoencoder.decode(latents.transpose(1, 2) / 0.7).sample.transpose(1, 2)
        chunks = list(ours.decode_chunks(latents))
    assert [chunk.shape[1] for chunk in chunks] == {1: [1], 3: [9], 5: [9, 8]}[frames]
    assert torch.equal(torch.cat(chunks, dim=1), expected)


def test_tiles_are_those_of_diffusers_chunk_by_chunk(cogvideox_folder):
    """Twelve by ten latents in tiles of six by five: three by three, the last ones narrow, each with its own past."""
    ours = find("model.encoders.video", "cogvideox").load(cogvideox_folder)
    latents = tiny.draw(1, 5, 4, 12, 10, name="latents")
    ours.autoencoder.enable_tiling(tile_sample_min_height=48, tile_sample_min_width=40)
    with torch.no_grad():
        expected = ours.autoencoder.tiled_decode(latents.transpose(1, 2) / 0.7).sample.transpose(1, 2)
        chunks = list(ours.decode_chunks(latents, tiled=True))
        whole = ours.decode(latents)
    assert [chunk.shape[1] for chunk in chunks] == [9, 8]
    torch.testing.assert_close(torch.cat(chunks, dim=1), expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(whole, expected, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(6, 5), (6, 6), (7, 5), (5, 4)])
def test_a_picture_is_cut_into_tiles_where_diffusers_does(cogvideox_folder, height, width):
    """One that fits a tile of six by five is decoded in one piece, also where a second tile would begin within it."""
    ours = find("model.encoders.video", "cogvideox").load(cogvideox_folder)
    latents = tiny.draw(1, 3, 4, height, width, name="latents")
    ours.autoencoder.enable_tiling(tile_sample_min_height=48, tile_sample_min_width=40)
    with torch.no_grad():
        expected = ours.autoencoder.decode(latents.transpose(1, 2) / 0.7).sample.transpose(1, 2)
        found = torch.cat(list(ours.decode_chunks(latents, tiled=True)), dim=1)
        whole = ours.decode(latents)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(found, whole) == (height <= 6 and width <= 5)


@pytest.mark.parametrize(("height", "width"), [(50, 40), (54, 40), (48, 44), (6, 40)])
def test_tiles_that_do_not_fit_together_are_refused(cogvideox_folder, height, width):
    ours = find("model.encoders.video", "cogvideox").load(cogvideox_folder)
    ours.autoencoder.enable_tiling(tile_sample_min_height=height, tile_sample_min_width=width)
    with pytest.raises(UsageError, match="pictures would be of the wrong size; give more --max-memory"):
        list(ours.decode_chunks(tiny.draw(1, 1, 4, 12, 10, name="latents"), tiled=True))


@pytest.mark.parametrize("latents", [1, 2, 4])
def test_patch_chunks_are_the_frames_of_one_latent_frame_each(patch_folder, latents):
    autoencoder = PatchAutoencoder.load(patch_folder)
    given = tiny.draw(2, latents, 192, 2, 3, name="latents")
    chunks = list(autoencoder.decode_chunks(given))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4, 4][:latents]
    torch.testing.assert_close(torch.cat(chunks, dim=1), autoencoder.decode(given), rtol=1e-5, atol=1e-5)


def test_t5_from_a_folder(t5_folder):
    text = find("model.encoders.text", "t5").load(t5_folder, tokens=7, width=12)
    with torch.no_grad():
        states = text.encode(("a person speaks", "a"))
    assert states.shape == (2, 7, 12)
    assert not torch.allclose(states[0], states[1])


def test_wav2vec2_from_a_folder_gives_every_layer_at_25_frames_a_second(wav2vec2_folder):
    audio = find("model.encoders.audio", "wav2vec2").load(wav2vec2_folder).eval()
    sound = tiny.draw(2, audio_samples(11), name="sound")
    with torch.no_grad():
        features = audio.encode(sound)
        assert features.shape == (2, 11, 3, 12)
        assert features.shape[2:] == (audio.layers, audio.channels)
        torch.testing.assert_close(audio.encode(5 * sound), features, rtol=1e-3, atol=1e-4)


def test_log_mel_sees_each_hop_where_it_is_and_each_tone_in_its_band():
    audio = LogMel(bands=24)
    silent = torch.zeros(1, audio_samples(6))
    click = silent.clone()
    click[0, audio_samples(3) + 80] = 1
    moved = (audio.encode(click) - audio.encode(silent))[0].sum(-1)
    assert divmod(int(moved.argmax()), 4) == (3, 0)

    time = torch.arange(audio_samples(6)) / SAMPLE_RATE_HZ
    peaks = [int(audio.encode(torch.sin(6.2832 * hertz * time)[None])[0, 3, 1].argmax()) for hertz in (200, 1000, 5000)]
    assert peaks == sorted(set(peaks))


def test_hashed_words_know_words_and_their_order():
    text = HashedWords(tokens=5, width=9)
    one, other, again = text.encode(("brown hair", "hair brown", "Brown hair!"))
    assert torch.equal(one, again)
    assert torch.equal(one[0], other[1])
    assert not one[2:].any()


def test_windows_hold_the_neighbours_of_each_frame():
    features = torch.arange(9.0).reshape(1, 9, 1, 1)
    assert windows(features)[0, :, :, 0, 0].tolist() == [[i + j for j in range(5)] for i in range(5)]


def test_pixels_survive_the_way_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(pixels(signed(every)), every)


def test_frozen_encoders_fill_what_is_missing_and_keep_what_is_there(patch_folder):
    frozen = FrozenEncoders(Encoders("patch", patch_folder, "hashed_words", "", "log_mel", ""), 6, 9)
    clip = Batch(
        keys=("a", "b"),
        video=torch.zeros(2, 5, 3, 8, 12, dtype=torch.uint8),
        reference=torch.full((2, 3, 8, 12), 255, dtype=torch.uint8),
        face_mask=torch.zeros(2, 1, 8, 12),
        waveform=torch.zeros(2, audio_samples(5 + 4)),
        captions=("one", "two"),
        text_embeddings=torch.ones(2, 6, 9),
    )
    filled = frozen.train().fill(clip)
    assert filled.text_embeddings is clip.text_embeddings
    assert filled.latents.shape == (2, 2, 192, 2, 3)
    assert filled.audio_features.shape == (2, 5, 5, 4, 24)
    black = frozen.video.encode(-torch.ones(2, 1, 3, 8, 12))
    assert torch.equal(filled.reference_latents, black)
    assert not any(module.training for module in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize(("kind", "name"), [("video", "cogvideox"), ("text", "t5"), ("audio", "wav2vec2")])
def test_a_missing_folder_names_the_setting(kind, name, tmp_path):
    more = (6, 9) if kind == "text" else ()
    for folder in ("", str(tmp_path / "nowhere")):
        with pytest.raises(UsageError, match=f"--model.encoders.{kind}_folder"):
            find(f"model.encoders.{kind}", name).load(folder, *more)


def test_a_missing_patch_autoencoder_says_what_makes_one(tmp_path):
    with pytest.raises(UsageError, match="hallo3 synthesize"):
        PatchAutoencoder.load(str(tmp_path))


def test_every_encoder_is_a_file():
    assert names("model.encoders.video") == ["cogvideox", "patch"]
    assert names("model.encoders.text") == ["hashed_words", "t5"]
    assert names("model.encoders.audio") == ["log_mel", "wav2vec2"]
