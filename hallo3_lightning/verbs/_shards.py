"""What index and show take for a data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hallo3_lightning.errors import UsageError

SPLITS = ("train", "held_out")


def places_of(given: str) -> Iterator[Path | str]:
    """The folder or URL itself, or the splits in it."""
    from datamodules.remote_store import checked_url
    from datamodules.stores import is_url

    if is_url(given):
        yield checked_url(given)
        return
    folder = Path(given)
    if folder.is_file() and folder.suffix == ".tar":
        raise UsageError(f"{folder} is one shard; an index is of a folder: hallo3 index {folder.parent}")
    splits = [folder / split for split in SPLITS if any((folder / split).glob("*.tar"))]
    yield from [folder] if any(folder.glob("*.tar")) or not splits else splits


@contextmanager
def one_sentence() -> Iterator[None]:
    """A server that does not answer, or not with what was asked for, is the user's to mend: no traceback helps."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise UsageError(str(error)) from error
