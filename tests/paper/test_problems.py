"""Problems in two styles: what they look like, who is right, and who sees which."""

import random

from benchmarks.paper.problems import SPLITS, Problem, problems
from benchmarks.paper.tokenizer import END, UNUSED, encode, new_tokenizer

SUM = Problem(481, 952)


def test_the_two_styles_are_written_as_the_page_says() -> None:
    source = random.Random(0)  # noqa: S311
    assert SUM.solution(first_style=1, source=source) == "1+2+0=03;8+5+0=13;4+9+1=14;#1433"
    assert SUM.solution(first_style=0, source=source) == "[210>30][580>31][941>41]#1433"


def test_only_the_answer_is_judged_and_only_at_the_end() -> None:
    assert SUM.accepts("nonsense#1433")
    assert not SUM.accepts("1+2+0=03;#1434")
    assert not SUM.accepts("#1433;")


def test_no_problem_is_in_two_splits_and_every_seed_draws_its_own() -> None:
    drawn = {split: set(problems(split, seed=0, count=50)) for split in SPLITS}
    assert len(set().union(*drawn.values())) == 50 * len(SPLITS)
    assert problems("final", seed=1, count=50) != problems("final", seed=0, count=50)
    assert problems("final", seed=1, count=50) == problems("final", seed=1, count=50)


def test_every_character_is_one_token_and_comes_back() -> None:
    tokenizer = new_tokenizer()
    source = random.Random(1)  # noqa: S311
    text = SUM.question + SUM.solution(first_style=0.5, source=source)
    ids = encode(tokenizer, text + END)
    assert len(ids) == len(text) + 1
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) == 33  # with the one that Qwen2 adds for what it does not know
    assert not set(text) & set(UNUSED)
