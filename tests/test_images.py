"""What common/images.py promises: an image is sent whole, by the type of its bytes, or refused by name."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, List, Optional

import pytest

from common.errors import BadEntry
from common.images import image_type, load_images
from common.input.conversations import entry_from_conversation
from common.records import Entry
from common.servers.messages import chat_messages

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
GIF = b"GIF89a\x01\x00\x01\x00"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8 "
BMP = b"BM\x3a\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00"
SECRET = "the-secret-reference"


def entry(*pairs: str, images: Optional[List[str]] = None) -> Entry:
    """An entry of "role:text" turns."""
    turns = [dict(zip(("from", "value"), pair.split(":", 1))) for pair in pairs]
    return entry_from_conversation({"conversations": turns, "images": images})


def said(*pairs: str, images: str = "", system: Optional[str] = None) -> List[Any]:
    """The messages of an entry with an image for each letter, each content as text or as a list of its parts."""
    messages = chat_messages(entry(*pairs, images=list(images)), [f"url:{name}" for name in images], system)
    return [(message["role"], shown(message["content"])) for message in messages]


def shown(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [part["text"] if part["type"] == "text" else part["image_url"]["url"] for part in content]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (GIF, "image/gif"),
        (GIF.replace(b"89a", b"87a"), "image/gif"),
        (WEBP, "image/webp"),
        (BMP, "image/bmp"),
    ],
)
@pytest.mark.parametrize("name", ["right", "lie.png", "lie.jpg", "lie.txt"])
def test_an_image_is_sent_whole_with_the_type_of_its_bytes_whatever_its_name(
    tmp_path: Path, data: bytes, kind: str, name: str
) -> None:
    (tmp_path / name).write_bytes(data)
    (url,) = load_images([name], str(tmp_path))
    head, _, body = url.partition(",")
    assert head == f"data:{kind};base64"
    assert base64.b64decode(body, validate=True) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html><title>404</title>",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"RIFF",
        PNG[:7],
        b"\xef\xbb\xbf" + PNG,
        b"\n" + JPEG,
        b"\xff\xd8",
        b"GIF90a",
        b"II*\x00",
        b"%PDF-1.7",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"BM is short for benchmark",
        b"BM",
        b"BM\x3a\0\0\0\0\0\0",
        BMP[:6] + b"\1\0\0\0" + BMP[10:],
        BMP[:6] + b"\0\0\0\1" + BMP[10:],
    ],
)
def test_what_is_no_image_is_refused_by_its_path(tmp_path: Path, data: bytes) -> None:
    assert image_type(data) is None
    (tmp_path / "picture.png").write_bytes(data)
    with pytest.raises(BadEntry, match=r"picture\.png"):
        load_images(["picture.png"], str(tmp_path))


@pytest.mark.parametrize("name", ["missing.png", "folder", "missing/a.png", "nul\0.png", "x" * 300 + ".png"])
@pytest.mark.parametrize("stay_inside", [False, True])
def test_an_image_that_cannot_be_read_is_an_error_of_its_entry(tmp_path: Path, name: str, stay_inside: bool) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadEntry, match="no image but a folder" if name == "folder" else "cannot read image"):
        load_images([name], str(tmp_path), stay_inside)


@pytest.mark.parametrize("url", ["http://host/a.png", "https://host/a?b=c", "data:image/png;base64,iVBORw0KGgo="])
def test_urls_are_sent_as_they_are(url: str) -> None:
    assert load_images([url], "/nowhere", stay_inside=True) == [url]


def test_images_keep_their_order_and_repeats(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PNG)
    (tmp_path / "b").write_bytes(GIF)
    kinds = [url[:14] for url in load_images(["b", "a", "http://x/", "b"], str(tmp_path))]
    assert kinds == ["data:image/gif", "data:image/png", "http://x/", "data:image/gif"]


def test_a_relative_path_is_relative_to_the_root_and_not_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, data in (("root", PNG), ("here", GIF)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.img").write_bytes(data)
    monkeypatch.chdir(tmp_path / "here")
    assert load_images(["a.img"], str(tmp_path / "root"))[0].startswith("data:image/png;")
    assert load_images([str(tmp_path / "here" / "a.img")], str(tmp_path / "root"))[0].startswith("data:image/gif;")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with an image, images outside it (one in a folder whose name begins like the root's), and links."""
    for folder in ("root/sub", "root-too"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("root/in.png", "root/sub/deep.png", "root-too/out.png", "out.png"):
        (tmp_path / name).write_bytes(PNG)
    os.symlink(str(tmp_path / "out.png"), str(tmp_path / "root" / "leaving.png"))
    os.symlink(str(tmp_path / "root" / "in.png"), str(tmp_path / "root" / "sub" / "staying.png"))
    os.symlink(str(tmp_path / "root"), str(tmp_path / "linked-root"))
    return tmp_path


@pytest.mark.parametrize(
    "path", ["../out.png", "sub/../../out.png", "../root-too/out.png", "leaving.png", "{tree}/out.png", "/etc/passwd"]
)
@pytest.mark.parametrize("root", ["root", "linked-root"])
def test_no_image_outside_the_root_is_read_where_it_must_stay_inside(tree: Path, path: str, root: str) -> None:
    with pytest.raises(BadEntry, match="outside --image_root"):
        load_images([path.format(tree=tree)], str(tree / root), stay_inside=True)


@pytest.mark.parametrize(
    "path", ["in.png", "./in.png", "sub/deep.png", "sub/../in.png", "sub/staying.png", "{tree}/root/in.png"]
)
@pytest.mark.parametrize("root", ["root", "linked-root", "root/"])
def test_every_image_inside_the_root_is_read(tree: Path, path: str, root: str) -> None:
    assert len(load_images([path.format(tree=tree)], f"{tree}/{root}", stay_inside=True)) == 1


def test_without_an_image_root_a_path_may_lead_anywhere(tree: Path) -> None:
    assert len(load_images(["../out.png", "leaving.png"], str(tree / "root"))) == 2


def test_an_image_that_is_named_often_is_held_once_and_counts_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    urls = load_images(["a.png"] * 100, str(tmp_path))
    assert len(urls) == 100
    assert len({id(url) for url in urls}) == 1
    (tmp_path / "a.png").write_bytes(PNG + bytes(11 << 20))
    with pytest.raises(BadEntry, match="more than 100 MB together"):
        load_images(["a.png"] * 10, str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_and_a_device_are_no_images_and_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "pipe.png"))
    for path in ("pipe.png", "/dev/zero"):
        with pytest.raises(BadEntry, match="is no image but a device"):
            load_images([path], str(tmp_path))
