"""Files of codes: what is written is read, what is damaged is read up to the damage or refused with a reason."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audio_files.bit_packing import bits_of, pack, packed_size, unpack
from audio_files.coded import BLOCK_FRAMES, MAGIC, CodedHeader, CodedReader, CodedSource, CodedWriter
from audio_files.coded_files import facts_of, file_of_codes, is_coded, is_coded_content, read_codes_from
from audio_files.ecdc import EcdcReader, EcdcWriter, package_name
from protocols.errors import ErrorCode, RequestError

PLAIN = CodedHeader(
    codec="tiny", fingerprint="ab" * 32, sample_rate=32_000, channels=1, hop_length=640, codebooks=4, card=2048
)
CHUNKED = CodedHeader(
    codec="encodec-48khz",
    sample_rate=48_000,
    channels=2,
    hop_length=320,
    codebooks=4,
    card=1024,
    chunk_samples=48_000,
    chunk_stride=47_520,
)


def some_codes(frames: int, header: CodedHeader = PLAIN, seed: int = 1) -> NDArray[np.int64]:
    return np.random.RandomState(seed).randint(0, header.card, (header.codebooks, frames))


def written(codes: NDArray[np.integer], header: CodedHeader = PLAIN, pieces: tuple[int, ...] = ()) -> bytes:
    file = io.BytesIO()
    writer = CodedWriter(file, header)
    for piece in np.split(codes, list(pieces), axis=1):
        writer.write(piece)
    writer.finish(codes.shape[1] * header.hop_length)
    assert writer.bytes == len(file.getvalue())
    return file.getvalue()


def read(content: bytes) -> tuple[CodedReader, NDArray[np.uint16]]:
    reader = CodedReader(io.BytesIO(content))
    parts = [block.codes for block in reader.blocks()]
    return reader, np.concatenate(parts, axis=1) if parts else np.zeros((reader.header.codebooks, 0), np.uint16)


def read_or_refusal(content: bytes) -> CodedSource | RequestError:
    try:
        return read_codes_from(io.BytesIO(content), "x")
    except RequestError as error:
        return error


@given(
    card=st.integers(1, 65_536),
    codebooks=st.integers(1, 9),
    frames=st.integers(0, 40),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=60, deadline=None)
def test_packed_codes_are_unpacked_as_they_were(card: int, codebooks: int, frames: int, seed: int) -> None:
    codes = np.random.RandomState(seed).randint(0, card, (codebooks, frames))
    content = pack(codes, card)
    assert len(content) == packed_size(codebooks, frames, card)
    assert np.array_equal(unpack(content, codebooks, frames, card), codes)
    assert 2 ** (bits_of(card) - 1) < max(card, 2) <= 2 ** bits_of(card)


@given(frames=st.integers(0, 3 * BLOCK_FRAMES), cuts=st.lists(st.integers(0, 3 * BLOCK_FRAMES), max_size=5))
@settings(max_examples=30, deadline=None)
def test_the_file_does_not_depend_on_the_pieces_that_it_was_written_in(frames: int, cuts: list[int]) -> None:
    codes = some_codes(frames)
    content = written(codes)
    assert written(codes, pieces=tuple(sorted(cut for cut in cuts if cut <= frames))) == content
    reader, found = read(content)
    assert np.array_equal(found, codes)
    assert (reader.header, reader.frames, reader.samples, reader.damage) == (PLAIN, frames, frames * 640, "")


def test_a_file_that_was_cut_gives_its_whole_blocks() -> None:
    codes = some_codes(3 * BLOCK_FRAMES)
    content = written(codes)
    reader, found = read(content[:-60])  # the end, and a little of the last block
    assert np.array_equal(found, codes[:, : 2 * BLOCK_FRAMES])
    assert reader.samples == 2 * BLOCK_FRAMES * 640
    assert reader.damage.startswith("it ends too early, at byte")
    assert f"{2 * BLOCK_FRAMES} frames" in reader.damage


@pytest.mark.parametrize("place", [0.4, 0.7, 0.95])
def test_a_byte_that_has_changed_is_found(place: float) -> None:
    codes = some_codes(3 * BLOCK_FRAMES)
    content = bytearray(written(codes))
    content[int(place * len(content))] ^= 0x10
    reader, found = read(bytes(content))
    assert "checksum is wrong" in reader.damage
    assert np.array_equal(found, codes[:, : found.shape[1]])
    assert found.shape[1] < codes.shape[1]


def test_blocks_that_are_missing_or_doubled_are_found() -> None:
    content = written(some_codes(3 * BLOCK_FRAMES))
    start = content.index(b"}") + 1
    size = (len(content) - start - 57) // 3
    blocks = [content[start + size * i : start + size * (i + 1)] for i in range(3)]
    end = content[start + 3 * size :]
    assert len(end) == 57
    assert read(content[:start] + b"".join(blocks) + end)[0].damage == ""
    assert "cannot be read" in read(content[:start] + blocks[0] + blocks[2] + end)[0].damage
    assert "its end tells of" in read(content[:start] + blocks[0] + blocks[1] + end)[0].damage
    assert "follows its end" in read(content + b"x")[0].damage


def test_scales_of_chunks_come_back() -> None:
    file = io.BytesIO()
    writer = CodedWriter(file, CHUNKED)
    pieces = [some_codes(150, CHUNKED, seed) for seed in range(3)] + [some_codes(7, CHUNKED, 9)]
    for number, piece in enumerate(pieces):
        writer.write(piece, np.array([0.5 + number], np.float32))
    samples = 2 * 47_520 + 47_520 + 7 * 320 - 11
    writer.finish(samples)
    file.seek(0)
    reader = CodedReader(file)
    blocks = list(reader.blocks())
    assert [block.scales.tolist() for block in blocks] == [[0.5], [1.5], [2.5], [3.5]]
    assert all(np.array_equal(block.codes, piece) for block, piece in zip(blocks, pieces, strict=True))
    assert (reader.samples, reader.damage) == (samples, "")
    with pytest.raises(RequestError, match="scales"):
        CodedWriter(io.BytesIO(), CHUNKED).write(pieces[0], np.array([np.nan], np.float32))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_damage_does_more_than_be_told(data: st.DataObject) -> None:
    header = data.draw(st.sampled_from([PLAIN, CHUNKED]))
    content = bytearray(written(some_codes(data.draw(st.integers(0, 600)), header), header))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip" if content:
                content[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[at:]
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=20))
            case "drop":
                del content[at : at + data.draw(st.integers(1, 30))]
    reader_or_refusal = read_or_refusal(bytes(content))
    if isinstance(reader_or_refusal, RequestError):
        assert reader_or_refusal.code in (ErrorCode.MALFORMED, ErrorCode.UNSUPPORTED)
        assert reader_or_refusal.allowed
    else:
        codes = [block.codes for block in reader_or_refusal.blocks()]
        assert sum(part.shape[1] for part in codes) == reader_or_refusal.frames
        assert all(part.max() < reader_or_refusal.header.card for part in codes)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_nothing_that_only_begins_like_a_file_is_more_than_refused(rest: bytes) -> None:
    for start in (
        MAGIC,
        b"ECDC\0\0\0\0",
        b'ECDC\0\0\0\0\x31{"m": "encodec_24khz", "al": 9, "nc": 2, "lm": false}',
        b"",
    ):
        source = read_or_refusal(start + rest)
        if isinstance(source, RequestError):
            assert source.code in (ErrorCode.MALFORMED, ErrorCode.UNSUPPORTED)
        else:
            assert sum(block.codes.shape[1] for block in source.blocks()) == source.frames


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"codebooks": 0}, "codebooks"),
        ({"card": 70_000}, "card"),
        ({"channels": 9}, "channels"),
        ({"chunk_samples": 100}, "chunk_stride"),
        ({"frame_rate": "1/0"}, "frame_rate"),
        ({"sample_rate": "fast"}, "sample_rate"),
    ],
)
def test_a_header_that_cannot_be_is_refused(changes: dict[str, object], field: str) -> None:
    values = {name: getattr(PLAIN, name) for name in PLAIN.__struct_fields__}
    with pytest.raises(RequestError, match=field):
        CodedWriter(io.BytesIO(), CodedHeader(**{**values, **changes}))


def test_codes_that_are_none_are_refused() -> None:
    writer = CodedWriter(io.BytesIO(), PLAIN)
    for codes, message in (
        (np.zeros((3, 2), np.int64), "codes"),
        (np.zeros((4, 2), np.float32), "codes"),
        (np.full((4, 2), 2048), "codes = 2048"),
        (np.full((4, 2), -1), "codes = -1"),
    ):
        with pytest.raises(RequestError, match=message):
            writer.write(codes)


def test_another_version_is_told_so() -> None:
    with pytest.raises(RequestError, match="version 1; this one has 9"):
        CodedReader(io.BytesIO(MAGIC[:-1] + b"\x09" + bytes(40)))


# --- files of the encodec package ------------------------------------------------------------------------------------


def ecdc_header(rate: int, codebooks: int) -> CodedHeader:
    chunks = {"chunk_samples": 48_000, "chunk_stride": 47_520} if rate == 48_000 else {}
    return CodedHeader(
        codec=f"encodec-{rate // 1000}khz",
        sample_rate=rate,
        channels=2 if rate == 48_000 else 1,
        hop_length=320,
        codebooks=codebooks,
        card=1024,
        **chunks,
    )


def test_a_file_of_the_package_is_read_and_written_to_the_byte() -> None:
    """Made by hand: two frames of two codebooks are 40 bits, the lowest first."""
    head = b'{"m": "encodec_24khz", "al": 500, "nc": 2, "lm": false}'
    body = (1 | 2 << 10 | 1023 << 20 | 4 << 30).to_bytes(5, "little")
    content = b"ECDC\0" + len(head).to_bytes(4, "big") + head + body
    reader = EcdcReader(io.BytesIO(content))
    (block,) = reader.blocks()
    assert block.codes.tolist() == [[1, 1023], [2, 4]]
    assert (reader.samples, reader.damage, reader.header.codec) == (500, "", "encodec-24khz")
    file = io.BytesIO()
    writer = EcdcWriter(file, reader.header, 500)
    writer.write(block.codes[:, :1])
    writer.write(block.codes[:, 1:])
    writer.finish(500)
    assert file.getvalue() == content


@pytest.mark.parametrize(
    ("rate", "samples"), [(24_000, 24_000 * 9 + 5), (48_000, 48_000 * 3 + 7), (48_000, 47_520 + 100)]
)
def test_the_package_s_files_round_trip(rate: int, samples: int) -> None:
    header = ecdc_header(rate, 4)
    sizes = [samples]
    if header.chunk_stride:
        sizes = [min(48_000, samples - first) for first in range(0, samples, 47_520)]
    frames = [-(-size // 320) for size in sizes]
    codes = some_codes(sum(frames), header)
    scales = np.arange(1, len(frames) + 1, dtype=np.float32) if header.chunk_stride else np.zeros(0, np.float32)
    file = io.BytesIO()
    writer = EcdcWriter(file, header, samples)
    writer.write(codes, scales)
    writer.finish(samples)
    file.seek(0)
    reader = EcdcReader(file)
    blocks = list(reader.blocks())
    assert np.array_equal(np.concatenate([block.codes for block in blocks], axis=1), codes)
    assert np.concatenate([block.scales for block in blocks]).tolist() == scales.tolist()
    assert (reader.samples, reader.damage) == (samples, "")
    cut = EcdcReader(io.BytesIO(file.getvalue()[:-9]))
    found = sum(block.codes.shape[1] for block in cut.blocks())
    assert found < sum(frames)
    assert "ends too early" in cut.damage


def test_what_a_language_model_squeezed_is_refused_with_the_reason() -> None:
    head = b'{"m": "encodec_24khz", "al": 500, "nc": 2, "lm": true}'
    with pytest.raises(RequestError, match="squeezed by a language model"):
        EcdcReader(io.BytesIO(b"ECDC\0" + len(head).to_bytes(4, "big") + head))


def test_only_codecs_of_the_package_have_its_files() -> None:
    assert package_name(ecdc_header(24_000, 8)) == "encodec_24khz"
    assert package_name(ecdc_header(24_000, 3)) == ""
    with pytest.raises(RequestError, match=r"write \.codes"):
        EcdcWriter(io.BytesIO(), PLAIN, 100)


# --- on disk ----------------------------------------------------------------------------------------------------------


def test_a_file_is_told_about_without_being_decoded(tmp_path: Path) -> None:
    path = tmp_path / "x.codes"
    path.write_bytes(written(some_codes(100)))
    facts = facts_of(path)
    assert (facts.kind, facts.frames, facts.seconds, facts.damage) == ("codes", 100, 2.0, "")
    assert facts.bytes == path.stat().st_size
    assert facts.header.bits_per_second == 50 * 4 * 11
    assert facts.kbps == pytest.approx(8 * facts.bytes / 2000)
    assert file_of_codes(str(path), [tmp_path]) == path.read_bytes()
    assert is_coded("a/B.CODES")
    assert is_coded_content(path.read_bytes())
    (tmp_path / "no.codes").write_bytes(b"RIFF")
    for call in (facts_of, lambda path: file_of_codes(str(path), [tmp_path])):
        with pytest.raises(RequestError, match="malformed"):
            call(tmp_path / "no.codes")
    with pytest.raises(RequestError, match="not_found"):
        facts_of(tmp_path / "none.codes")
