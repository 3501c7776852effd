"""What artifacts say, in a store and on the Hub, as plain values to print: ls, show, log, diff."""

from lopd_store.inspect.differences import diff
from lopd_store.inspect.facts import sft_teacher
from lopd_store.inspect.stored import kind_of, log, ls, show, skipped

__all__ = ["diff", "kind_of", "log", "ls", "sft_teacher", "show", "skipped"]
