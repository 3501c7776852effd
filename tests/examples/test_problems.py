import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.arithmetic.problems import Problem, problems

addends = st.integers(min_value=100, max_value=999)


@given(left=addends, right=addends)
def test_every_solution_passes_its_checker_and_names_the_true_sum(left: int, right: int) -> None:
    problem = Problem(left, right)
    assert problem.accepts(problem.solution)
    assert problem.solution.endswith(f"Answer: {left + right}")


@given(left=addends, right=addends, wrong=st.integers(min_value=0, max_value=9999))
def test_every_other_answer_fails(left: int, right: int, wrong: int) -> None:
    problem = Problem(left, right)
    response = problem.solution.rpartition(" ")[0] + f" {wrong}"
    assert problem.accepts(response) == (wrong == left + right)


def test_the_worked_columns_are_those_of_paper_and_pencil() -> None:
    assert Problem(481, 952).solution == "1+2+0=03\n8+5+0=13\n4+9+1=14\nAnswer: 1433"


@pytest.mark.parametrize(
    "response",
    ["", "1433", "Answer: 1433!", "Answer: 1433\nAnswer: 1434", "Answer: 01433", "answer: 1433"],
    ids=["empty", "bare number", "trailing text", "second answer", "leading zero", "lower case"],
)
def test_a_response_that_does_not_end_in_the_answer_fails(response: str) -> None:
    assert not Problem(481, 952).accepts(response)


@given(seed=st.integers(min_value=0), other=st.integers(min_value=0))
def test_splits_never_share_a_problem_whatever_the_seeds(seed: int, other: int) -> None:
    train = set(problems("train", seed=seed, count=100))
    prompts = set(problems("prompts", seed=other, count=20))
    held_out = set(problems("held-out", seed=seed, count=20))
    assert not train & prompts
    assert not (train | prompts) & held_out


def test_the_same_seed_draws_the_same_problems_on_every_machine() -> None:
    drawn = problems("train", seed=0, count=4)
    assert drawn == [Problem(*pair) for pair in [(500, 471), (167, 408), (778, 699), (279, 191)]]


def test_another_seed_draws_other_problems() -> None:
    assert problems("train", seed=0, count=5) != problems("train", seed=1, count=5)


def test_drawn_problems_are_different() -> None:
    assert len(set(problems("prompts", seed=0, count=2000))) == 2000
