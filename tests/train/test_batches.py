"""Steps cover every row, micro-batches keep their budget, shares leave nothing out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lopd_train.batches import Layout, Steps, micro_batches, share

LAYOUTS = st.sampled_from(["padded", "packed"])


@given(rows=st.integers(1, 60), batch=st.integers(1, 80), seed=st.integers(0, 9), epochs=st.just(3))
def test_every_epoch_has_every_row_once(rows: int, batch: int, seed: int, epochs: int) -> None:
    steps = Steps(rows, batch=batch, seed=seed)
    count = -(-rows * epochs // batch)
    stream = np.concatenate([steps.rows_of(step) for step in range(count)])
    for epoch in range(epochs):
        assert sorted(stream[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    budget=st.integers(1, 120),
    layout=LAYOUTS,
    world=st.integers(1, 9),
)
def test_shares_of_a_step_have_every_row_once_in_as_many_micro_batches(
    lengths: list[int], budget: int, layout: Layout, world: int
) -> None:
    micro = micro_batches(np.arange(len(lengths)), np.array(lengths), budget=budget, layout=layout)
    shares = [share(micro, rank=rank, world=world) for rank in range(world)]
    assert len({len(mine) for mine in shares}) == 1
    found = [int(row) for mine in shares for rows in mine for row in rows]
    assert sorted(found) == list(range(len(lengths)))
