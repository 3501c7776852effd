"""The trainer that reads a signal and refuses the wrong teacher; it comes with its own release."""
