"""Builds killed for minutes, at every disk operation and at random ones."""

from pathlib import Path

import pytest

from tests.building.test_kills import report_of, start

pytestmark = pytest.mark.soak


def test_killed_at_every_single_step_of_a_build_it_comes_to_the_same_artifact(
    origin: Path, models: dict[str, Path]
) -> None:
    report = report_of(start("steps", origin, models["teacher"], 1, 1))
    assert report["wrong"] == []
    assert report["ids"] == [report["expected"]]
    assert report["kills"] > 100


def test_killed_over_and_over_for_minutes_builds_come_to_the_same_artifact(
    origin: Path, models: dict[str, Path]
) -> None:
    report = report_of(start("often", origin, models["teacher"], 7, 120))
    assert report["wrong"] == []
    assert report["ids"] == [report["expected"]]
    assert report["kills"] > 20
    assert report["builds"] > 5
