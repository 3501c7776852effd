"""A live teacher behind a store: asked once for what is missing, kept on the disk, made rows.

`cache.py` answers, `upstream.py` asks the teacher, `journal.py` keeps what it said, `growth.py`
makes an artifact of it; `opening.py` puts them together.
"""
