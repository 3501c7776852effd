from pathlib import Path
from typing import Any

import duckdb

from examples.arithmetic.show import disagreements, table


def test_the_largest_disagreements_come_first_with_what_stands_before(
    tmp_path: Path, tokenizer: Any
) -> None:
    file = tmp_path / "signal.parquet"
    prompt = tokenizer("user\nAdd 1 and 2.\n")["input_ids"]
    response = tokenizer("1+2=4")["input_ids"]
    duckdb.sql(
        f"""copy (select {prompt} prompt_ids, {response} response_ids,
        [-0.5, -0.1, 0, 0, -9]::float[] teacher_logprobs,
        [-2.0, -0.1, 0, 0, -0.25]::float[] rollout_logprobs) to '{file}'"""
    )
    found = disagreements([file], rows=2)
    assert found == [
        (prompt, response[:4], response[4], -9.0, -0.25),
        (prompt, [], response[0], -0.5, -2.0),
    ]
    lines = table(found, tokenizer.backend_tokenizer)
    assert lines[1].split() == ["-9.00", "-0.25", "'4'", "Add", "1", "and", "2.", "1+2="]
