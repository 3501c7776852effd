"""Tables and pictures of made-up results; the page and its marks."""

from pathlib import Path

import pytest

from benchmarks.paper import page, pictures, results, tables
from benchmarks.paper.methods import LOSSES
from benchmarks.paper.plan import MORE_SFT
from lopd_store.errors import FormatError
from tests.paper import made_up

PAGE = Path(__file__).parents[2] / "docs" / "paper.md"
COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "paper.json"


def test_an_interval_over_three_seeds_is_students() -> None:
    over = results.Over.of([1.0, 2.0, 3.0])
    assert over.mean == 2
    assert over.half_width == pytest.approx(4.303 / 3**0.5)
    assert results.Over.of([1.0]).half_width is None
    assert (over - results.Over.of([1.0, 1.0, 1.0])).values == (0, 1, 2)


def test_the_best_rate_is_chosen_by_tuning_problems_and_reported_on_final_ones() -> None:
    found = made_up.results()
    chosen = found.tuned("paper")
    assert [answer["rate"] for answer in chosen] == [1e-5] * 3
    assert results.finals(chosen).values == (0.6, 0.7, 0.8)


def test_tables_say_what_the_results_say() -> None:
    made = tables.tables(made_up.results())
    assert "| online OPD | 70.0 ± 24.8 | 60.0 70.0 80.0 | +20.0 ± 24.8 |" in made["accuracy"]
    assert (
        "| online OPD | 10.0 ± 0.0 | 8.0 ± 0.0 | 6.0 ± 0.0 | 24.0 ± 0.0 | 24.0 ± 0.0 |"
        in (made["cost"])
    )
    assert "| 20.0 ± 0.0 | 16.0 ± 0.0 | 6.0 ± 0.0 | 42.0 ± 0.0 | 6.0 ± 0.0 |" in made["cost"]
    assert "| A | B | 0.250 | 50.0 | 30.0 (-20.0 ± 0.0) |" in made["pairs"]


def test_every_method_has_a_name_and_a_colour() -> None:
    assert tables.NAMES.keys() == pictures.COLOURS.keys() == LOSSES.keys() | {MORE_SFT}


def test_the_same_results_make_the_same_pictures(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pictures.draw(made_up.results(), tmp_path / name)
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
        assert b"<dc:date>" not in file.read_bytes()


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    found = made_up.results()
    results.write(found, tmp_path / "paper.json")
    assert results.read(tmp_path / "paper.json") == results.Results(
        {"size": {"rates": list(made_up.RATES)}, "seeds": list(found.seeds)}
    )
    looks = [line for line in (tmp_path / "paper.json").read_text().splitlines() if "half" in line]
    assert all(line.strip().startswith("{") for line in looks)


def test_a_table_goes_between_its_marks_and_nothing_else_changes() -> None:
    text = "a\n<!-- table: one -->\nold\n<!-- end -->\nz\n"
    assert page.fill(text, {"one": "| new |"}) == (
        "a\n<!-- table: one -->\n| new |\n<!-- end -->\nz\n"
    )


@pytest.mark.parametrize(
    "text", ["no mark", "<!-- table: two -->\n<!-- end -->", "<!-- table: one -->"]
)
def test_a_page_that_lacks_a_tables_marks_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="expected"):
        page.fill(text, {"one": "| new |"})


def test_the_page_shows_the_committed_results() -> None:
    text = PAGE.read_text()
    assert page.fill(text, tables.tables(results.read(COMMITTED))) == text
