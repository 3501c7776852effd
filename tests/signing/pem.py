"""Key files: the first two keys of RFC 8032 as RFC 8410 spells keys, and how to spell others."""


def pem(label: str, body: str) -> str:
    """A PEM file of one block."""
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


PRIVATE_BODY = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"
PRIVATE = pem("PRIVATE KEY", PRIVATE_BODY)
PUBLIC = pem("PUBLIC KEY", "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
KEY_ID = "sha256:06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9"
OTHER_PRIVATE = pem(
    "PRIVATE KEY", "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7"
)
