"""What the audit reads of a file without looking at the picture, and how it recognises copies."""

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import SHARED_DATA, write_image
from PIL import Image, ImageEnhance
from PIL.PngImagePlugin import PngInfo

from robustbench_aigen.data.audit.facts import facts_of
from robustbench_aigen.data.audit.jpeg import jpeg_quality
from robustbench_aigen.data.near_duplicates import duplicate_groups, fingerprint
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.numerics.decoding import UnreadableImageError

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8))


def encoded(image: Image.Image = NOISE, format_: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [10, 50, 75, 90, 95, 100])
@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"progressive": True}, {"image": NOISE.convert("L")}]
)
def test_a_jpegs_quality_is_read_from_its_tables(quality, options):
    content = encoded(**options, quality=quality)
    assert jpeg_quality(content) == quality
    assert (facts_of(content).quality, facts_of(content).encoder) == (quality, "libjpeg")


def test_what_has_no_quality_has_none():
    assert jpeg_quality(encoded(format_="PNG")) is None
    assert jpeg_quality(b"no image") is None
    assert jpeg_quality(encoded(qtables=[[7] * 64, [9] * 64])) is None


@pytest.mark.parametrize("quality", [20, 60, 90])
def test_tables_of_another_encoder_have_the_nearest_quality(quality):
    with Image.open(io.BytesIO(encoded(quality=quality))) as image:
        tables = [list(table) for table in image.quantization.values()]
    for table in tables:
        table[5] += 1
    facts = facts_of(encoded(qtables=tables))
    assert facts.encoder == "other"
    assert abs(facts.quality - quality) <= 1


@pytest.mark.parametrize(("code", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_subsampling(code, name):
    assert facts_of(encoded(subsampling=code)).subsampling == name


def test_grey_jpegs_and_other_formats_have_no_subsampling_of_colour():
    assert facts_of(encoded(NOISE.convert("L"))).subsampling == "grey"
    facts = facts_of(encoded(format_="PNG"))
    assert (facts.format, facts.subsampling, facts.quality, facts.width, facts.height) == (
        "PNG",
        None,
        None,
        40,
        24,
    )


def test_a_picture_that_lies_on_its_side_has_the_size_that_it_is_seen_in():
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = facts_of(encoded(exif=exif))
    assert (facts.width, facts.height, facts.metadata.exif) == (24, 40, True)


def exif_of(software: str) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0131] = software
    return exif


def text_of(name: str, value: str) -> PngInfo:
    info = PngInfo()
    info.add_text(name, value)
    return info


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf xmp:CreatorTool="Midjourney 6"/></x:xmpmeta>'
METADATA = {
    "nothing": (encoded(), set(), None),
    "exif": (encoded(exif=exif_of("GIMP 2.10")), {"exif"}, "GIMP 2.10"),
    "xmp": (encoded(xmp=XMP), {"xmp"}, "Midjourney 6"),
    "icc": (encoded(icc_profile=b"profile"), {"icc"}, None),
    "comment": (encoded(comment=b"scanned"), {"comment"}, None),
    "png text": (encoded(format_="PNG", pnginfo=text_of("parameters", "a cat")), {"text"}, "text 'parameters'"),
    "png software": (encoded(format_="PNG", pnginfo=text_of("Software", "Krita")), {"text"}, "Krita"),
    "png exif": (encoded(format_="PNG", exif=exif_of("x")), {"exif"}, "x"),
    "png transparency": (encoded(NOISE.convert("P"), "PNG", transparency=0), set(), None),
    "webp": (encoded(format_="WEBP", exif=exif_of("y"), icc_profile=b"p", xmp=XMP), {"exif", "icc", "xmp"}, "y"),
    "damaged exif": (encoded(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"), {"exif"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_metadata(name):
    content, present, software = METADATA[name]
    metadata = facts_of(content).metadata
    assert {field for field in metadata._fields if getattr(metadata, field) is True} == present
    assert metadata.software == software


def with_c2pa(format_: str) -> bytes:
    """Put a manifest store where the specification wants it: JPEG's APP11, PNG's caBX, WebP's C2PA chunk."""
    content, store = encoded(format_=format_), b"\0\0\0\x20jumb\0\0\0\x18jumdc2pa\0"
    if format_ == "JPEG":
        segment = b"JP\0\x01\0\0\0\x01" + store
        return content[:2] + b"\xff\xeb" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
    if format_ == "PNG":
        chunk = b"caBX" + store
        return (
            content[:33]
            + struct.pack(">I", len(store))
            + chunk
            + struct.pack(">I", zlib.crc32(chunk))
            + content[33:]
        )
    store += b"\0" * (len(store) % 2)
    content += b"C2PA" + struct.pack("<I", len(store)) + store
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_content_credentials_are_seen(format_):
    assert facts_of(with_c2pa(format_)).metadata.c2pa
    assert not facts_of(encoded(format_=format_)).metadata.c2pa


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff"])
def test_what_has_no_header_is_unreadable(content):
    with pytest.raises(UnreadableImageError):
        facts_of(content)


@pytest.fixture
def photographs() -> list[Image.Image]:
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared photographs are not on this machine")
    source = open_source("genimage8", SHARED_DATA)
    indices = select(source, "all", 60).indices
    return [Image.open(io.BytesIO(source.encoded(index))).convert("RGB") for index in indices]


COPIES = {
    "png": lambda image: encoded(image, "PNG"),
    "quality 50": lambda image: encoded(image, quality=50),
    "half size": lambda image: encoded(image.resize((128, 128), Image.Resampling.BICUBIC), quality=80),
    "half as large again": lambda image: encoded(
        image.resize((384, 384), Image.Resampling.BICUBIC), quality=90
    ),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.1), quality=90),
}


@pytest.mark.parametrize("copy", COPIES)
def test_nine_of_ten_copies_are_recognised_and_nothing_else(photographs, copy):
    originals = [fingerprint(encoded(image, quality=75)) for image in photographs]
    copies = [fingerprint(COPIES[copy](image)) for image in photographs]
    groups = duplicate_groups([*originals, *copies])
    count = len(photographs)
    assert all(group[1] - group[0] == count for group in groups)
    assert len(groups) >= 0.9 * count


def test_groups_of_copies_are_those_of_comparing_every_pair(tmp_path):
    """Against brute force, with hashes a few bits apart, equal ones, and pictures of one colour."""
    prints = []
    base = RNG.integers(0, 256, (16, 16), dtype=np.uint8)
    for number in range(120):
        bits = int(RNG.integers(0, 2**63))
        for flips in range(int(RNG.integers(0, 3))):
            flipped = bits ^ sum(1 << int(bit) for bit in RNG.choice(64, 2 + 2 * flips, replace=False))
            prints.append((flipped, base))
        prints.append((bits, base if number % 2 else RNG.integers(0, 256, (16, 16), dtype=np.uint8)))
    plain = fingerprint(encoded(Image.new("RGB", (32, 32), "red"), "PNG"))
    assert plain.bits is None
    prepared = [
        plain._replace(content=str(number).encode(), bits=bits, grey=grey.tobytes())
        for number, (bits, grey) in enumerate(prints)
    ]
    prepared += [plain, plain._replace(content=b"another colour"), prepared[0]]
    expected = {frozenset([0, len(prepared) - 1])}
    for one, first in enumerate(prepared):
        for other, second in enumerate(prepared[:one]):
            if first.bits is None or second.bits is None or (first.bits ^ second.bits).bit_count() > 4:
                continue
            greys = [np.frombuffer(each.grey, np.uint8).astype(float) for each in (first, second)]
            if np.corrcoef(*greys)[0, 1] >= 0.98:
                linked = [group for group in expected if group & {one, other}]
                expected = (expected - set(linked)) | {frozenset({one, other}).union(*linked)}
    found = duplicate_groups(prepared)
    assert {frozenset(group) for group in found} == expected
    assert any(len(group) > 2 for group in found)


def test_pictures_of_one_colour_are_no_copies_of_one_another_and_identical_files_are(tmp_path):
    red, blue = (encoded(Image.new("RGB", (32, 32), colour), "PNG") for colour in ("red", "blue"))
    assert duplicate_groups([fingerprint(each) for each in (red, blue, b"", red, b"broken")]) == [[0, 3]]


def test_a_bucket_with_very_many_equal_hashes_is_one_group():
    write = fingerprint(encoded(NOISE, "PNG"))
    prints = [write._replace(content=str(number).encode()) for number in range(20_000)]
    assert duplicate_groups(prints) == [list(range(20_000))]


def test_write_image_makes_pictures_of_their_own(tmp_path):
    """The other tests lean on it: no two are copies of one another."""
    for number in range(60):
        write_image(tmp_path / f"{number}.png", number, fake=bool(number % 2))
    prints = [fingerprint(file.read_bytes()) for file in sorted(tmp_path.iterdir())]
    assert duplicate_groups(prints) == []
