"""What `load_dataset` takes for an artifact's rows: the files that the card's globs select."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from lopd_store.errors import FormatError, IntegrityError, LopdError, Problem
from lopd_store.hub.snapshot import Snapshot
from lopd_store.remote.front_matter import MAX_CARD_BYTES, FrontMatter, split
from lopd_store.remote.layout import CARD, Place
from lopd_store.verify.report import Report

_USUAL_SPLIT: Final = "train"  # of globs for which a card names no split
_MOST_GLOBS: Final = 100  # each is tried on every file; paths without wildcards are not counted


def selects(glob: str, path: str) -> bool:
    """Whether a glob of a card selects a path; `*` stays within a folder, and so does `**` here."""
    globs, parts = glob.removeprefix("./").split("/"), path.split("/")
    return len(globs) == len(parts) and all(map(fnmatchcase, parts, globs))


def check_globs(
    snapshot: Snapshot, shards: Mapping[Place, Collection[str]], report: Report
) -> None:
    """Note where `load_dataset` would read other files than an artifact has.

    Args:
        snapshot: the repository.
        shards: of each artifact, the paths that its manifest gives.
        report: where to.
    """
    try:
        text = snapshot.read(CARD, limit=MAX_CARD_BYTES).decode()
        configs = FrontMatter.parse(split(text)[0]).fields.get("configs")
    except UnicodeDecodeError as error:
        report.add(FormatError, [Problem("card", CARD, "UTF-8 text", str(error))])
        return
    except LopdError as error:
        report.add_error(error, CARD)
        return
    for place, expected in shards.items():
        globs = _globs(configs, place)
        if globs == [place.shards]:
            continue
        if _selected(globs, snapshot.files) != set(expected):
            where, found = f"{CARD} configs {place}", ", ".join(globs)[:200] or "none"
            report.add(IntegrityError, [Problem("card-globs", where, place.shards, found)])


def _selected(globs: Collection[str], paths: Collection[str]) -> set[str] | None:
    """The files that globs select; None for more globs than anybody needs."""
    wild = [glob for glob in globs if any(sign in glob for sign in "*?[")]
    if len(wild) > _MOST_GLOBS:
        return None
    plain = {glob.removeprefix("./") for glob in globs}
    return {path for path in paths if path in plain or any(selects(one, path) for one in wild)}


def _globs(configs: Any, place: Place) -> list[str]:
    """The globs that a card has for a place; of a config that stands there twice, the last ones."""
    found: list[str] = []
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict) and config.get("config_name") == place.config:
            data_dir = config.get("data_dir")
            globs = _of_split(config.get("data_files"), place.split)
            found = [f"{data_dir}/{glob}" if data_dir else glob for glob in globs]
    return found


def _of_split(data_files: Any, split_name: str) -> list[str]:
    """As the datasets library reads them: globs, or globs of named splits."""
    entries = data_files if isinstance(data_files, list) else [data_files]
    paths: list[Any] = []
    for entry in entries:
        named = entry if isinstance(entry, dict) else {"split": _USUAL_SPLIT, "path": entry}
        if named.get("split") == split_name:
            path = named.get("path")
            paths += path if isinstance(path, list) else [path]
    return [path for path in paths if isinstance(path, str)]
