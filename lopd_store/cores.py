"""How many cores there are to use: in a container, or under taskset, not all of the machine."""

import os


def usable_cores() -> int:
    """The cores this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
