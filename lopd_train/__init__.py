"""The trainer that reads a signal and refuses the wrong teacher; it arrives with its own release."""
