"""The names that people import: listed, in order, each with a sentence of its own."""

import inspect

import pytest

import lopd_store
import lopd_train

FACADES = pytest.mark.parametrize("facade", [lopd_store, lopd_train], ids=lambda it: it.__name__)


@FACADES
def test_the_list_of_names_is_sorted_and_each_is_there(facade: object) -> None:
    names = facade.__all__  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(facade, name)] == []


@FACADES
def test_every_name_says_what_it_is(facade: object) -> None:
    names = facade.__all__  # type: ignore[attr-defined]
    silent = [name for name in names if not inspect.getdoc(getattr(facade, name))]
    assert silent == []
