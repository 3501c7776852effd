"""Signals of other tools become artifacts, and no better than they are.

`import_file` reads a file through its adapter, checks every row, and publishes it with what the
importer says (`Claims`) recorded as asserted and the rest as unknown: docs/adr/0010.
"""

from lopd_store.importing.claims import Claims, NamedTokenizer
from lopd_store.importing.run import Import, import_file

__all__ = ["Claims", "Import", "NamedTokenizer", "import_file"]
