"""Where frozen weights lie."""

from pathlib import Path

from hallo3_lightning.errors import UsageError


def existing(folder: str, what: str, setting: str) -> Path:
    """The folder, if it is one of a saved model. Raises UsageError that names the setting to change."""
    path = Path(folder)
    if not folder or not (path / "config.json").is_file():
        place = f"'{folder}' has no config.json" if folder else "none is given"
        raise UsageError(f"{what}: {place}; name a folder that save_pretrained wrote with --{setting} FOLDER")
    return path
