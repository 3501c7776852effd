"""An artifact of a store goes to the Hub: derived, described, committed at once."""
