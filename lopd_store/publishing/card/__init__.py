"""The card of an artifact on the Hub: its text, its YAML, its picture.

`measure` counts the rows once; `render` and `draw` are pure functions of what it found and of the
artifact's documents, so that the same artifact gives the same card.
"""

from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.histogram import draw
from lopd_store.publishing.card.rendering import render, stated_license
from lopd_store.publishing.card.statistics import Statistics, measure

__all__ = ["CardFacts", "Statistics", "draw", "measure", "render", "stated_license"]
