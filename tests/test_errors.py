"""The error tree: one root, exit codes, messages, and the trip through another process."""

import copy
import pickle

import pytest

from lopd_store import errors
from lopd_store.errors import DigestMismatchError, FormatError, LopdError, Problem

TREE = {
    "LopdError": ("Exception", 1),
    "StoreError": ("LopdError", 1),
    "RefMovedError": ("StoreError", 1),
    "HubError": ("LopdError", 1),
    "UsageError": ("LopdError", 2),
    "IntegrityError": ("LopdError", 3),
    "DigestMismatchError": ("IntegrityError", 3),
    "NotFoundError": ("LopdError", 4),
    "FormatError": ("LopdError", 5),
    "ConsistencyError": ("LopdError", 6),
    "EngineError": ("LopdError", 7),
}
PROBLEMS = (Problem("not-finite", "row 3", "a number", "nan"), Problem("a", "b", "c", "d"))


def classes() -> dict[str, type[LopdError]]:
    found = vars(errors).items()
    return {n: c for n, c in found if isinstance(c, type) and issubclass(c, LopdError)}


def made(kind: type[LopdError]) -> LopdError:
    if kind is DigestMismatchError:
        return DigestMismatchError(where="shard 3", expected="sha256:0", found="sha256:1")
    return kind("expected a, found b", problems=PROBLEMS)


def test_the_tree_is_the_documented_one() -> None:
    assert {n: (c.__base__.__name__, c.exit_code) for n, c in classes().items() if c.__base__} == (
        TREE
    )
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in TREE)


@pytest.mark.parametrize("kind", classes().values(), ids=classes().keys())
def test_an_error_survives_the_trip_from_another_process(kind: type[LopdError]) -> None:
    error = made(kind)
    for copied in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301 - ours
        assert type(copied) is kind
        assert str(copied) == str(error)
        assert copied.problems == error.problems
        assert copied.exit_code == error.exit_code


def test_a_problem_says_where_what_was_expected_and_what_was_found() -> None:
    assert str(PROBLEMS[0]) == "row 3: not-finite: expected a number, found nan"


@pytest.mark.parametrize(("count", "more"), [(1, ""), (8, ""), (9, "  and 1 more"), (30, "and 22")])
def test_many_problems_are_counted_and_the_first_eight_shown(count: int, more: str) -> None:
    problems = [Problem("kind", f"row {i}", "x", "y") for i in range(count)]
    error = FormatError.of(problems, subject="input rows")
    lines = str(error).splitlines()
    assert isinstance(error, FormatError)
    assert lines[0] == f"input rows: {count} problem(s)"
    assert sum("row " in line for line in lines[1:]) == min(count, 8)
    assert more in lines[-1]
    assert error.problems == tuple(problems)


def test_a_digest_mismatch_is_one_problem() -> None:
    error = made(DigestMismatchError)
    assert str(error) == "shard 3: digest-mismatch: expected sha256:0, found sha256:1"
    assert [problem.kind for problem in error.problems] == ["digest-mismatch"]
