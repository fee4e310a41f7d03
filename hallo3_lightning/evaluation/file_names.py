"""Samples' keys, which may be anything, as names of files."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from urllib.parse import quote

LONGEST = 200
"""Characters, of the 255 that file systems take: endings are added."""


def file_names(keys: Sequence[str]) -> list[str]:
    """Samples' keys as names of their files: no key becomes a path, and none that comes twice is lost."""
    told = list(keys)
    while max((times := Counter(told)).values(), default=0) > 1:  # once more where a+0 is also another's own key
        told = [key if times[key] == 1 else f"{key}+{number}" for number, key in enumerate(told)]
    return [_short(quote(name, safe="@=+, ", errors="surrogatepass")) for name in told]


def _short(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: LONGEST - len(digest)]}{digest}"
