"""`lopd-train`: the entry point, which says what to install where torch is missing."""

import sys

from lopd_cli.output import echo
from lopd_store.errors import UsageError


def main() -> None:
    """Run the commands of `lopd_cli.training`."""
    try:
        from lopd_cli.training import commands
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"torch", "transformers"}:
            raise
        echo(f"error: expected the package {error.name}: pip install 'lopd[train]'", err=True)
        sys.exit(UsageError.exit_code)
    commands()


if __name__ == "__main__":
    main()
