"""Base URLs of servers: the URLs below them, and the proxy on the way to them.

>>> endpoint("http://127.0.0.1:8000/v1", "chat/completions")
URL('http://127.0.0.1:8000/v1/chat/completions')
"""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
from urllib.parse import urlsplit

from yarl import URL

from ..errors import UsageError

# What users copy along with the base URL.
_ENDPOINT = re.compile(r"/+(?:chat/completions|completions|responses|embeddings|models)/*$")
_VERSION = re.compile(r"/v\d")


def base_url(text: str) -> str:
    """A base URL as it is kept: without a slash, a fragment or an endpoint at its path's end. ValueError if it is not.

    >>> base_url("https://models.example/v1/chat/completions?api-version=1")
    'https://models.example/v1?api-version=1'
    """
    parts = urlsplit(text)
    if parts.username is not None:
        raise ValueError("must not contain a user or password; the key comes from the environment")
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and URL(text).host
    except ValueError:
        usable = None
    if not usable:
        raise ValueError(f"must be a URL such as http://127.0.0.1:8000/v1, not {text!r}")
    return parts._replace(path=_ENDPOINT.sub("", parts.path).rstrip("/"), fragment="").geturl()


def has_version(url: str) -> bool:
    """Whether a base URL's path names a version of the API, such as ``/v1`` or ``/v1beta/openai``.

    >>> has_version("http://127.0.0.1:8000/v1"), has_version("http://127.0.0.1:8000")
    (True, False)
    """
    return _VERSION.search(urlsplit(url).path) is not None


def with_version(url: str) -> str:
    """A base URL with ``/v1`` at the end of its path.

    >>> with_version("http://127.0.0.1:8000?key=1")
    'http://127.0.0.1:8000/v1?key=1'
    """
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rstrip("/") + "/v1").geturl()


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
    return root_endpoint(base_url, "metrics")


def root_endpoint(base_url: str, path: str) -> URL:
    """The URL of a ``path`` that lies beside ``/v1``.

    >>> root_endpoint("https://models.example/rm/v1", "classify")
    URL('https://models.example/rm/classify')
    """
    base = URL(base_url)
    root = _path(base)
    root = root[: -len("/v1")] if root.endswith("/v1") else root
    return _with_path(base, f"{root}/{path}")


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
    """The proxy that the environment (``http_proxy``, ``https_proxy``, ``no_proxy``) names for a URL, if any.

    UsageError if it is not one that can be used.
    """
    parts = urlsplit(url)
    if is_loopback(url) or urllib.request.proxy_bypass(parts.netloc):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not re.match("https?://[^/]", proxy, re.I):
        _refuse_proxy(parts.scheme, proxy)
    return proxy


def without_password(proxy: str) -> str:
    """A proxy's URL as it may be shown.

    >>> without_password("http://me:secret@proxy:3128")
    'http://proxy:3128'
    """
    return re.sub(r"^(\w+://)?.*@", r"\1", proxy)


def _refuse_proxy(scheme: str, proxy: str) -> None:
    name, shown = f"{scheme}_proxy", without_password(proxy)
    name = name if name in os.environ else name.upper()
    if "://" not in proxy:
        raise UsageError(
            f"the environment variable {name} names a proxy without a scheme: write http://{shown.lstrip('/')}"
        )
    raise UsageError(
        f"the environment variable {name} names the proxy {shown}: only http:// proxies can be used; "
        "name one, or add the server's host to NO_PROXY"
    )


def _path(url: URL) -> str:
    return url.raw_path.rstrip("/")


def _with_path(url: URL, path: str) -> URL:
    query = f"?{url.raw_query_string}" if url.raw_query_string else ""
    return URL(f"{url.scheme}://{url.raw_authority}{path}{query}", encoded=True)
