"""A growing mp4 on a disk: a fragment is in it or is not, whenever its writing ends."""

import io
import os
from typing import BinaryIO

from hallo3_lightning.film.files.mp4_boxes import SKIPPED, TYPE, boxes

FRAGMENT = "moof"


class WholeFragments:
    """A file whose fragments players skip until all of them is there.

    FFmpeg does not open a film that ends within a moof at all, whatever is before it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.flush, self.fileno, self.close = file.flush, file.fileno, file.close

    def write(self, data: bytes) -> None:
        """Append whole boxes."""
        begin = self.file.tell()
        types = [box.begin + TYPE.start for box in boxes(io.BytesIO(data)) if box.name == FRAGMENT]
        hidden = bytearray(data)
        for at in types:
            hidden[at : at + len(FRAGMENT)] = SKIPPED.encode()
        self.file.write(hidden)
        self.file.flush()
        for at in types:
            self.file.seek(begin + at)
            self.file.write(FRAGMENT.encode())
            self.file.flush()
        self.file.seek(0, os.SEEK_END)
