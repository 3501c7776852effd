"""The card's YAML: what the Hub, its viewer and `datasets` need to know, put into what is there."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lopd_store.errors import FormatError, UsageError
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.remote.features import differing, features_of
from lopd_store.remote.front_matter import FrontMatter
from lopd_store.remote.layout import Place

_TAGS: Final = ("lopd", "on-policy-distillation", "distillation")
_KIND_TAGS: Final = {
    "signal": ("teacher-signal", "log-probs"),
    "rollouts": ("rollouts",),
    "sft": ("sft",),
}
_LICENSE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_KEYS: Final = {"config_name", "data_files", "default", "description"}  # others change the rows
_SUFFIX: Final = re.compile(r".*\.(?!parquet\Z)[A-Za-z0-9]+", re.DOTALL)
_MOST: Final = (1 << 63) - 1
_SMALLEST: Final = 1_000
_UNITS: Final = ("", "K", "M", "B", "T")
_ADVICE: Final = "correct README.md by hand on the Hub, and push again"


def stated_license(front: str) -> str | None:
    """The license that a card's YAML states; None where it states none. Raises FormatError."""
    found = FrontMatter.parse(front).fields.get("license")
    if isinstance(found, list):
        return ", ".join(str(one) for one in found) or None
    return None if found is None else str(found)


def updated(
    front: str,
    facts: CardFacts,
    *,
    license: str | None,  # noqa: A002 - the Hub's word
    stored: Mapping[str, int | None],
) -> str:
    """YAML without its fences that describes the artifact at its place, too.

    Fields of others, other configs and other splits stay what they are.

    Args:
        front: the YAML of the card that is there, empty for none.
        facts: what is published.
        license: to be stated; None keeps what is there, if anything is.
        stored: each split of the config → bytes of its shards, None where nobody knows.

    Raises:
        FormatError: YAML that is not plain, or ours in it with values that cannot be.
        UsageError: no name of a license; a config that has files of others, or other columns.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise UsageError(f"expected a license such as apache-2.0, found {license[:80]!r}")
    matter = FrontMatter.parse(front)
    old = matter.fields
    infos = _infos(old.get("dataset_info"), facts, stored)
    fields: dict[str, Any] = {} if license is None else {"license": license}
    fields["pretty_name"] = old.get("pretty_name") or facts.repo.partition("/")[2]
    fields["tags"] = _tags(old.get("tags"), facts)
    fields["task_categories"] = old.get("task_categories") or ["text-generation"]
    fields["size_categories"] = [_size_category(_rows(infos))]
    fields["configs"] = _configs(old.get("configs"), facts)
    fields["dataset_info"] = infos
    return matter.having(fields)


def _tags(old: Any, facts: CardFacts) -> list[Any]:
    found = _list_of(old, object, "tags")
    ours = (*_TAGS, *_KIND_TAGS[facts.artifact.document.kind])
    return [*found, *(tag for tag in ours if tag not in found)]


def _configs(old: Any, facts: CardFacts) -> list[dict[str, Any]]:
    """The configs with ours in it, and its split with the glob of its shards.

    `datasets` takes a config named default for the default and refuses two: where it is there, no
    other is marked. Where several are there and none is the default, the first becomes it.
    """
    place = facts.place
    configs = [dict(one) for one in _list_of(old, dict, "configs")]
    ours = _named(configs, "config_name", place.config, "configs")
    if ours is None:
        ours = {"config_name": place.config}
        configs.append(ours)
    ours["data_files"] = _data_files(ours, facts)
    if others := sorted(map(str, ours.keys() - _KEYS)):
        raise FormatError(
            f"README.md on the Hub: expected only {', '.join(sorted(_KEYS))} in config"
            f" {place.config}, found {', '.join(others)[:200]}: with these datasets would load"
            f" other rows than are pushed; {_ADVICE}, or push to another config"
        )
    _require_parquet(configs[0], facts)
    names = [one.get("config_name") for one in configs]
    if "default" in names:
        configs = [
            {key: value for key, value in one.items() if (key, value) != ("default", True)}
            for one in configs
        ]
    elif len(configs) > 1 and not any(one.get("default") for one in configs):
        configs[0]["default"] = True
    return configs


def _require_parquet(config: Mapping[str, Any], facts: CardFacts) -> None:
    """Raise UsageError where the first config has files of another kind, as far as names say."""
    found = config.get("data_files")
    entries = found if isinstance(found, list) else [found]
    paths = [entry.get("path") if isinstance(entry, dict) else entry for entry in entries]
    globs = [glob for path in paths for glob in (path if isinstance(path, list) else [path])]
    for glob in globs:
        if isinstance(glob, str) and _SUFFIX.fullmatch(glob):
            raise UsageError(
                f"{facts.repo}: expected files of Parquet in the first config of README.md on the"
                f" Hub, as datasets reads all configs as it reads the first, found {glob[:100]!r}:"
                " push to a repository of its own"
            )


def _data_files(config: Mapping[str, Any], facts: CardFacts) -> list[dict[str, Any]]:
    """Our config's splits, ours among them. Raises UsageError where it holds files of others.

    `datasets` also takes a glob, a list of globs, or a folder: no push has written these.
    """
    place, found = facts.place, config.get("data_files")
    splits = found if isinstance(found, list) else [] if found is None else [found]
    if "data_dir" in config or not all(_is_ours(split, place.config) for split in splits):
        raise UsageError(
            f"{facts.repo}/{place}: expected a config of pushed artifacts only, found files of"
            f" others in config {place.config} of README.md on the Hub: push to a config of its"
            f" own ({facts.repo}/NAME)"
        )
    if _named(splits, "split", place.split, "data_files"):
        return [dict(split) for split in splits]
    return [*map(dict, splits), {"split": place.split, "path": place.shards}]


def _is_ours(split: Any, config: str) -> bool:
    """Whether a split's entry is one that a push has written."""
    if not isinstance(split, dict) or split.keys() != {"split", "path"}:
        return False
    try:
        wanted = Place(config, str(split["split"])).shards
    except UsageError:
        return False
    return split["path"] in (wanted, [wanted])


def _infos(old: Any, facts: CardFacts, stored: Mapping[str, int | None]) -> list[dict[str, Any]]:
    """`dataset_info` of every config, ours brought up to date."""
    found = [old] if isinstance(old, dict) else _list_of(old, dict, "dataset_info")
    infos = [{"config_name": one.get("config_name", "default"), **one} for one in found]
    config, name = facts.place.config, facts.place.split
    ours = _named(infos, "config_name", config, "dataset_info")
    if ours is None:
        ours = {"config_name": config}
        infos.append(ours)
    splits = [dict(one) for one in _list_of(ours.get("splits"), dict, "splits")]
    features = features_of(facts.artifact.document.columns)
    if any(split.get("name") != name for split in splits):
        _expect_features(ours.get("features"), facts)
    split = _named(splits, "name", name, "splits")
    if split is None:
        split = {"name": name}
        splits.append(split)
    split |= {"num_bytes": facts.statistics.expanded, "num_examples": facts.statistics.rows}
    ours |= {"features": features, "splits": splits}
    sizes = [stored.get(str(one.get("name"))) for one in splits]
    ours.pop("download_size", None)
    if all(size is not None for size in sizes):
        ours["download_size"] = sum(size or 0 for size in sizes)
    ours["dataset_size"] = sum(_count(one, "num_bytes") for one in splits)
    return infos


def _expect_features(old: Any, facts: CardFacts) -> None:
    """`datasets` reads all splits of a config with one list of columns."""
    if old is None:
        return
    if names := differing(_list_of(old, dict, "features"), facts.artifact.document.columns):
        raise UsageError(
            f"{facts.repo}/{facts.place}: expected the columns that the other splits of config"
            f" {facts.place.config} have, as datasets reads them as one; found a difference in"
            f" {', '.join(name[:40] for name in names[:5])}: push to another config"
        )


def _rows(infos: Sequence[Mapping[str, Any]]) -> int:
    return sum(
        _count(split, "num_examples")
        for info in infos
        for split in _list_of(info.get("splits"), dict, "splits")
    )


def _size_category(rows: int) -> str:
    """The Hub's word for how many rows."""
    if rows < _SMALLEST:
        return "n<1K"
    power = len(str(rows)) - 1
    if power >= 3 * (len(_UNITS) - 1):
        return "n>1T"
    return f"{_power(power)}<n<{_power(power + 1)}"


def _power(exponent: int) -> str:
    return f"{10 ** (exponent % 3)}{_UNITS[exponent // 3]}"


def _list_of(found: Any, kind: type, where: str) -> list[Any]:
    """A list of such values, empty for None. Raises FormatError on anything else."""
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, kind) for one in found):
        expected = "values" if kind is object else "`key: value` lines"
        raise FormatError(
            f"README.md on the Hub: expected a list of {expected} in {where}, found"
            f" {type(found).__name__}; {_ADVICE}"
        )
    return found


def _named(
    found: Sequence[dict[str, Any]], key: str, name: str, where: str
) -> dict[str, Any] | None:
    """The one entry with that name. Raises FormatError where there are two."""
    entries = [one for one in found if one.get(key) == name]
    if len(entries) > 1:
        raise FormatError(
            f"README.md on the Hub: expected one {key} {name} in {where}, found {len(entries)};"
            f" {_ADVICE}"
        )
    return entries[0] if entries else None


def _count(entry: Mapping[str, Any], key: str) -> int:
    found = entry.get(key, 0)  # as `datasets` has it
    if type(found) is not int or not 0 <= found <= _MOST:
        raise FormatError(
            f"README.md on the Hub: expected a count in {key} of {str(entry.get('name'))[:40]!r},"
            f" found {str(found)[:40]!r}; {_ADVICE}"
        )
    return found
