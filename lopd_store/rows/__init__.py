"""What a row is: columns and their types, sample ids, checks, content digest, precision.

Everything here works on Arrow buffers: no Python object per token.
"""
