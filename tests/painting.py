"""Small random pictures for the tests, and files that are not pictures."""

import struct
import zlib

import numpy as np
from PIL import Image


def paint(height, width, seed=0):
    """Return a smooth random picture with some noise: uint8, height x width x 3."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC), dtype=float)
    return np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def truncated(path):
    Image.fromarray(paint(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[:5000])


def broken_chunk(path):
    Image.fromarray(paint(20, 30)).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8 :] = b"\0" * 40
    path.write_bytes(data)


def bomb(path):
    """Write a PNG header for 60,000 x 60,000 pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))


BAD_PICTURES = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "a folder, not a picture"),
    "empty": (lambda path: path.write_bytes(b""), "not a picture in a format that Pillow reads"),
    "text": (lambda path: path.write_text("not a picture"), "not a picture in a format that Pillow reads"),
    "truncated": (truncated, "the picture is damaged"),
    "broken": (broken_chunk, "the picture is damaged"),
    "one pixel": (lambda path: Image.new("RGB", (1, 1)).save(path), "1 x 1 pixels are too few"),
    "a line": (lambda path: Image.new("RGB", (500, 3)).save(path), "3 x 500 pixels are too few"),
    "bomb": (bomb, "more pixels than the limit of"),
}
