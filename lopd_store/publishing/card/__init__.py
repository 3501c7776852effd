"""The card of an artifact on the Hub: its text, its YAML, its picture.

`statistics.measure` counts the rows once; `rendering.render` and `histogram.draw` are functions of
what it found and of the artifact's documents, so that the same artifact gives the same card.
"""
