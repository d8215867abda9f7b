"""Mutations of valid files: plain bytes, and the insides of containers whose checksums are put right again."""

import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)
_WORDS = (
    b"..", b"../secret.png", b"/etc/passwd", b"\0", b"\xff\xfe", b"nan", b"1e999", b"-1", b"9" * 400, b"null", b"{}",
    b"[]", b"true", b"\r\n", b"\n", b"'", b'"', b",", b":", b"\xe2\x80\xae", b"\xed\xa0\x80", b"&a", b"*a", b"<<: *a",
    b"!!int", b"%s", b"file://", b"http://", b"0x", b"1/0",
)  # fmt: skip
_MOST_UNPACKED = 2**24
"""Bytes of a container that is unpacked to be changed; a bomb is changed as bytes."""
_PNG = b"\x89PNG\r\n\x1a\n"


def mutated(content: bytes, pool: Sequence[bytes], draw: random.Random, most: int) -> bytes:
    """Return a file with a few changes, at most ``most`` bytes long.

    The first byte is kept nine times in ten: it says what the rest is.
    """
    head, body = content[:1], content[1:]
    if draw.random() < 0.1:
        head = bytes([draw.randrange(256)])
    body = _inside(body, pool, draw) if draw.random() < 0.5 else _changed(body, pool, draw)
    return (head + body)[:most]


def _changed(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 3, 5, 8))):
        body = draw.choice(_CHANGES)(body, pool, draw)
    return body


def _flip(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(draw.choice((1, 1, 2, 8))):
        if changed:
            changed[_place(body, draw) % len(changed)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _truncate(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    return body[: draw.randrange(len(body) + 1)]


def _cut(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    start = _place(body, draw)
    return body[:start] + body[start + draw.choice((1, 2, 4, 16, 256)) :]


def _repeat(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    start, length = _place(body, draw), draw.choice((1, 4, 16, 64, 512))
    return body[:start] + body[start : start + length] * draw.choice((2, 3, 20)) + body[start + length :]


def _splice(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    other = draw.choice(pool)[1:]
    return body[: _place(body, draw)] + other[_place(other, draw) :]


def _number(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    width, start = draw.choice((1, 2, 4, 8)), _place(body, draw)
    value = draw.choice(_NUMBERS) % (1 << 8 * width)
    return body[:start] + value.to_bytes(width, draw.choice(("little", "big"))) + body[start + width :]


def _word(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    start, word = _place(body, draw), draw.choice(_WORDS)
    return body[:start] + word + body[start + draw.choice((0, 0, len(word))) :]


def _place(body: bytes, draw: random.Random) -> int:
    """Return a place; headers are changed more often than what follows them."""
    most = len(body) if draw.random() < 0.5 else min(len(body), 128)
    return draw.randrange(most + 1)


_CHANGES: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    _flip, _flip, _truncate, _cut, _repeat, _splice, _number, _number, _word, _word,
)  # fmt: skip


def _inside(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    """Change what a container holds and put its checksums right; another file is changed as bytes."""
    try:
        if body.startswith(b"PK\x03\x04"):
            return _in_zip(body, pool, draw)
        if body.startswith(_PNG):
            return _in_png(body, pool, draw)
        if body[257:262] == b"ustar":
            return _in_tar(_changed(body, pool, draw))
    except Exception:  # noqa: BLE001  A container that is damaged already is changed as bytes.
        return _changed(body, pool, draw)
    return _changed(body, pool, draw)


def _in_zip(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(buffer, "w") as new:
        if sum(entry.file_size for entry in old.infolist()) > _MOST_UNPACKED:
            return _changed(body, pool, draw)
        names = old.namelist()
        chosen = draw.choice(names)
        for name in names:
            member = old.read(name)
            if name == chosen:
                kind = draw.randrange(8)
                if kind == 0:
                    continue
                if kind == 1:
                    new.writestr(draw.choice(("../" + name, "/" + name, name + "/", "\\" + name)), member)
                    continue
                if kind == 2:
                    new.writestr(name, member)
                member = _changed(member, pool, draw)
            new.writestr(name, member)
    return buffer.getvalue()


def _in_png(body: bytes, pool: Sequence[bytes], draw: random.Random) -> bytes:
    chunks, place = [], len(_PNG)
    while place + 8 <= len(body):
        (length,) = struct.unpack(">I", body[place : place + 4])
        chunks.append((body[place + 4 : place + 8], body[place + 8 : place + 8 + length]))
        place += 12 + length
    chosen = draw.randrange(len(chunks))
    kind, inner = chunks[chosen]
    match draw.randrange(4):
        case 0:
            chunks.insert(draw.randrange(len(chunks) + 1), chunks[chosen])
        case 1:
            del chunks[chosen]
        case 2 if kind == b"IDAT":
            unpacked = zlib.decompressobj().decompress(inner, _MOST_UNPACKED)
            chunks[chosen] = (kind, zlib.compress(_changed(unpacked, pool, draw)))
        case _:
            chunks[chosen] = (kind, _changed(inner, pool, draw))
    return _PNG + b"".join(png_chunk(kind, inner) for kind, inner in chunks)


def png_chunk(kind: bytes, inner: bytes) -> bytes:
    """Return a chunk of a PNG with its checksum."""
    return struct.pack(">I", len(inner)) + kind + inner + struct.pack(">I", zlib.crc32(kind + inner))


def _in_tar(body: bytes) -> bytes:
    """Return a tar file whose headers have the right checksums, so that the changes are read."""
    changed = bytearray(body)
    for start in range(0, len(changed) - tarfile.BLOCKSIZE + 1, tarfile.BLOCKSIZE):
        block = changed[start : start + tarfile.BLOCKSIZE]
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            changed[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    return bytes(changed)
