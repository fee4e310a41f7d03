"""Shards behind an allowed URL, read by byte range; trouble on the way that may pass is waited out."""

import os
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from datamodules.stores import Range, Stat, apart, is_plain_name, tag_digest, whole
from hallo3_lightning.errors import UsageError

SCHEMES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
"""What a URL may begin with, and the package that reads it. No shell (`pipe:`) and no chains (`simplecache::`)."""

READS_IN_FLIGHT = 8
"""Ranges asked for at once by one process: hides the latency of a remote store (measured by benchmarks/remote.py)."""

TRIES = 8
FIRST_PAUSE_S = 0.25
"""Doubled after every try: about half a minute in all."""

Result = TypeVar("Result")


class FsspecStore:
    """Files behind a URL, read by byte range with several requests in flight; a failing one is tried again."""

    gap = 1 << 16

    def __init__(self, url: str, sizes: Mapping[str, int] | None = None, tags: Mapping[str, str] | None = None) -> None:
        """sizes: bytes that each shard had when it was indexed, and tags: the tag_digest; compared when it is first read."""
        self.place = checked_url(url)
        self.sizes = dict(sizes or {})
        self.tags = dict(tags or {})
        # hf:// reads through files, which would read ahead
        self._exactly = {"cache_type": "none"} if self.place.startswith("hf://") else {}
        self._compared: set[str] = set()
        self._made: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.place, "sizes": self.sizes, "tags": self.tags}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def stat(self, name: str) -> Stat:
        """Size and ETag of a file."""
        asked = {"expand_info": True} if self.place.startswith("hf://") else {}  # else it tells no tag
        info = self._patiently(lambda: self._files().info(self._path(name), **asked), f"{self.place}/{name}")
        tags = (info.get(field) for field in ("ETag", "etag", "blob_id", "md5Hash", "LastModified", "Last-Modified"))
        if info.get("size") is None:
            raise UsageError(f"{self.place}/{name}: the server does not say how long it is; serve it as a plain file")
        return Stat(int(info["size"]), str(next((tag for tag in tags if tag), "")))

    def names(self) -> list[str]:
        """The plainly named files of the folder, sorted; OSError where the server cannot list it."""
        found = self._patiently(lambda: self._files().ls(self._path(""), detail=False), self.place)
        names = {path.rstrip("/").rpartition("/")[2] for path in found}
        return sorted(name for name in names if is_plain_name(name))

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, READS_IN_FLIGHT requests at once."""
        return apart(ranges, self.gap, self._fetch)

    def _fetch(self, ranges: list[Range]) -> list[bytes]:
        if len(ranges) == 1:
            return [self._get(ranges[0])]
        with ThreadPoolExecutor(min(READS_IN_FLIGHT, max(len(ranges), 1))) as pool:
            return list(pool.map(self._get, ranges))

    def _get(self, wanted: Range) -> bytes:
        if wanted.size == 0:
            return b""
        self._compare(wanted.shard)
        path, end = self._path(wanted.shard), wanted.offset + wanted.size
        where = f"{self.place}/{wanted.shard}"
        payload = self._patiently(lambda: self._files().cat_file(path, wanted.offset, end, **self._exactly), where)
        if len(payload) > wanted.size:
            raise UsageError(f"{where}: the server does not serve byte ranges; copy the shards to one that does")
        return whole(payload, wanted, self.place)

    def _compare(self, name: str) -> None:
        if name in self._compared or name not in self.sizes:
            return
        found, again = self.stat(name), "index the shards again, and upload the index"
        if found.size != self.sizes[name]:
            message = f"{self.place}/{name}: has {found.size} bytes, its index says {self.sizes[name]}; {again}"
            raise UsageError(message)
        if name in self.tags and tag_digest(found) != self.tags[name]:
            raise UsageError(f"{self.place}/{name}: was written again since it was indexed, by its tag; {again}")
        self._compared.add(name)

    def _patiently(self, ask: Callable[[], Result], what: str) -> Result:
        """The answer, asked for again after a pause while the fault may pass; OSError when it does not."""
        passing = _passing_faults(self.place.partition("://")[0])
        for attempt in range(TRIES):
            try:
                return ask()
            except passing as error:
                if _stays(error):
                    raise _told(error, what) from error
                fault: Exception = error
            if attempt + 1 < TRIES:  # spread, as all ranks may wait for the same server
                time.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5))
        raise OSError(f"{what}: no answer after {TRIES} tries: {fault!r}; the same command goes on when it is back")

    def _path(self, name: str) -> str:
        if name and not is_plain_name(name):
            raise UsageError(f"{self.place}: no file is read by the name {name!r}; use letters, digits, '.', '-', '_'")
        base = self.place if self.place.startswith("http") else self.place.partition("://")[2]
        return f"{base}/{name}"

    def _files(self) -> Any:
        """The file system, one a process: its connections do not survive a fork."""
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), _file_system(self.place.partition("://")[0]))
        return self._made[1]


def checked_url(url: str) -> str:
    """The URL of a folder, without its last slash; raises UsageError for one that is not on the allow-list."""
    scheme, separator, rest = url.partition("://")
    if "::" in url or not separator or scheme not in SCHEMES:
        raise UsageError(
            f"{url}: not a place that shards are read from; expected a folder or one of "
            f"{', '.join(f'{known}://...' for known in SCHEMES)}, without '::'"
        )
    parts = rest.rstrip("/").split("/")
    if not parts[0] or {"..", "."} & set(parts) or re.search(r"[?#\s\x00-\x1f%\\]", rest):
        raise UsageError(f"{url}: not the plain URL of a folder; leave out '..', '?', '#', '%' and spaces")
    return f"{scheme}://{rest.rstrip('/')}"


def _file_system(scheme: str) -> Any:
    import fsspec  # late: nothing local needs it

    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        package = SCHEMES[scheme]
        raise UsageError(f"{scheme}:// needs the package {package}; install it with: pip install {package}") from error


def _passing_faults(scheme: str) -> tuple[type[Exception], ...]:
    """What is raised for trouble on the way: the packages behind s3:// and gs:// raise OSError."""
    if scheme == "hf":
        from huggingface_hub import errors  # HTTPError there is that of its http library, which has changed before

        return (OSError, errors.HTTPError)
    import aiohttp

    return (OSError, aiohttp.ClientError)


def _stays(error: Exception) -> bool:
    """Whether asking again cannot help: not there, or not ours."""
    status = _status(error)
    if status is not None:
        return 400 <= status < 500 and status not in (408, 425, 429)
    # what fsspec's http raises for any fault while it asks for a file's size has that fault as its cause
    return isinstance(error, PermissionError) or (isinstance(error, FileNotFoundError) and error.__cause__ is None)


def _status(error: Exception) -> int | None:
    """What an http server answered, if it did."""
    cause = (error.__cause__ or error) if isinstance(error, FileNotFoundError) else error
    told = getattr(cause, "status", None) or getattr(getattr(cause, "response", None), "status_code", None)
    return told if isinstance(told, int) else None


def _told(error: Exception, what: str) -> OSError:
    status = _status(error)
    if isinstance(error, PermissionError) or status in (401, 403):
        return PermissionError(f"{what}: access denied ({error})")
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return FileNotFoundError(f"{what}: not there ({error})")
    return OSError(f"{what}: refused ({error})")
