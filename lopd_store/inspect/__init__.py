"""What artifacts say, in a store and on the Hub, as plain values to print."""

from lopd_store.inspect.anywhere import show_named, skipped_named
from lopd_store.inspect.differences import diff
from lopd_store.inspect.facts import sft_teacher
from lopd_store.inspect.published import ls as ls_on_hub
from lopd_store.inspect.stored import kind_of, log, ls, show, skipped

__all__ = [
    "diff",
    "kind_of",
    "log",
    "ls",
    "ls_on_hub",
    "sft_teacher",
    "show",
    "show_named",
    "skipped",
    "skipped_named",
]
