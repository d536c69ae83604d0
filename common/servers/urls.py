"""Base URLs of servers: the URLs below them, and the proxy on the way to them.

>>> endpoint("http://127.0.0.1:8000/v1", "chat/completions")
URL('http://127.0.0.1:8000/v1/chat/completions')
"""

from __future__ import annotations

import ipaddress
import urllib.request
from urllib.parse import urlsplit

from yarl import URL


def endpoint(base_url: str, path: str) -> URL:
    """The URL of ``path`` below a base URL, whose query stays.

    >>> endpoint("https://models.example/openai/?api-version=1", "models")
    URL('https://models.example/openai/models?api-version=1')
    """
    base = URL(base_url)
    return _with_path(base, f"{_path(base)}/{path}")


def metrics_url(base_url: str) -> URL:
    """The URL of a server's Prometheus metrics, which lie beside ``/v1``, not below it.

    >>> metrics_url("http://127.0.0.1:8000/v1")
    URL('http://127.0.0.1:8000/metrics')
    """
    base = URL(base_url)
    path = _path(base)
    root = path[: -len("/v1")] if path.endswith("/v1") else path
    return _with_path(base, f"{root}/metrics")


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, which a proxy cannot reach.

    >>> is_loopback("http://localhost:8000/v1"), is_loopback("http://10.0.0.1/v1")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_of(url: str) -> str | None:
    """The proxy that the environment (``http_proxy``, ``https_proxy``, ``no_proxy``) names for a URL, if any."""
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _path(url: URL) -> str:
    return url.raw_path.rstrip("/")


def _with_path(url: URL, path: str) -> URL:
    return url.with_path(path, encoded=True).with_query(url.query)
