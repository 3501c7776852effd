"""What the trainer adds to the error tree of `lopd_store.errors`."""

from lopd_store.errors import LopdError


class DivergedError(LopdError):
    """A loss or a gradient that is not finite: training cannot go on from here."""
