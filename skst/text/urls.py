"""Addresses of endpoints, and whether a key may go there."""

from ipaddress import ip_address
from urllib.parse import urlsplit

DEFAULT_URL = "https://api.openai.com/v1"


def fault_of_url(url):
    """What is wrong with the address of an endpoint, in a sentence; None if nothing is."""
    if isinstance(url, str) and any(sign in url for sign in "@?#"):
        # Not shown, for it may hold a password.
        return (
            "base_url holds a user name, a query or a fragment; leave scheme, host and path, and name the "
            "key's variable in api_key_env."
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except (AttributeError, TypeError, ValueError):
        valid = False
    return None if valid else f"base_url={url!r} is not an http or https address such as {DEFAULT_URL!r}."


def is_loopback(host):
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
