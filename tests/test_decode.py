"""Every camera encoding against a reference written pixel by pixel, and the bytes that lie."""

import array
import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin

from sphinx_ros.errors import BadImage, Status
from sphinx_ros.image.decode import ENCODINGS, decode_compressed, decode_image, filled_bits
from sphinx_ros.image.yuv import PLANAR

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (6, 8), dtype=np.uint16)


def padded(rows: np.ndarray, extra: int) -> tuple[bytes, int]:
    """Rows as bytes with `extra` bytes of rubbish after each; and the step."""
    flat = rows.reshape(rows.shape[0], -1).view(np.uint8)
    rubbish = RNG.integers(0, 256, (rows.shape[0], extra), dtype=np.uint8)
    return np.hstack([flat, rubbish]).tobytes(), flat.shape[1] + extra


def with_alpha(picture):
    return np.dstack([picture, np.full(picture.shape[:2], 77, picture.dtype)])


def to8(value) -> int:
    return round(int(value) * 255 / 65535)


RGB16 = RGB.astype(np.uint16) * 257
PACKED = {
    "rgb8": RGB,
    "bgr8": RGB[:, :, ::-1],
    "rgba8": with_alpha(RGB),
    "bgra8": with_alpha(RGB[:, :, ::-1]),
    "8UC3": RGB[:, :, ::-1],
    "8UC4": with_alpha(RGB[:, :, ::-1]),
    "rgb16": RGB16,
    "bgr16": RGB16[:, :, ::-1],
    "rgba16": with_alpha(RGB16),
    "bgra16": with_alpha(RGB16[:, :, ::-1]),
    "16UC3": RGB16[:, :, ::-1],
    "16UC4": with_alpha(RGB16[:, :, ::-1]),
}


@pytest.mark.parametrize("extra", [0, 5, 24])
@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("encoding", PACKED)
def test_packed_colour(encoding, bigendian, extra):
    picture = np.ascontiguousarray(PACKED[encoding])
    if bigendian and picture.dtype == np.uint16:
        picture = picture.byteswap()
    data, step = padded(picture, extra * picture.itemsize)
    assert np.array_equal(decode_image(data, 8, 6, encoding, step, bigendian), RGB)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
@pytest.mark.parametrize("extra", [0, 3])
def test_grey(encoding, extra):
    data, step = padded(np.ascontiguousarray(RGB[:, :, 0]), extra)
    out = decode_image(data, 8, 6, encoding, step)
    assert all(np.array_equal(out[:, :, c], RGB[:, :, 0]) for c in range(3))


@pytest.mark.parametrize("bigendian", [False, True])
def test_mono16_is_scaled_from_the_full_range(bigendian):
    data, step = padded(GREY16.byteswap() if bigendian else GREY16, 4)
    out = decode_image(data, 8, 6, "mono16", step, bigendian)
    expected = np.vectorize(to8)(GREY16)
    assert np.abs(out[:, :, 1].astype(int) - expected).max() == 0


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "rgb16", "bgra16"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_cameras_of_fewer_bits(encoding, bits):
    """The brightest value of the camera is white, and what it fills can be told."""
    channels = 3 if "rgb1" in encoding else 4 if "bgra" in encoding else 1
    brightest = np.full((6, 8, channels), 2**bits - 1, np.uint16)
    data = brightest.tobytes()
    assert (decode_image(data, 8, 6, encoding, bits=bits) == 255).all()
    assert filled_bits(data, 8, 6, encoding) == bits
    half = (brightest // 2).tobytes()
    assert (np.abs(decode_image(half, 8, 6, encoding, bits=bits).astype(int) - 127) <= 1).all()
    assert filled_bits(brightest.byteswap().tobytes(), 8, 6, encoding, 0, True) == bits


def test_bits_concern_pictures_of_16_bits_only():
    assert np.array_equal(decode_image(RGB.tobytes(), 8, 6, "rgb8", bits=10), RGB)
    assert filled_bits(RGB.tobytes(), 8, 6, "rgb8") == filled_bits(b"1" * 96, 8, 6, "16UC1") == 0
    deep = cv2.imencode(".png", np.full((6, 8), 4095, np.uint16))[1].tobytes()
    assert (decode_compressed(deep, "mono16; png compressed mono16", bits=12) == 255).all()


@pytest.mark.parametrize("encoding, dtype", [("16UC1", np.uint16), ("32FC1", np.float32)])
def test_depth_is_stretched_and_holes_are_black(encoding, dtype):
    depth = np.linspace(500, 4000, 48).reshape(6, 8).astype(dtype)
    depth[2, 3] = 0
    if dtype == np.float32:
        depth[1, 1], depth[4, 4] = np.nan, np.inf
    out = decode_image(depth.tobytes(), 8, 6, encoding)[:, :, 0]
    assert out[0, 0] == 1 and out[5, 7] == 255 and out[2, 3] == 0
    assert abs(int(out[0, 4]) - (1 + 254 * 4 / 47)) <= 1
    if dtype == np.float32:
        assert out[1, 1] == 0 and out[4, 4] == 0


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("low, high", [(-3e38, 3e38), (1e-44, 3e-44), (-1e-30, 1e-30), (5, 5)])
def test_depth_of_any_range_is_stretched_without_a_warning(recwarn, low, high, order):
    depth = np.array([[low, np.nan, high, -np.inf]], order + "f4")
    out = decode_image(depth.tobytes(), 4, 1, "32FC1", is_bigendian=order == ">")[0, :, 0]
    assert out.tolist() == [1, 0, 255 if high > low else 1, 0] and not recwarn.list


def test_depth_without_a_valid_value_is_black():
    assert not decode_image(np.zeros((6, 8), np.float32), 8, 6, "32FC1").any()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bigendian", [False, True])
def test_bayer_finds_the_colour_of_a_plain_area(pattern, bits, bigendian):
    """Over a plain colour every demosaicing must return that colour, whatever it interpolates."""
    colour = dict(r=200, g=90, b=30)
    cell = np.array([colour[c] for c in pattern]).reshape(2, 2)
    mosaic = np.tile(cell, (4, 5)).astype(np.uint8)
    if bits == 16:
        mosaic = mosaic.astype(">u2" if bigendian else "<u2") * 257
        mosaic = mosaic.astype(">u2" if bigendian else "<u2")
    data, step = padded(mosaic, 6)
    out = decode_image(data, 10, 8, f"bayer_{pattern}{bits}", step, bigendian)
    assert np.array_equal(out, np.full((8, 10, 3), (200, 90, 30), np.uint8))


def bt601(y, u, v):
    """Video-range BT.601 for one pixel, from the standard's coefficients."""
    y, u, v = 255 / 219 * max(y - 16, 0), u - 128, v - 128
    red = y + 1.402 * 255 / 224 * v
    blue = y + 1.772 * 255 / 224 * u
    green = y - (0.299 * 1.402 * v + 0.114 * 1.772 * u) / 0.587 * 255 / 224
    return [min(max(c, 0), 255) for c in (red, green, blue)]


LUMA = RNG.integers(16, 236, (6, 8), dtype=np.uint8)
HALF_U, HALF_V = RNG.integers(64, 192, (2, 6, 4), dtype=np.uint8)  # a pair for two pixels of a row
QUARTER_U, QUARTER_V = HALF_U[::2], HALF_V[::2]
FULL_U, FULL_V = RNG.integers(64, 192, (2, 6, 8), dtype=np.uint8)


def expected_yuv(u, v):
    """Reference picture; u and v are repeated to the brightness plane's resolution."""
    grow = lambda p: p.repeat(6 // p.shape[0], 0).repeat(8 // p.shape[1], 1)  # noqa: E731
    u, v = grow(u), grow(v)
    return np.array(
        [[bt601(int(LUMA[r, c]), int(u[r, c]), int(v[r, c])) for c in range(8)] for r in range(6)]
    )


@pytest.mark.parametrize("extra", [0, 6])
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv422(encoding, extra):
    first, second = (1, 0) if encoding in ("yuv422", "uyvy") else (0, 1)
    packed = np.empty((6, 8, 2), np.uint8)
    packed[:, :, first] = LUMA
    packed[:, 0::2, second], packed[:, 1::2, second] = HALF_U, HALF_V
    data, step = padded(packed, extra)
    out = decode_image(data, 8, 6, encoding, step)
    assert np.abs(out - expected_yuv(HALF_U, HALF_V)).max() <= 2


def test_every_planar_encoding_is_tried():
    """Rows without padding read right by luck; those with padding are below."""
    assert set(PLANAR) == set(PLANAR_TRIED)


PLANAR_TRIED = ["nv12", "nv21", "i420", "nv24"]


@pytest.mark.parametrize("extra", [0, 4])
@pytest.mark.parametrize("encoding", PLANAR_TRIED)
def test_planar_yuv(encoding, extra):
    u, v = (FULL_U, FULL_V) if encoding == "nv24" else (QUARTER_U, QUARTER_V)
    data, step = padded(LUMA, extra)
    if encoding == "i420":
        data += padded(u, extra // 2)[0] + padded(v, extra // 2)[0]
    else:
        pairs = np.dstack([v, u] if encoding == "nv21" else [u, v])
        data += padded(np.ascontiguousarray(pairs), extra * (2 if encoding == "nv24" else 1))[0]
    out = decode_image(data, 8, 6, encoding, step)
    assert np.abs(out - expected_yuv(u, v)).max() <= 2


def test_rgb_and_bgr_are_views_and_take_any_buffer():
    data = bytearray(RGB.tobytes())
    out = decode_image(data, 8, 6, "rgb8", 24)
    data[0] = 255 - data[0]
    assert out[0, 0, 0] == data[0], "rgb8 was copied"
    raw = RGB.tobytes()
    for kind in (raw, array.array("B", raw), RGB, memoryview(RGB).cast("B")):
        assert np.array_equal(decode_image(kind, 8, 6, "RGB8 "), RGB)


class Shared:
    """Memory that is handed over by DLPack alone, as the buffers of newer distributions do."""

    def __init__(self, array, device=(1, 0), host=None):
        self.array, self.device, self.asked = array, device, []
        if host is not None:
            self.cpu = lambda: self.asked.append("cpu") or host

    def __dlpack__(self, **options):
        self.asked.append(options.get("dl_device"))
        return self.array.__dlpack__(**{k: v for k, v in options.items() if k != "dl_device"})

    def __dlpack_device__(self):
        return self.device


def test_memory_that_comes_by_dlpack_is_viewed():
    flat = RGB.copy().reshape(-1)
    for kind in (Shared(flat), torch.from_numpy(flat), Shared(flat, device=(3, 0))):
        out = decode_image(kind, 8, 6, "rgb8", 24)
        assert np.array_equal(out, RGB) and np.shares_memory(out, flat), "it was copied"
    shaped = torch.from_numpy(RGB.copy())  # [H, W, 3], as a converter of messages gives it
    assert np.array_equal(decode_image(shaped, 8, 6, "rgb8"), RGB)
    deep = torch.from_numpy(RGB[:, :, :1].astype(np.int16) * 257)
    assert np.array_equal(decode_image(deep, 8, 6, "mono16"), np.repeat(RGB[:, :, :1], 3, 2))


def test_memory_of_another_device_is_copied_once():
    flat = RGB.copy().reshape(-1)
    tensor = Shared(flat, device=(2, 0), host=torch.from_numpy(flat))
    assert np.array_equal(decode_image(tensor, 8, 6, "rgb8"), RGB) and tensor.asked == ["cpu"]
    plain = Shared(flat, device=(2, 0))
    assert np.array_equal(decode_image(plain, 8, 6, "rgb8"), RGB)
    assert plain.asked == [(1, 0)], "the object was not asked to copy it to the processor"


def test_memory_in_pieces_and_of_any_type_is_read():
    wide = np.zeros((6, 16, 3), np.uint8)
    wide[:, ::2] = RGB
    assert np.array_equal(decode_image(memoryview(wide[:, ::2]), 8, 6, "rgb8"), RGB)
    assert np.array_equal(decode_image(array.array("I", RGB.tobytes()), 8, 6, "rgb8"), RGB)


@pytest.mark.parametrize("data", [None, "text", [1, 2, 3], 7, object(), b"", np.zeros(0, "u1")])
def test_what_is_no_memory_is_named(data):
    with pytest.raises(BadImage, match="data"):
        decode_image(data, 8, 6, "rgb8")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_byte_too_few_is_named(encoding):
    """A picture one byte short of its own description is refused, not read past its end."""
    for size in range(1, 8 * 6 * 8 + 1):
        try:
            decode_image(bytes(size), 8, 6, encoding)
            break
        except BadImage as error:
            assert error.status is Status.BAD_IMAGE and str(size) in str(error)
    else:
        pytest.fail(f"{encoding} never had enough")
    with pytest.raises(BadImage, match="bytes"):
        decode_image(bytes(size - 1), 8, 6, encoding)


@pytest.mark.parametrize(
    "fields, says",
    [
        ((b"", 8, 6, "rgb8"), "no data"),
        ((b"x", 0, 6, "rgb8"), "0x6"),
        ((b"x", 8, 0, "rgb8"), "8x0"),
        ((b"x", 0, 0, "rgb8"), "0x0"),
        ((bytes(144), 8, 6, "rgb8", 23), "step is 23"),
        ((bytes(144), 8, 6, "argb1555"), "'argb1555'"),
        ((bytes(144), 8, 6, ""), "encoding ''"),
        ((bytes(144), 100_000, 100_000, "rgb8"), "limit"),
        ((bytes(144), 7, 6, "yuyv"), "multiples of 2"),
        ((bytes(144), 8, 5, "nv12"), "multiples of 2"),
        ((bytes(144), 8, 1, "bayer_rggb8"), "2x2"),
        (("text", 8, 6, "rgb8"), "str"),
    ],
)
def test_bad_fields_are_named(fields, says):
    with pytest.raises(BadImage, match=says):
        decode_image(*fields)


CORNERS = np.array([[[250, 20, 10], [20, 240, 30]], [[10, 30, 230], [240, 230, 20]]], np.uint8)
SMOOTH = cv2.resize(CORNERS, (64, 48), interpolation=cv2.INTER_LINEAR)
BGR = np.ascontiguousarray(SMOOTH[:, :, ::-1])


@pytest.mark.parametrize(
    "format",
    [
        "jpeg",
        "jpg",
        "",
        "rgb8; jpeg compressed bgr8",
        "bgr8; jpeg compressed bgr8",
        "rgb8; jpeg compressed rgb8",
    ],
)
def test_jpeg(format):
    data = cv2.imencode(".jpg", BGR, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    assert np.abs(decode_compressed(data, format).astype(int) - SMOOTH).max() <= 24
    assert np.abs(decode_compressed(data, format).astype(int) - SMOOTH).mean() <= 3


def test_a_writer_that_did_not_swap_says_so():
    data = cv2.imencode(".png", SMOOTH)[1]  # handed over as if it were BGR
    assert np.array_equal(decode_compressed(data, "rgb8; png compressed rgb8"), SMOOTH)


@pytest.mark.parametrize("format", ["png", "rgb8; png compressed bgr8"])
def test_png(format):
    plain = cv2.imencode(".png", BGR)[1].tobytes()
    assert np.array_equal(decode_compressed(plain, format), SMOOTH)
    alpha = cv2.imencode(".png", with_alpha(BGR))[1].tobytes()
    assert np.array_equal(decode_compressed(alpha, format), SMOOTH)


def test_single_channel_png():
    grey = cv2.imencode(".png", RGB[:, :, 0])[1].tobytes()
    out = decode_compressed(grey, "mono8; png compressed mono8")
    assert np.array_equal(out[:, :, 2], RGB[:, :, 0])
    deep = cv2.imencode(".png", GREY16)[1].tobytes()
    assert np.array_equal(
        decode_compressed(deep, "mono16; png compressed mono16"),
        decode_image(GREY16, 8, 6, "mono16"),
    )
    mosaic = np.tile(np.array([[200, 90], [90, 30]], np.uint8), (4, 5))
    bayer = cv2.imencode(".png", mosaic)[1].tobytes()
    out = decode_compressed(bayer, "bayer_rggb8; png compressed bayer_rggb8")
    assert np.array_equal(out, np.full((8, 10, 3), (200, 90, 30), np.uint8))


def test_exif_orientation_is_left_alone():
    """Boxes must be in the camera's own pixels, so a turned-picture flag may not turn them."""
    data = cv2.imencode(".jpg", BGR)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert decode_compressed(turned).shape == (48, 64, 3)


def chunk(kind, content):
    """A chunk of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height, rows, *, colour=2, depth=8, extra=b"", methods=(0, 0, 0), packed=None):
    """A PNG file; rows: what is compressed, a filter byte before each row. extra: chunks.

    methods: compression, filter, interlace. packed: the compressed data, instead of rows.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour, *methods)
    packed = zlib.compress(rows) if packed is None else packed
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", packed), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "data, format, says",
    [
        (b"", "jpeg", "no data"),
        (b"GIF89a" + bytes(40), "gif", "neither JPEG nor PNG"),
        (b"\xff\xd8" + bytes(40), "jpeg", "no marker"),
        (cv2.imencode(".jpg", BGR)[1].tobytes()[:-40], "jpeg", "cut off"),
        (cv2.imencode(".png", BGR)[1].tobytes()[:60], "png", "cut off"),
        (png(60000, 60000, b""), "png", "limit"),
        (b"\0" * 12, "16UC1; compressedDepth png", "colour topic"),
    ],
)
def test_bad_files_are_named(data, format, says):
    with pytest.raises(BadImage, match=says):
        decode_compressed(data, format)


# JPEG files: healthy ones of all kinds, and what is wrong with the others

NOISY = np.clip(
    cv2.resize(RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8), (320, 240)).astype(int)
    + RNG.integers(-9, 10, (240, 320, 3)),
    0,
    255,
).astype(np.uint8)
FLAT = np.full((50, 70, 3), 128, np.uint8)
GREY_PAGE = np.repeat(np.where(NOISY[:, :, :1] > 128, 255, NOISY[:, :, :1]), 3, axis=2)


def jpeg(rgb=NOISY, mode="RGB", **options):
    """A JPEG file by Pillow."""
    file = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def segment(code, content):
    return bytes((0xFF, code)) + struct.pack(">H", len(content) + 2) + content


def without_tables(data):
    """As webcams send it: without the usual Huffman tables, which they leave to the reader."""
    at, kept = 2, [data[:2]]
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        kept += [] if data[at + 1] == 0xC4 else [data[at:end]]
        at = end
    return b"".join([*kept, data[at:]])


@pytest.mark.parametrize("rgb", [NOISY, FLAT, GREY_PAGE, RGB, RGB[:1, :1]])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [
    {}, {"quality": 5}, {"quality": 100, "subsampling": 0}, {"optimize": True},
    {"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3},
    {"progressive": True, "restart_marker_blocks": 2, "quality": 90},
])  # fmt: skip
def test_healthy_jpegs(rgb, mode, options):
    data = jpeg(rgb, mode, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    fillers = data[:2] + b"\xff\xff\xff" + data[3:]  # before a marker; and rubbish at the end
    for file in (data, data + bytes(64), data + b"\xff" * 7 + data[:50], fillers):
        assert np.array_equal(decode_compressed(file), expected)


def test_jpegs_of_webcams_bring_no_tables():
    data = jpeg()
    assert np.array_equal(decode_compressed(without_tables(data)), decode_compressed(data))


def test_a_preview_inside_a_jpeg_is_not_its_picture():
    thumb = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + jpeg(RGB))
    data = jpeg()
    phone = data[:2] + thumb + data[2:]
    assert np.array_equal(decode_compressed(phone), decode_compressed(data))
    with pytest.raises(BadImage, match="no end marker"):
        decode_compressed(phone[: len(phone) // 2])


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"quality": 95}])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.8])
def test_damaged_jpegs(options, place):
    """Where a decoder only warns, the rest of the picture would be shifted or grey."""
    data = jpeg(**options)
    at = data.index(b"\xff\xda") + 14
    at += int((len(data) - at) * place)
    for broken in (data[:at] + b"\xff\xd9", data[:at], data[:at] + data[at + 2500 :]):
        with pytest.raises(BadImage) as caught:
            decode_compressed(broken)
        assert "damaged" in str(caught.value) or "no end marker" in str(caught.value)


@pytest.mark.parametrize(
    "options, decodes",
    [({}, 3), ({"restart_marker_rows": 1}, 4), ({"progressive": True}, 7), ({"quality": 1}, 3)],
)
def test_a_healthy_jpeg_is_decoded_a_few_times_and_no_more(monkeypatch, options, decodes):
    """A camera's pictures are all healthy: what the search for damage costs is paid for each."""
    data, made = jpeg(**options), []
    reader = JpegImagePlugin.JpegImageFile

    def counted(file):
        made.append(reader(file))
        return made[-1]

    monkeypatch.setattr(JpegImagePlugin, "JpegImageFile", counted)
    decode_compressed(data)
    assert len(made) <= decodes


@pytest.mark.parametrize("rgb", [NOISY, NOISY[:, :16], NOISY[:16], FLAT])
@pytest.mark.parametrize("lost", [2, 3, 8, 40])
def test_data_that_is_lost_at_the_very_end_is_missed(rgb, lost):
    data = jpeg(rgb)
    with pytest.raises(BadImage, match="damaged|cut off"):
        decode_compressed(data[: -2 - lost] + data[-2:])


def test_too_much_data_is_damage_too():
    data = jpeg()
    with pytest.raises(BadImage, match="picture ends before"):
        decode_compressed(data[:-2] + b"\x12\x34" * 50 + b"\xff\xd9")


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_claims_more_than_it_holds(options):
    """The size that is checked is the one that is decoded, and so much must be there."""
    data = jpeg(RGB, **options)
    at = next(data.index(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in data)
    for side, says in ((7000, "can't hold"), (20000, "limit")):
        claimed = data[: at + 5] + struct.pack(">HH", side, side) + data[at + 9 :]
        with pytest.raises(BadImage, match=says):
            decode_compressed(claimed)


@pytest.mark.parametrize("code", [0x01, *range(0xD0, 0xD8)])
def test_markers_without_a_length_hide_no_size(code):
    """What looks like a segment behind such a marker is none, and a second size is refused."""
    data = jpeg(RGB)
    small = segment(0xC0, b"\x08" + struct.pack(">HH", 16, 16) + b"\x01\x01\x11\0")
    alone = bytes((0xFF, code))
    assert decode_compressed(data[:2] + alone + data[2:]).shape == RGB.shape
    comment = segment(0xFE, small * 20)
    assert decode_compressed(data[:2] + alone + comment + data[2:]).shape == RGB.shape
    with pytest.raises(BadImage, match="two sizes"):
        decode_compressed(data[:2] + alone + small + data[2:])


def test_a_jpeg_of_endless_scans_is_refused():
    data = jpeg(RGB, progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(BadImage, match="1 to 30"):
        decode_compressed(data[:-2] + data[last:-2] * 200 + b"\xff\xd9")


@pytest.mark.parametrize("cut", range(0, 700, 9))
def test_no_piece_of_a_jpeg_or_png_is_a_defect(cut):
    for whole in (jpeg(RGB), png(8, 6, b"\0" * 150)):
        with pytest.raises(BadImage):
            decode_compressed(whole[: min(cut, len(whole) - 1)])
        broken = bytearray(whole)
        broken[cut % len(whole)] ^= 0x5A
        try:
            decode_compressed(bytes(broken))
        except BadImage:
            pass


# PNG files


def test_png_of_every_kind_of_pixel():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        kept, file = Image.fromarray(RGB).convert(mode), io.BytesIO()
        kept.save(file, "PNG")
        expected = np.asarray(kept.convert("RGB"))
        assert np.array_equal(decode_compressed(file.getvalue()), expected), mode


@pytest.mark.parametrize("colour, depth", [(0, 8), (0, 16), (2, 8), (2, 16), (6, 16)])
def test_a_small_png_that_claims_much_costs_little(colour, depth):
    data = png(7000, 7000, bytes(10_000), colour=colour, depth=depth)
    tracemalloc.start()
    with pytest.raises(BadImage, match="cut off"):
        decode_compressed(data, "16UC1; png compressed")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_texts_and_profiles_are_not_unpacked():
    bomb = zlib.compress(bytes(50_000_000))
    extra = chunk(b"zTXt", b"a\0\0" + bomb) + chunk(b"iCCP", b"a\0\0" + bomb)
    rows = b"".join(b"\0" + row.tobytes() for row in RGB)
    animated = chunk(b"acTL", struct.pack(">II", 1000, 0)) + chunk(b"fcTL", bytes(26))
    assert np.array_equal(decode_compressed(png(8, 6, rows, extra=extra + animated)), RGB)


def test_damaged_pngs_are_named():
    rows = b"".join(b"\0" + row.tobytes() for row in RGB)
    data = bytearray(png(8, 6, rows))
    data[60] ^= 1
    with pytest.raises(BadImage, match="checksum"):
        decode_compressed(bytes(data))
    with pytest.raises(BadImage, match="cut off"):
        decode_compressed(png(8, 6, rows[:-1]))
    twice = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    with pytest.raises(BadImage, match="two sizes"):
        decode_compressed(png(8, 6, rows, extra=twice))


FLAT = (b"\0" + bytes(range(24))) * 6
"""Rows of 8x6 pixels of three samples."""


@pytest.mark.parametrize(
    "data, says",
    [
        (png(8, 6, b"\x09" * len(FLAT)), "filter 9"),
        (png(8, 6, FLAT[:-25] + b"\x05" + bytes(24)), "filter 5"),
        (png(8, 6, b"\x07" * 400, methods=(0, 0, 1)), "filter 7"),
        (png(8, 6, FLAT, depth=3), "3 bits"),
        (png(8, 6, FLAT, depth=4), "4 bits"),
        (png(8, 6, FLAT * 2, colour=3, depth=16), "16 bits"),
        (png(8, 6, FLAT, colour=5), "colour type 5"),
        (png(8, 6, FLAT, methods=(1, 0, 0)), "compression 1"),
        (png(8, 6, FLAT, methods=(0, 64, 0)), "filter method 64"),
        (png(8, 6, FLAT, methods=(0, 0, 2)), "interlace method 2"),
        (png(8, 6, (b"\0" + bytes(8)) * 6, colour=3), "no palette"),
        (png(8, 6, (b"\0" + bytes(8)) * 6, colour=3, extra=chunk(b"PLTE", b"abcd")), "4 bytes"),
        (png(8, 6, FLAT * 3), "go on behind"),
        (png(8, 6, b"", packed=zlib.compress(FLAT)[:-4]), "no end"),
        (png(8, 6, b"", packed=zlib.compress(FLAT)[:-1] + b"x"), "check"),
        (png(8, 6, b"", packed=b"\x78\xbb" + zlib.compress(FLAT)[2:]), "damaged"),
        (png(8, 6, b"", packed=b""), "cut off"),
        (png(2_000_000, 1, b"\0" + bytes(250_000), colour=0, depth=1), "2000000x1.*1000000"),
        (png(1, 2_000_000, bytes(4_000_000), colour=0, depth=1), "1x2000000.*1000000"),
    ],
)
def test_what_libpng_would_complain_of_is_named_before_it_does(data, says, capfd):
    with pytest.raises(BadImage, match=says):
        decode_compressed(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data",
    [
        png(8, 6, FLAT, extra=chunk(b"tRNS", b"x" * 100) + chunk(b"tRNS", b"x" * 6) * 2),
        png(8, 6, FLAT, extra=chunk(b"PLTE", b"abc" * 300) * 2),
        png(8, 6, FLAT, extra=chunk(b"gAMA", b"") + chunk(b"IDAT", b"") * 3),
        png(8, 6, b"", packed=zlib.compress(FLAT) + b"behind it"),
    ],
)
def test_what_is_odd_beside_the_pixels_of_a_png_changes_nothing(data, capfd):
    assert np.array_equal(decode_compressed(data), decode_compressed(png(8, 6, FLAT)))
    assert capfd.readouterr() == ("", "")


def test_a_number_that_a_palette_lacks_is_black(capfd):
    rows = (b"\0" + bytes((0, 1, 7, 255)) * 2) * 6
    colours = chunk(b"PLTE", bytes((9, 8, 7, 6, 5, 4)))
    row = decode_compressed(png(8, 6, rows, colour=3, extra=colours))[0, :4]
    assert row.tolist() == [[9, 8, 7], [6, 5, 4], [0, 0, 0], [0, 0, 0]]
    assert capfd.readouterr() == ("", "")


def test_pngs_at_the_limit_of_a_side_and_of_many_pieces():
    wide = decode_compressed(png(1_000_000, 1, b"\0" + b"\xff" * 125_000, colour=0, depth=1))
    assert wide.shape == (1, 1_000_000, 3) and (wide == 255).all()
    noise = RNG.integers(0, 256, (700, 1000, 3), dtype=np.uint8)
    for level in (0, 1):
        rows = b"".join(b"\0" + row.tobytes() for row in noise)
        data = png(1000, 700, b"", packed=zlib.compress(rows, level))
        assert np.array_equal(decode_compressed(data), noise)
