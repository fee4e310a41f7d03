"""Where the numbers come from: commit, versions, data, protocol, and the folders of the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hallo3_lightning.ablation.report_file import mapping_of
from hallo3_lightning.ablation.results import Result


@dataclass(frozen=True)
class Origin:
    """One fact, and the runs that it holds of; no names where it holds of all."""

    what: str
    value: str
    runs: tuple[str, ...] = ()


def origins(results: Sequence[Result]) -> list[Origin]:
    """Each fact once where all runs agree, else once for each value with the runs that have it."""
    known = {result.name: _facts(result) for result in results}
    names = dict.fromkeys(what for facts in known.values() for what in facts)
    return [
        origin
        for what in names
        for origin in _of(what, {run: facts.get(what, "unknown") for run, facts in known.items()})
    ]


def _of(what: str, by_run: Mapping[str, str]) -> list[Origin]:
    values = list(dict.fromkeys(by_run.values()))
    if len(values) == 1:
        return [Origin(what, values[0])]
    return [Origin(what, value, tuple(run for run in by_run if by_run[run] == value)) for value in values]


def _facts(result: Result) -> dict[str, str]:
    known = mapping_of(result.folder.path / "provenance.json") or {}  # the page says unknown
    protocol = result.report["protocol"]
    code, versions = (_mapping(known.get(part)) for part in ("code", "versions"))
    changed = f", with changes {code['diff']}" if code.get("diff") else ""
    return {
        "protocol": f"{protocol.get('id')} {protocol['hash']}",
        "commit": f"{code['commit']}{changed}" if code.get("commit") else "unknown",
        "data": _data(known.get("data")),
        **({"weights": str(known["weights"])} if known.get("weights") else {}),
        **{name: str(version) for name, version in versions.items()},
    }


def _mapping(told: Any) -> Mapping[str, Any]:
    """Empty for anything else."""
    return told if isinstance(told, dict) else {}


def _data(described: Any) -> str:
    """The fingerprint of each data set that has one."""
    if not isinstance(described, dict):
        return "unknown"
    if "fingerprint" in described:
        return str(described["fingerprint"])
    return ", ".join(f"{place}: {_data(one)}" for place, one in described.items()) or "unknown"
