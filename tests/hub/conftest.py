"""A Hub, an account there, and who uses it."""

from tests.hub.fixtures import account, client, hub

__all__ = ["account", "client", "hub"]
