"""TLS faults in words: what is wrong with a certificate, and which side speaks no TLS.

>>> import ssl
>>> tls_fault(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"))[0]
'it speaks no TLS'
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl

PROBE_LIMIT = 3  # seconds for a handshake

# By OpenSSL's code (X509_V_ERR_...): what a certificate is, and what to do.
TRUST = "put its certificate or its CA into the file that SSL_CERT_FILE names"
CERTIFICATES = {
    9: ("is not valid yet", "is this machine's clock right?"),
    10: ("has expired", "renew it at the server, or is this machine's clock wrong?"),
    18: ("is self-signed", TRUST),
    19: ("is signed by a CA that this machine does not trust", TRUST),
    20: ("is signed by a CA that this machine does not trust", TRUST),
    21: ("is signed by a CA that this machine does not trust", TRUST),
    62: ("is for another host", "use the host's name that the certificate has"),
    64: ("is for another host", "use the host's name that the certificate has"),
}
# How OpenSSL calls it when the other side's first bytes are no TLS.
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")

# What servers reply (status 400) to plain HTTP on a port for TLS: nginx, Go, Apache.
TLS_WANTED = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|speaking plain HTTP"
)

TLS_ALERT = r"\x15\x03"  # how a library shows the first bytes of the reply of a server that speaks TLS


def tls_fault(error: ssl.SSLError) -> tuple[str, str]:
    """What is wrong, and what to do. The numbers of these errors are OpenSSL's, not the system's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what, advice = CERTIFICATES.get(error.verify_code, (f"is not valid: {error.verify_message}", TRUST))
        return f"its TLS certificate {what}", advice
    named = re.search(r"\[(?:\w+: )?([A-Z0-9_]+)\]", str(error))
    reason = named.group(1) if named else str(error.strerror or error)
    if reason in NO_TLS:
        return "it speaks no TLS", "write http:// instead of https://"
    return f"TLS failed: {reason.replace('_', ' ').lower()}", "is this a port for TLS?"


async def speaks_tls(host: str, port: int) -> bool:
    """Whether a server begins a TLS handshake with us, whatever its certificate is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), PROBE_LIMIT)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
