"""Where teacher and student disagree most: plain SQL over a signal's Parquet shards.

python -m examples.arithmetic.show .demo/store demo/signal .demo/teacher
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
from tokenizers import Tokenizer

from examples.arithmetic.shards import shard_files

ROWS: Final = 12
CONTEXT_CHARACTERS: Final = 40
QUERY: Final = """
with tokens as (
    select
        sample_id,
        prompt_ids,
        response_ids,
        unnest(response_ids) as token,
        unnest(teacher_logprobs) as teacher,
        unnest(rollout_logprobs) as student,
        unnest(range(len(response_ids))) as position
    from read_parquet($files)
)
select
    prompt_ids,
    response_ids[1:position] as before,
    token,
    teacher,
    student
from tokens
qualify row_number() over (
    partition by sample_id order by abs(teacher - student) desc, position
) = 1
order by abs(teacher - student) desc, sample_id
limit $rows
"""


def disagreements(files: Sequence[Path], *, rows: int = ROWS) -> list[tuple[Any, ...]]:
    """The largest |teacher_logprobs - rollout_logprobs| of each rollout, largest first.

    Returns:
        (prompt ids, response ids before the token, token id, teacher nats, student nats) each.
    """
    names = [str(file) for file in files]
    with duckdb.connect() as connection:
        found: list[tuple[Any, ...]] = connection.execute(
            QUERY, {"files": names, "rows": rows}
        ).fetchall()
    return found


def table(found: Sequence[tuple[Any, ...]], tokenizer: Tokenizer) -> list[str]:
    """One line of text a token: both log-probs, the token, what stands before it."""
    lines = [f"{'teacher':>9} {'student':>9}  {'token':14} after"]
    for prompt, before, token, teacher, student in found:
        text = repr(tokenizer.decode([token], skip_special_tokens=False))
        question = tokenizer.decode(prompt, skip_special_tokens=True).split("\n")[1]
        worked = tokenizer.decode(before, skip_special_tokens=False).replace("\n", " | ")
        lines.append(
            f"{teacher:9.2f} {student:9.2f}  {text:14} {question} {worked[-CONTEXT_CHARACTERS:]}"
        )
    return lines


if __name__ == "__main__":
    store, ref, model = sys.argv[1:]
    tokenizer = Tokenizer.from_file(str(Path(model, "tokenizer.json")))
    print(QUERY.strip(), "\n")
    print("\n".join(table(disagreements(shard_files(Path(store), ref)), tokenizer)))
