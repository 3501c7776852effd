"""What `load_dataset` takes for an artifact's rows: the files that the card's globs select.

Only what is understood to the letter is right: a card that means something else to `datasets` than
to us would show other rows than those that were verified.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from lopd_store.documents.artifact import Column
from lopd_store.errors import FormatError, IntegrityError, LopdError, Problem
from lopd_store.hub.snapshot import Snapshot
from lopd_store.remote.features import differing
from lopd_store.remote.front_matter import MAX_CARD_BYTES, FrontMatter, split
from lopd_store.remote.layout import CARD, OVERRIDE, Place
from lopd_store.verify.report import Report

_USUAL_SPLIT: Final = "train"  # of globs for which a card names no split
_KEYS: Final = {"config_name", "data_files", "default", "description"}  # others change the rows
_PART: Final = r"(?!\.{1,2}(?:/|\Z))[\w.*-]+"
_GLOB: Final = re.compile(rf"(?!.*\*\*){_PART}(?:/{_PART})*", re.ASCII)
_MOST_GLOBS: Final = 32  # each is tried on every file; paths without wildcards are not counted
_WILD: Final = re.compile(r"[*?\[]")
_LEGACY: Final = "dataset_infos.json"  # of old versions of `datasets`
_LONGEST: Final = 200  # characters that are shown of what was found


def selects(glob: str, path: str) -> bool:
    """Whether a glob selects a path; `*` stays within a folder, and selects hidden files, too."""
    globs, parts = glob.split("/"), path.split("/")
    return len(globs) == len(parts) and all(map(fnmatchcase, parts, globs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a card has to show of an artifact.

    Attributes:
        shards: the paths that its manifest gives.
        columns: of the shards; empty where nobody knows.
    """

    shards: Collection[str]
    columns: Sequence[Column]


def check_card(snapshot: Snapshot, shown: Mapping[Place, Shown], report: Report) -> None:
    """Note where `load_dataset` would read other files than an artifact has, or other values.

    Args:
        snapshot: the repository.
        shown: its artifacts.
        report: where to.
    """
    if OVERRIDE in snapshot.files:
        expected = f"no such file: load_dataset takes what it says in place of {CARD}"
        report.add(IntegrityError, [Problem("card-globs", OVERRIDE, expected, "one")])
    try:
        text = snapshot.read(CARD, limit=MAX_CARD_BYTES).decode()
        fields = FrontMatter.parse(split(text)[0]).fields
    except UnicodeDecodeError as error:
        report.add(FormatError, [Problem("card", CARD, "UTF-8 text", str(error))])
        return
    except LopdError as error:
        report.add_error(error, CARD)
        return
    configs = _mappings(fields.get("configs"))
    for place, one in shown.items():
        shards = sorted(one.shards)
        for expected, wrong in _differences(configs, place, shards, snapshot.files):
            where = f"{CARD} configs {place}"
            problem = Problem("card-globs", where, expected, wrong[:_LONGEST] or "none")
            report.add(IntegrityError, [problem])
        report.add(IntegrityError, _other_types(fields, place, one, snapshot.files))
    if shown and configs and (other := _not_parquet(configs, snapshot.files)):
        expected = "files that end in .parquet: load_dataset reads all configs as the first one"
        where = f"{CARD} configs, the first"
        report.add(IntegrityError, [Problem("card-globs", where, expected, other[:_LONGEST])])


def _other_types(
    fields: Mapping[str, Any], place: Place, shown: Shown, files: Collection[str]
) -> Iterator[Problem]:
    """Columns that a card has otherwise: `load_dataset` makes the rows' values into those."""
    said = fields.get("dataset_info")
    infos = [said] if isinstance(said, dict) else _mappings(said)
    ours = [info for info in infos if info.get("config_name", "default") == place.config]
    for info in ours if shown.columns else []:
        found = info.get("features")
        if found is not None and (names := differing(found, shown.columns)):
            where, expected = f"{CARD} dataset_info {place}", "the columns of the shards"
            yield Problem(
                "card-features", where, expected, f"others, {', '.join(names)}"[:_LONGEST]
            )
    if _LEGACY in files and not any(info.get("features") for info in ours):
        expected = f"no such file, or features of {place.config} in {CARD}: its types are taken"
        yield Problem("card-features", _LEGACY, expected, "one")


def _mappings(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _differences(
    configs: Sequence[Mapping[str, Any]],
    place: Place,
    shards: Sequence[str],
    files: Collection[str],
) -> Iterator[tuple[str, str]]:
    """What was expected of a card for a place, and what it says, wherever they differ."""
    named = [config for config in configs if config.get("config_name") == place.config]
    if len(named) != 1:
        yield f"config {place.config} once", f"it {len(named)} times"
        return
    if others := sorted(map(str, named[0].keys() - _KEYS)):
        yield f"only {', '.join(sorted(_KEYS))}, as others change the rows", ", ".join(others)
    globs = _of_split(named[0].get("data_files"), place.split)
    if globs == [place.shards]:
        return
    if odd := [glob for glob in globs if not _GLOB.fullmatch(glob)]:
        yield f"{place.shards}, or paths and globs of letters, digits, . _ - *", ", ".join(odd)
        return
    if sum("*" in glob for glob in globs) > _MOST_GLOBS:
        yield f"at most {_MOST_GLOBS} globs", ", ".join(globs)
        return
    selected = [_selected(glob, files) for glob in globs]
    if empty := [glob for glob, paths in zip(globs, selected, strict=True) if not paths]:
        yield f"{place.shards}, or what selects a file", ", ".join(empty)
    elif wrong := _wrong([path for paths in selected for path in paths], shards):
        yield f"the {len(shards)} shards of the manifest in order, {place.shards}", wrong


def _wrong(found: Sequence[str], shards: Sequence[str]) -> str | None:
    """What is wrong with the files that are selected, by an example."""
    counted = Counter(found)
    if others := sorted(counted.keys() - set(shards)):
        return f"{len(others)} others, {others[0]}"
    if missing := sorted(set(shards) - counted.keys()):
        return f"{len(missing)} not selected, {missing[0]}"
    if twice := [path for path in shards if counted[path] > 1]:
        return f"{len(twice)} selected more than once, {twice[0]}"
    return None if list(found) == list(shards) else "another order"


def _selected(glob: str, files: Collection[str]) -> list[str]:
    if "*" in glob:
        return sorted(path for path in files if selects(glob, path))
    return [glob] if glob in files else []


def _of_split(data_files: Any, split_name: str) -> list[str]:
    """The globs of a split, in order; what `datasets` would not take has a glob that is none."""
    if isinstance(data_files, str):
        data_files = [data_files]
    if not isinstance(data_files, list):
        return []
    if all(isinstance(entry, str) for entry in data_files):
        return data_files if split_name == _USUAL_SPLIT else []
    if not all(isinstance(one, dict) and one.keys() == {"split", "path"} for one in data_files):
        return ["data_files of several kinds"]
    named = [entry["path"] for entry in data_files if entry["split"] == split_name]
    if len(named) > 1:
        return [f"split {split_name} {len(named)} times"]
    paths = [path for found in named for path in (found if isinstance(found, list) else [found])]
    return [path if isinstance(path, str) else repr(path)[:_LONGEST] for path in paths]


def _not_parquet(configs: Sequence[Mapping[str, Any]], files: Collection[str]) -> str | None:
    """What the first config may read that is no Parquet: its kind is every config's.

    Any file that begins as a glob does is taken for one that it selects.
    """
    name = configs[0].get("config_name")
    first = next(one for one in reversed(configs) if one.get("config_name") == name)
    found = first.get("data_files")
    entries = found if isinstance(found, list) else [found]
    paths = [entry.get("path") if isinstance(entry, dict) else entry for entry in entries]
    found = [glob for path in paths for glob in (path if isinstance(path, list) else [path])]
    globs = [glob for glob in found if isinstance(glob, str)]
    if not globs or globs != found:
        return "no data_files, or others than paths"
    unclear = [glob for glob in globs if not glob.endswith(".parquet")]
    if len(unclear) > _MOST_GLOBS:
        return ", ".join(unclear)
    for glob in unclear:
        start = _WILD.split(glob, maxsplit=1)[0]
        read = [path for path in files if path.startswith(start) and path != CARD]
        if not read or not all(path.endswith(".parquet") for path in read):
            return glob
    return None
