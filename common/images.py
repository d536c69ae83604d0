"""Images: what a file's bytes are, and files as data URLs.

Example: ``load_images(["cat.png"], root="data")``
"""

from __future__ import annotations

import os
import stat
from typing import Dict, List, Optional, Sequence

from pybase64 import b64encode_as_string

from .errors import BadEntry

BYTES = "application/octet-stream"  # the type of bytes that are not an image
MOST_BYTES = 100 << 20  # of an entry's images together: more than any hosted API takes in a request
LFS_POINTER = b"version https://git-lfs."  # how a file begins whose content git-lfs has not fetched
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_type(data: bytes) -> Optional[str]:
    """The MIME type that an image's first bytes prove (PNG, JPEG, GIF, WebP, BMP), or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] == b"BM" and data[6:10] == bytes(4):  # the reserved bytes: many a text begins with BM
        return "image/bmp"
    return next((kind for magic, kind in MAGIC if data.startswith(magic)), None)


def data_url(data: bytes) -> Optional[str]:
    """An image as a base64 data URL; None if its bytes are none that ``image_type`` knows."""
    kind = image_type(data)
    return kind and f"data:{kind};base64,{b64encode_as_string(data)}"


def bytes_url(data: bytes) -> str:
    """Bytes of any type as a base64 data URL."""
    return f"data:{image_type(data) or BYTES};base64,{b64encode_as_string(data)}"


def load_images(paths: Sequence[str], root: str, stay_inside: bool = False, max_bytes: int = 20 << 20) -> List[str]:
    """The URLs of an entry's images: files as base64 data URLs, ``http(s):`` and ``data:`` URLs as they are.

    Relative paths are relative to ``root``; with ``stay_inside`` the real path must lie below it. No file may be
    larger than ``max_bytes``. An image that is named twice is read once, but it is sent twice, so it counts twice.
    Reads from disk: call it off the event loop. BadEntry names what is missing or no image.
    """
    urls: Dict[str, str] = {}
    size = 0
    for path in paths:
        if path not in urls:
            urls[path] = _image_url(path, root, stay_inside, max_bytes)
        size += len(urls[path]) * 3 // 4  # base64
        if size > max(MOST_BYTES, max_bytes):
            raise BadEntry(f"its images have more than {max(MOST_BYTES, max_bytes) >> 20} MB together")
    return [urls[path] for path in paths]


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file, and does not wait for a writer where it turned into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _image_url(path: str, root: str, stay_inside: bool, max_bytes: int) -> str:
    if path.startswith(("http://", "https://", "data:")):
        return path
    full = os.path.join(root, path)
    try:
        inside = os.path.realpath(root)
        if stay_inside and os.path.commonpath([inside, os.path.realpath(full)]) != inside:
            raise BadEntry(f"image {path} lies outside --image_root {root}")
        found = os.stat(full)
        if not stat.S_ISREG(found.st_mode):
            raise BadEntry(f"{full} is no image but a {'folder' if stat.S_ISDIR(found.st_mode) else 'device'}")
        with open(full, "rb", opener=_open_at_once) as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise BadEntry(f"cannot read image {full}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > max_bytes:
        raise BadEntry(f"{full} is larger than --max_image_mb {max_bytes / (1 << 20):g}")
    url = data_url(data)
    if data.startswith(LFS_POINTER):
        raise BadEntry(f"{full} is a git-lfs pointer, not the image; get the image with: git lfs pull")
    if url is None:
        raise BadEntry(f"{full} is no PNG, JPEG, GIF, WebP or BMP image")
    return url
