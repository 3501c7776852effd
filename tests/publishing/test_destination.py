"""Where a push goes, as people type it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lopd_store.errors import UsageError
from lopd_store.publishing.destination import Destination
from lopd_store.remote.layout import Place

NAMES = {
    "org/data": ("org/data", Place("default", "train"), None, "org/data:main"),
    "org/data@v1": ("org/data", Place("default", "train"), "v1", "org/data:v1"),
    "org/data/small": ("org/data", Place("small", "train"), None, "org/data/small:main"),
    "org/data/small/t@v1.2": ("org/data", Place("small", "t"), "v1.2", "org/data/small/t:v1.2"),
    "org/data/default/test_2@2026": ("org/data", Place("default", "test_2"), "2026", None),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_a_repository_a_place_and_a_version(text: str) -> None:
    found = Destination.parse(text)
    repo, place, version, ref = NAMES[text]
    assert (found.repo, found.place, found.version) == (repo, place, version)
    if ref:
        assert found.ref == ref
    assert Destination.parse(str(found)) == found


@pytest.mark.parametrize(
    "version",
    [
        "main", "0" * 40, "-v1", ".v1", "v1.", "v1..2", "v1.lock", "v1.lock/a", "v1/", "/v1",
        "v1//2", "refs/tags/v1", "refs/pr/1", "v 1", "v1\n", "v1~1", "v^", "a:b", "",
        "sha256:" + "0" * 64,
    ],
)  # fmt: skip
def test_what_git_takes_for_no_tag_is_no_version(version: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        Destination.parse(f"org/data@{version}")


@given(st.text(alphabet="ab1_.-/", min_size=1, max_size=12))
def test_a_version_keeps_the_rules_of_git(version: str) -> None:
    """As `git check-ref-format refs/tags/…` has them, of which these letters can break six."""
    try:
        found = Destination.parse(f"org/data@{version}").version
    except UsageError:
        return
    assert found == version
    assert ".." not in version
    assert "//" not in version
    assert not version.startswith(("/", "-", "."))
    assert not version.endswith(("/", "."))
    assert "/." not in version
