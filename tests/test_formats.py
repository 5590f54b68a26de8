"""Picture files beside JPEG and PNG: sizes that lie, memory, and what goes to standard error."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from sphinx_ros.errors import BadImage
from sphinx_ros.image.formats import decode_file

RGB = np.random.default_rng(5).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def saved(format, mode="RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, format, **options)
    return file.getvalue()


def animated(canvas=None) -> bytes:
    """A WebP file of two pictures. canvas: the (width, height) that it states."""
    others = [Image.fromarray(255 - RGB)]
    data = bytearray(saved("WEBP", save_all=True, append_images=others, lossless=True))
    if canvas:
        at = data.find(b"VP8X") + 12
        data[at : at + 6] = b"".join((side - 1).to_bytes(3, "little") for side in canvas)
    return bytes(data)


def tiff(tile, size=(16, 16), compression=8, packed=None) -> bytes:
    """A grey TIFF of one tile, little-endian."""
    packed = zlib.compress(b"\x80" * 100) if packed is None else packed
    tags = [(256, size[0]), (257, size[1]), (258, 8), (259, compression), (262, 1), (277, 1)]
    tags += [(322, tile[0]), (323, tile[1]), (324, 8 + 2 + 12 * 10 + 4), (325, len(packed))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4) + packed


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_pixels_are_those_of_the_file(lossless, mode):
    data = saved("WEBP", mode, lossless=lossless)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_file(data), expected)
    assert not lossless or np.array_equal(expected, RGB)


def test_the_first_picture_of_an_animation_stands_on_its_canvas():
    assert np.array_equal(decode_file(animated()), RGB)
    wide = decode_file(animated((50, 30)))
    assert np.array_equal(wide[:24, :40], RGB) and not wide[24:].any() and not wide[:, 40:].any()


def test_a_turned_webp_is_shown_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(decode_file(saved("WEBP", lossless=True, exif=exif)), np.rot90(RGB, 3))


@pytest.mark.parametrize("canvas", [(13500, 13500), (1 << 24, 1 << 24)])
def test_a_canvas_above_the_limit_is_named_with_size_and_limit(canvas):
    with pytest.raises(BadImage, match=f"{canvas[0]}x{canvas[1]}.*limit is 64000000"):
        decode_file(animated(canvas))


def test_a_small_picture_on_a_large_canvas_costs_the_canvas_once():
    data = animated((4000, 3000))
    tracemalloc.start()
    assert decode_file(data).shape == (3000, 4000, 3)
    assert tracemalloc.get_traced_memory()[1] < 1.2 * 3 * 4000 * 3000
    tracemalloc.stop()


@pytest.mark.parametrize("make", [animated, lambda: saved("WEBP"), lambda: saved("TIFF")])
def test_no_piece_and_no_damage_is_a_defect(make, capfd):
    whole = make()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        broken = bytearray(whole)
        broken[place] ^= 0x5A
        for data in (whole[:place], bytes(broken)):
            try:
                decode_file(data)
            except BadImage:
                pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("side", [16, 1024, 16384, 30000])
def test_damaged_tiles_print_nothing_and_cost_no_more_than_a_usual_one(side, compression, capfd):
    with pytest.raises(BadImage, match="tiles of" if side > 1024 else "can't be decoded"):
        decode_file(tiff((side, side), compression=compression))
    assert capfd.readouterr() == ("", "")


def test_what_the_library_says_is_the_reason():
    with pytest.raises(BadImage, match="Not enough data"):
        decode_file(tiff((16, 16)))


def test_tiles_larger_than_the_picture_are_usual():
    data = tiff((512, 512), packed=zlib.compress(bytes([77]) * 512 * 512))
    assert (decode_file(data) == 77).all() and decode_file(data).shape == (16, 16, 3)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        assert np.array_equal(decode_file(saved("TIFF", compression=compression)), RGB)


def test_what_others_write_to_standard_error_meanwhile_is_passed_on(capfd, monkeypatch):
    from PIL import TiffImagePlugin

    load = TiffImagePlugin.TiffImageFile.load

    def spoken(self):
        os.write(2, b"something else\n")
        return load(self)

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", spoken)
    decode_file(saved("TIFF"))
    assert "something else" in capfd.readouterr().err
