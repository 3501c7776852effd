"""Pages that are written from the code say what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "schemas").glob("*.md")]
)


def test_the_command_reference_is_what_the_commands_say_of_themselves() -> None:
    """In a process of its own: click remembers the help option of a command that was asked."""
    page = ROOT / "docs" / "reference.py"
    written = subprocess.run([sys.executable, page], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "cli.md").read_text() == written.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_every_package_folder_stands_in_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for folder in (ROOT / "lopd_store").iterdir():
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert f"  {folder.name}/" in page, folder.name


def test_every_module_stands_in_the_architecture_page() -> None:
    named = set(re.findall(r"\w+\.py", (ROOT / "docs" / "architecture.md").read_text()))
    packages = (ROOT / "lopd_store", ROOT / "lopd_train", ROOT / "cli" / "lopd_cli")
    there = {path.name for package in packages for path in package.rglob("*.py")}
    assert there - {"__init__.py"} <= named
