"""The Hub's own client, as everything here asks for it."""

from typing import Any, Final

LIBRARY: Final = "lopd"  # what it calls itself to the Hub


def api() -> Any:
    """The client; it reads its settings from the environment."""
    from huggingface_hub import HfApi

    return HfApi(library_name=LIBRARY)
