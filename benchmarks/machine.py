"""What the figures were measured on, in words that name no host."""

import os
import platform
from pathlib import Path


def describe() -> dict[str, str]:
    """Cores, architecture, memory and Python; nothing that names the machine or its owner."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": str(os.cpu_count()),
        "architecture": platform.machine(),
        "sha_instructions": "yes" if _has_sha() else "no",
        "memory": f"{pages * size / 2**30:.0f} GiB",
        "system": platform.system(),
        "python": platform.python_version(),
    }


def sentence() -> str:
    """The same as one line for a table's heading."""
    facts = describe()
    sha = "with" if facts["sha_instructions"] == "yes" else "without"
    return (
        f"{facts['cores']} cores {facts['architecture']} {sha} SHA instructions, "
        f"{facts['memory']}, {facts['system']}, Python {facts['python']}"
    )


def _has_sha() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "sha_ni" in flags or "sha2" in flags
