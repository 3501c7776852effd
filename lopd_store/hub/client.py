"""The Hub's own client, as everything here asks for it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

LIBRARY: Final = "lopd"  # what it calls itself to the Hub


def api() -> Any:
    """The client; it reads its settings from the environment."""
    from huggingface_hub import HfApi

    return HfApi(library_name=LIBRARY)


@contextmanager
def no_bars_in_logs() -> Iterator[None]:
    """Within, the client draws its own bars on a terminal only, or as its user told it to."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    told = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
    if told or are_progress_bars_disabled() or sys.stderr.isatty():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
