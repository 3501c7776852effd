"""The stated largest error holds for every float32 log-prob."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lopd_store.errors import UsageError
from lopd_store.rows.precision import Precision

QUICK = settings(deadline=None, max_examples=60)
EXPONENTS = st.integers(1, 24)
NEGATIVE = st.one_of(
    st.floats(max_value=0.0, allow_nan=False, allow_infinity=False, width=32),
    st.floats(min_value=-1.0, max_value=0.0, width=32),
    st.floats(min_value=-(2.0**-10), max_value=0.0, width=32),
)
LOGPROBS = hnp.arrays(np.float32, st.integers(0, 20), elements=NEGATIVE)


@QUICK
@given(EXPONENTS, LOGPROBS)
def test_the_error_is_at_most_what_is_stated(n: int, x: npt.NDArray[np.float32]) -> None:
    rounded = Precision(n).round(x)
    assert rounded.dtype == np.float32
    assert (np.abs(rounded.astype(np.float64) - x.astype(np.float64)) <= 2.0**-n).all()
    assert (rounded <= 0).all()
    assert not np.signbit(rounded[rounded == 0]).any()


@QUICK
@given(EXPONENTS, LOGPROBS)
def test_rounding_again_changes_nothing(n: int, x: npt.NDArray[np.float32]) -> None:
    rounded = Precision(n).round(x)
    assert np.array_equal(Precision(n).round(rounded), rounded)


@QUICK
@given(EXPONENTS, LOGPROBS)
def test_results_stand_on_a_grid_of_twice_the_error(n: int, x: npt.NDArray[np.float32]) -> None:
    steps = Precision(n).round(x).astype(np.float64) * 2.0 ** (n - 1)
    assert np.array_equal(steps, np.rint(steps))


def test_values_coarser_than_the_grid_stay_as_they_are() -> None:
    x = np.array([-(2.0**14) - 2.0**-9, -1e30, -(2.0**23) - 1], np.float32)
    assert np.array_equal(Precision(12).round(x), x)


def test_hand_rounded_values() -> None:
    # the grid of 2^-12 has a step of 2^-11 = 0.00048828125
    x = np.array([0.0, -0.0, -0.0002, -0.0003, -1.0, -0.6931472], np.float32)
    expected = np.array([0.0, 0.0, 0.0, -(2.0**-11), -1.0, -1420 * 2.0**-11], np.float32)
    assert np.array_equal(Precision.parse("2^-12").round(x), expected)


@QUICK
@given(LOGPROBS)
def test_exact_changes_nothing_but_negative_zero(x: npt.NDArray[np.float32]) -> None:
    found = Precision.parse("exact").round(x)
    assert np.array_equal(found, x)
    assert not np.signbit(found[found == 0]).any()


def test_lists_keep_their_rows_and_nulls() -> None:
    column = pa.array([[-9.0], [-0.3, -1.0], None, []], pa.list_(pa.float32())).slice(1)
    assert Precision(1).round_lists(column).to_pylist() == [[0.0, -1.0], None, []]


@pytest.mark.parametrize("text", ["exact", "2^-1", "2^-12", "2^-24"])
def test_texts_round_trip(text: str) -> None:
    assert Precision.parse(text).text == text


def test_the_largest_error_is_the_power_named() -> None:
    assert Precision.parse("2^-12").max_error == 0.000244140625
    assert Precision.parse("exact").max_error == 0.0


@pytest.mark.parametrize(
    "text", ["", "2^12", "2^-0", "2^-25", "1e-4", "2^-012", "Exact", "2^-12\n"]
)
def test_another_spelling_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="such as 2\\^-12"):
        Precision.parse(text)


def test_a_stray_is_a_value_that_rounding_would_change() -> None:
    values = np.array([-0.5, -0.25, -0.1, 0.0, -np.inf, np.nan], np.float32)
    assert Precision.parse("2^-2").strays(values).tolist() == [False, True, True, *[False] * 3]
    assert not Precision.parse("exact").strays(values).any()


@pytest.mark.parametrize("exponent", [0, 25, "exact"], ids=str)
def test_a_precision_outside_its_range_cannot_exist(exponent: Any) -> None:
    with pytest.raises(UsageError, match="exponent from 1 to 24"):
        Precision(exponent)
