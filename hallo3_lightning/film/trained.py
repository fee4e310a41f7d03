"""What animates: the denoiser of a trained run or of a folder of weights, and the frozen encoders it was trained with."""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from jsonargparse import ArgumentParser

from datamodules.cached import manifest
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.conditioning.conditioner import NONE, Inputs
from hallo3_lightning.conditioning.motion import Corruption
from hallo3_lightning.denoiser import Denoiser, denoiser_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find
from hallo3_lightning.geometry import pixel_frames
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.training.blank import fill
from hallo3_lightning.training.checkpoints import located, refuse_other_sizes, weights
from hallo3_lightning.training.start import averaged
from hallo3_lightning.weights.folder import fingerprint_of, is_weights, record_of

DEFAULT_CONFIG = "experiments/full/audio.yaml"
"""Of a folder of weights, which says its sizes but not how it was trained."""

Built = TypeVar("Built")


@dataclass(frozen=True)
class Trained:
    """A trained network as its config says it, without numbers yet."""

    place: Path
    backbone: Backbone
    inputs: Inputs
    sampling: Sampling
    corruption: Corruption
    frozen: Encoders
    identity: str
    audio: str
    options: Mapping[str, Any] | None
    motion_frames: int
    precision: str
    """Of the trainer that trained it."""
    heard_takes: bool
    """Whether it learnt features of an encoder that heard whole takes, not clips."""

    @property
    def clip_frames(self) -> int:
        """Of a window."""
        return pixel_frames(self.backbone.latent_frames)

    def pixels(self) -> tuple[int, int]:
        """Height and width of its pictures, by its latents and how many pixels the autoencoder makes of one."""
        size, kind = self.backbone, find("model.encoders.video", self.frozen.video)
        side = kind.pixels_per_latent_of(self.frozen.video_folder)
        return size.latent_height * side, size.latent_width * side

    def blank(self) -> Denoiser:
        """The denoiser without numbers, on the meta device."""
        with torch.device("meta"):
            return denoiser_of(self.backbone, self.inputs, self.identity, self.audio, self.options)

    def denoiser(self, dtype: torch.dtype = torch.float32) -> tuple[Denoiser, str]:
        """The denoiser with averaged weights as `dtype`, for evaluation, and the SHA-256 of them as they were saved.

        Raises UsageError where the weights lack any of its parameters: what was never trained animates nothing.
        """
        denoiser, given = self.blank(), averaged(weights(self.place))
        refuse_other_sizes(denoiser, given, f"'{self.place}'")
        own = denoiser.state_dict().keys()
        missing = sorted(own - given.keys() - denoiser.unread())
        if missing:
            raise UsageError(
                f"'{self.place}' holds no weights for {len(missing)} parameters of this network ({missing[0]}, ...); name a "
                "run that has finished its audio phase, or the config that the weights were trained with (--config)"
            )
        given = {name: value for name, value in given.items() if name in own}
        denoiser.to(dtype)
        fill(denoiser, denoiser, given, seed=0)
        return denoiser.requires_grad_(False).eval(), self.recorded_fingerprint or fingerprint_of(given)

    def encoders(self) -> FrozenEncoders:
        """The frozen encoders, from their folders."""
        size = self.backbone
        return FrozenEncoders(self.frozen, size.text_tokens, size.text_width)

    @property
    def recorded_fingerprint(self) -> str | None:
        """The one that stands in a folder of weights; None of a run, whose weights have to be read for it."""
        return record_of(self.place)["fingerprint"] if is_weights(self.place) else None


def trained(place: Path, configs: Sequence[str], folders: Mapping[str, str | None]) -> Trained:
    """The network of a run's folder, by its config.yaml, or of a folder of weights, by the configs given.

    folders: of encoders by kind (video, text, audio), in place of those in the config. Raises UsageError where there is
    none, or where its sound moves nothing.
    """
    network = _network(place, configs)
    if network.audio == NONE:
        raise UsageError(
            f"'{place}' was trained without sound: nothing would move the mouth; train the audio phase from it "
            f"(`hallo3 fit --config experiments/tiny/audio.yaml --model.init_from {place}`) and name that run"
        )
    return replace(network, frozen=_found(network.frozen, place, folders))


def _found(encoders: Encoders, place: Path, folders: Mapping[str, str | None]) -> Encoders:
    """The encoders where they are now. Raises UsageError for the first that is not there."""
    places = {kind: folders.get(kind) or getattr(encoders, f"{kind}_folder") for kind in ("video", "text", "audio")}
    found = {kind: _beside(place, folder) if folder else "" for kind, folder in places.items()}
    for kind, folder in found.items():
        if folder and not (Path(folder) / "config.json").is_file():
            raise UsageError(
                f"the {kind} encoder of '{place}' is not at {places[kind]} (no config.json there); say where it is with "
                f"--{kind}-encoder FOLDER"
            )
    return replace(encoders, **{f"{kind}_folder": folder for kind, folder in found.items()})


def _network(place: Path, configs: Sequence[str]) -> Trained:
    """What the config says of the network. Raises UsageError where a value is missing, of another kind, or unknown."""
    file = {"the file": _config(place, configs)}
    try:
        config = _settings(file, "the file")
        model = _settings(config, "model")
        return Trained(
            place,
            built(Backbone, _settings(model, "backbone")),
            built(Inputs, _settings(model, "inputs")),
            built(Sampling, _settings(model, "sampling")),
            built(Corruption, _settings(model, "corruption")),
            built(Encoders, _settings(model, "encoders")),
            str(model["identity"]),
            str(model.get("audio", NONE)),
            model.get("options"),
            int(model["motion_frames"]),
            str(_settings(config, "trainer")["precision"]),
            _heard_takes(place, _settings(config, "data")),
        )
    except UsageError:
        raise
    except KeyError as error:
        raise _damaged(place, f"it has no {error.args[0]}") from error
    except (ArgumentError, AttributeError, TypeError, ValueError) as error:
        raise _damaged(place, str(error)) from error


def _settings(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config[name]
    if not isinstance(found, Mapping):
        held = "nothing" if found is None else f"a {type(found).__name__}"
        raise TypeError(f"{name} holds {held} where settings by name are expected")
    return found


def _heard_takes(place: Path, data: Mapping[str, Any]) -> bool:
    """Of a run: where a cache had its sound; one that is gone had it, as by default. Published weights did."""
    if is_weights(place):
        return True
    made = [manifest(Path(_beside(place, folder))) for folder in data["cache"] or ()]
    return any(one is None or "audio" in one[0].signals for one in made)


def _config(place: Path, configs: Sequence[str]) -> Any:
    file = place / "config.yaml"
    if is_weights(place):
        from hallo3_lightning.training.settings import resolved  # late: Lightning takes seconds to import

        return resolved(configs or [DEFAULT_CONFIG], {"model.init_from": str(place)})
    if not file.is_file():
        raise UsageError(
            f"no weights at '{place}': expected the folder of a run (with config.yaml), or one that `hallo3 import-weights` "
            "wrote"
        )
    if configs:
        raise UsageError(f"'{place}' is a run and its config.yaml says all that --config would; leave --config out")
    located(place)
    try:
        return yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _damaged(place, str(error)) from error


def _damaged(place: Path, reason: str) -> UsageError:
    told = " ".join(reason.split())[:300]
    return UsageError(f"the config of '{place}' is damaged ({told}); copy it from where it was")


def _beside(place: Path, folder: str) -> str:
    """A relative folder as it was where the run was trained: seen from here, or from any folder that the run lies in."""
    starts = [Path(), *place.resolve().parents]
    return str(next((start / folder for start in starts if (start / folder).is_dir()), Path(folder)))


def built(kind: type[Built], values: Mapping[str, Any]) -> Built:
    """A dataclass of settings from plain values, checked as the command line checks them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "settings")
    return parser.instantiate_classes(parser.parse_object({"settings": dict(values)})).settings
