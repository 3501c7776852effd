"""What is said of the Hub's errors holds no secret: no token, no signed link."""

import pytest

from lopd_store.errors import HubError
from lopd_store.hub.explaining import reading, writing

SIGNED = "https://cdn.example/repo/blob?Expires=1&Signature=abc&Key-Pair-Id=K"
TOKEN = "hf_abcdefghijklmnop"  # noqa: S105 - nobody's


@pytest.mark.parametrize("secret", [TOKEN, "Signature=abc"], ids=["token", "signed link"])
def test_no_secret_is_said(secret: str) -> None:
    text = f"503 Server Error for url: {SIGNED} with {TOKEN}\n(Request ID: x)"
    address = r"cdn\.example/repo/blob"
    with (
        pytest.raises(HubError, match=address) as read,
        reading("org/data", "org/data", "dataset"),
    ):
        raise OSError(text)
    with pytest.raises(HubError, match=address) as written, writing("org/data"):
        raise OSError(text)
    assert secret not in str(read.value) + str(written.value)
