from pathlib import Path
from typing import Any

import duckdb

from examples.arithmetic.show import disagreements, table


def test_the_largest_disagreement_of_each_rollout_is_shown_with_what_stands_before(
    tmp_path: Path, tokenizer: Any
) -> None:
    file = tmp_path / "signal.parquet"
    prompt = tokenizer("user\nAdd 1 and 2.\n")["input_ids"]
    response = tokenizer("1+2=4")["input_ids"]
    duckdb.sql(
        f"""copy (
            select 'a' sample_id, {prompt} prompt_ids, {response} response_ids,
                [-0.5, -0.1, 0, 0, -9]::float[] teacher_logprobs,
                [-2.0, -0.1, 0, 0, -0.25]::float[] rollout_logprobs
            union all
            select 'b', {prompt}, {response[:1]}, [-20.0]::float[], [-0.5]::float[]
        ) to '{file}'"""
    )
    found = disagreements([file], rows=2)
    assert found == [
        (prompt, [], response[0], -20.0, -0.5),
        (prompt, response[:4], response[4], -9.0, -0.25),
    ]
    lines = table(found, tokenizer.backend_tokenizer)
    assert lines[2].split() == ["-9.00", "-0.25", "'4'", "Add", "1", "and", "2.", "1+2="]
