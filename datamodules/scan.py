"""What lies where in one tar: its headers are walked once, nothing is extracted, and every fault has a name."""

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from datamodules.shards import DECODERS, REQUIRED, SIGNALS
from datamodules.stores import Range, Store

Extent = tuple[int, int]
"""Offset and size, in bytes."""

BLOCK = tarfile.BLOCKSIZE
TAR_END = 2 * BLOCK
"""Bytes of zeros that end a tar, at the least (POSIX.1-2017, pax, ustar interchange format)."""

LONGEST_NAME = 1024
LONGEST_EXTENSION = 1 << 20
"""Bytes of a PAX or GNU header that says more of the next member; longer ones are damage or an attack."""

LARGEST_MEMBER = 1 << 33
_CHUNK = 1 << 20

KINDS = {
    tarfile.LNKTYPE: "hard link", tarfile.SYMTYPE: "symbolic link", tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe", tarfile.GNUTYPE_SPARSE: "sparse file",
}  # fmt: skip
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
GNU_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
PAX_HEADERS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and what stands for bytes that are not UTF-8."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}


@dataclass(frozen=True)
class Problem:
    """Why a sample, or with key "" a part of a shard, was left out."""

    shard: str
    key: str
    reason: str


@dataclass
class Scanned:
    """The samples of one shard by key, in the order of the tar, and what was left out."""

    shard: str
    bytes: int
    samples: dict[str, dict[str, Extent]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    digest: str = ""


class _Damage(Exception):
    """The walk cannot go on."""


@dataclass(frozen=True)
class _Entry:
    """One file of the tar."""

    name: str
    kind: str
    """"" for a plain file."""
    offset: int
    size: int


def scan(store: Store, shard: str) -> Scanned:
    """Key -> member -> where it lies, by WebDataset's rule: the key ends at the first dot of the file's name.

    Members of a key need not be neighbours. Left out, each with its reason, are samples with a member that is no plain
    file, is given twice, or is named absolutely, with '..', in bytes that are not UTF-8 or in control characters;
    samples without a member that every sample has; and what stands at and behind damage. Member names are lower-cased,
    as webdataset does.
    """
    found = Scanned(shard, store.stat(shard).size)
    faults: dict[str, str] = {}
    last = ""
    try:
        for entry in _walk(store, shard, found.bytes):
            last = _file_under_key(entry, found, faults) or last
    except _Damage as damage:
        found.problems.append(Problem(shard, "", str(damage)))
        if last:
            faults.setdefault(last, "last sample before the damage: perhaps not whole")
    for key, members in found.samples.items():
        lacking = _lacking(members)
        if lacking:
            faults.setdefault(key, f"missing member: {lacking}")
    for key, reason in faults.items():
        found.samples.pop(key, None)
        found.problems.append(Problem(shard, key, reason))
    return found


def content_digest(store: Store, shard: str, size: int) -> str:
    """32 hex digits of all the bytes of a shard."""
    summed = hashlib.blake2b(digest_size=16)
    for offset in range(0, size, _CHUNK):
        summed.update(store.read([Range(shard, offset, min(_CHUNK, size - offset))])[0])
    return summed.hexdigest()


def _file_under_key(entry: _Entry, found: Scanned, faults: dict[str, str]) -> str | None:
    """Note a file as a member of its sample; its key, or None if it belongs to none."""
    split = _key_and_member(entry.name)
    if split is None:
        return None
    key, member = split
    fault = _fault_of(entry, key, member, found)
    if fault:
        faults.setdefault(printable(key), fault)
    else:
        found.samples.setdefault(key, {})[member] = (entry.offset, entry.size)
    return printable(key)


def _fault_of(entry: _Entry, key: str, member: str, found: Scanned) -> str:
    name = printable(member)
    checks = {
        "name with control characters, or not UTF-8": UNPRINTABLE.search(entry.name),
        f"name longer than {LONGEST_NAME} characters": len(entry.name) > LONGEST_NAME,
        "name that leaves its folder: absolute, or with '..'": entry.name[0] == "/" or ".." in entry.name.split("/"),
        f"member {name} is a {entry.kind}": entry.kind,
        f"member {name} is larger than {LARGEST_MEMBER >> 30} GiB": entry.size > LARGEST_MEMBER,
        f"member {name} twice, or two samples of this key": member in found.samples.get(key, {}),
    }
    return next((fault for fault, holds in checks.items() if holds), "")


def _key_and_member(name: str) -> tuple[str, str] | None:
    while name.startswith("./") and len(name) <= LONGEST_NAME:
        name = name.removeprefix("./")
    folder, slash, file = name.rpartition("/")
    stem, _, member = file.partition(".")
    return (folder + slash + stem, member.lower()) if stem and member else None


def printable(name: str) -> str:
    """The name, cut to its limit, with what is not UTF-8 or not to be printed spelt out."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", name[:LONGEST_NAME])


def _lacking(members: Mapping[str, Extent]) -> str:
    fields = {DECODERS[name][0] for name in members if name in DECODERS}
    if "mp4" in members:  # a video file says of itself what the json would
        fields.add("facts")
    if fields and fields <= SIGNALS:  # computed ahead for a sample that lies elsewhere
        return ""
    return ", ".join(given for name, given in REQUIRED.items() if name not in fields)


class _Headers:
    """A window on a shard that moves forward: neighbouring headers take one read."""

    def __init__(self, store: Store, shard: str, size: int) -> None:
        self.store, self.shard, self.size = store, shard, size
        self._first = 0
        self._bytes = b""

    def at(self, offset: int, size: int) -> bytes:
        """Some bytes; fewer where the shard ends."""
        size = max(min(size, self.size - offset), 0)
        if not self._first <= offset <= offset + size <= self._first + len(self._bytes):
            ahead = min(max(size, self.store.gap), self.size - offset)
            self._first, self._bytes = offset, self.store.read([Range(self.shard, offset, ahead)])[0] if size else b""
        return self._bytes[offset - self._first : offset - self._first + size]


def _walk(store: Store, shard: str, size: int) -> Iterator[_Entry]:
    """Every entry that is no folder; raises _Damage where the walk must end early."""
    if size == 0:
        raise _Damage("empty file of 0 bytes; copy or write it again")
    headers = _Headers(store, shard, size)
    offset, said = 0, _Said()
    while header := _header(headers, offset):
        data = offset + BLOCK
        if header.type in (*GNU_NAMES, *PAX_HEADERS, tarfile.XGLTYPE):
            if not 0 <= header.size <= LONGEST_EXTENSION or data + header.size > size:
                raise _Damage(f"damaged at byte {offset} of {size}: a name of {header.size} bytes; copy it again")
            said = said.more(header.type, headers.at(data, header.size))
            offset = data + _padded(header.size)
            continue
        data, entry = _entry(headers, header, said, data)
        if entry.offset + entry.size > size or entry.size < 0:
            yield _Entry(entry.name, "file that the shard ends within", 0, 0)
            raise _Damage(f"truncated: {printable(entry.name)} claims bytes up to {data} of {size}; copy it again")
        if header.type != tarfile.DIRTYPE:
            yield entry
        offset, said = data, _Said()


def _entry(headers: _Headers, header: tarfile.TarInfo, said: "_Said", data: int) -> tuple[int, _Entry]:
    """Where the next header stands, and the entry."""
    if header.type == tarfile.GNUTYPE_SPARSE:
        more = headers.at(data - BLOCK, BLOCK)[482:483]
        while more.strip(bytes(1)):
            more = headers.at(data, BLOCK)[504:505]
            data += BLOCK
    kind = "" if header.type in PLAIN else KINDS.get(header.type, "special file")
    size = 0 if header.type in WITHOUT_DATA else header.size if said.size is None else said.size
    entry = _Entry(said.name or header.name, "sparse file" if said.sparse else kind, data, size)
    return data + _padded(size), entry


def _header(headers: _Headers, offset: int) -> tarfile.TarInfo | None:
    """The header there; None at the end of the tar."""
    block = headers.at(offset, BLOCK)
    if len(block) == BLOCK and block.strip(bytes(1)):
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError:
            if offset == 0:
                raise _Damage(_no_tar(block)) from None
    elif headers.size - offset >= TAR_END and _zeros_to_the_end(headers, offset):
        return None
    raise _Damage(
        f"damaged or truncated at byte {offset} of {headers.size}, where there is neither a member nor the zeros that "
        "end a tar; copy or write it again"
    )


def _no_tar(block: bytes) -> str:
    for magic, name in COMPRESSED.items():
        if block.startswith(magic):
            return f"compressed with {name}, so that no member can be read alone; decompress it"
    return "not a tar; copy or write it again"


def _zeros_to_the_end(headers: _Headers, offset: int) -> bool:
    return all(not headers.at(at, _CHUNK).strip(bytes(1)) for at in range(offset, headers.size, _CHUNK))


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


@dataclass(frozen=True)
class _Said:
    """What GNU and PAX headers say of the next member."""

    name: str = ""
    size: int | None = None
    sparse: bool = False

    def more(self, kind: bytes, payload: bytes) -> "_Said":
        """With what one more such header says; global ones say nothing that matters here."""
        if kind == tarfile.GNUTYPE_LONGNAME:
            return replace(self, name=_text(payload.partition(bytes(1))[0]))
        if kind not in PAX_HEADERS:
            return self
        records = dict(_pax_records(payload))
        size = records.get("size", "")
        return _Said(
            records.get("GNU.sparse.name") or records.get("path") or self.name,
            int(size) if size.isdecimal() and len(size) < 19 else self.size,
            self.sparse or any(name.startswith("GNU.sparse.") for name in records),
        )


def _pax_records(payload: bytes) -> Iterator[tuple[str, str]]:
    """Each "length name=value" of a PAX header; what does not read so ends it."""
    at = 0
    while at < len(payload):
        length, space, _ = payload[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or int(length) <= len(length) + 1:
            return
        name, _, value = payload[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        yield _text(name), _text(value)
        at += int(length)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
