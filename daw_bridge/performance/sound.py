"""The sound of a performance once more: takes put where they were heard, by the very parts that played them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_files.loudness import Levelling
from audio_files.publishing import create_temporary, folder_error, publish
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.mixer import GLIDE_SECONDS
from daw_bridge.audio.output import OfflineOutput
from daw_bridge.audio.ramp import GainRamp
from daw_bridge.holdover import FADE_S, HeldBars, held_sound

Samples = NDArray[np.float32]
Read = Callable[[int, int], Samples]

_WINDOW = 32_768
_BLOCK = 512
_PIECE = 16_384
_LEAD_S = 2.0
_FOREVER = 3600  # seconds that a stream is held which never goes on


@dataclass(frozen=True)
class Stem:
    """What is to be heard of a stream at one card.

    Attributes:
        voice: what its voice played, from the first sample on, in pieces ``[samples, channels]``.
        sample_rate: of that, Hz.
        channels: of that.
        start: frame of the mix with which it begins.
        gain: linear, with which it begins.
        levels: frame of the mix and linear gain from there on, in order.
        stop: frame of the mix with which it begins to fade out; None where it plays to its end.
        fade: seconds of every fade.
    """

    voice: Iterator[Samples]
    sample_rate: int
    channels: int
    start: int
    gain: float
    levels: Sequence[tuple[int, float]]
    stop: int | None
    fade: float


def voice_sound(
    read: Read, total: int, held: Sequence[HeldBars], sample_rate: int, first: int = 0
) -> Iterator[Samples]:
    """What was written to a voice: the stream, and its last bars again where it was held.

    Args:
        read: a part of the stream, from a position on, so many samples ``[samples, channels]``; fewer at its end.
        total: samples of the stream.
        held: where the last bars were played again, in order.
        sample_rate: of the stream, Hz.
        first: sample of the voice to begin with.
    """
    fade = round(FADE_S * sample_rate)
    written = position = 0

    def from_there(block: Samples) -> Samples:
        return block[max(0, first - written) :]

    for one in held:
        for block in _straight(read, position, one.position):
            yield from_there(block)
            written += len(block)
        position = one.end
        count = (one.back if one.back is not None else written + _FOREVER * sample_rate) - one.voice
        for block in held_sound(one, read, fade, count):
            yield from_there(block)
            written += len(block)
    for block in _straight(read, position, total):
        yield from_there(block)
        written += len(block)


def _straight(read: Read, position: int, end: int) -> Iterator[Samples]:
    while position < end:
        block = read(position, min(_PIECE, end - position))
        if not len(block):
            return
        yield block
        position += len(block)


def heard(stem: Stem, rate: int) -> Iterator[Samples]:
    """What was heard of a stream at a card of ``rate`` Hz, from its ``start`` on, in blocks ``[frames, channels]``.

    The feeder, the resampler and the voice are those of the sound card, moved by hand.
    """
    output = OfflineOutput(rate, stem.channels, _BLOCK)
    lead = max(_LEAD_S, 4 * stem.fade)
    feeder = Feeder(stem.sample_rate, stem.channels, lead, 0.0, stem.gain, stem.fade, scheduled=True)
    feeder.attach(output)
    begin = _BLOCK  # frame 0 would mean at once
    feeder.schedule(output, begin)
    if stem.stop is not None:
        feeder.stop_at(output, max(begin, stem.stop - stem.start + begin))
    levels = [(max(0, frame - stem.start) + begin, gain) for frame, gain in stem.levels]
    waiting, ended = np.zeros((0, stem.channels), np.float32), False
    while not feeder.finished:
        while not ended:
            if not len(waiting):
                waiting = next(stem.voice, waiting)
                ended = not len(waiting)
                continue
            waiting = waiting[feeder.write(waiting) :]
            if len(waiting):
                break
        if ended:
            feeder.finish()
        now = output.meters.frames
        while levels and levels[0][0] <= now:
            feeder.gain = levels.pop(0)[1]
        until = levels[0][0] if levels else now + _BLOCK
        until = min(until, now + _BLOCK, begin if now < begin else now + _BLOCK)
        block = output.advance(until - now)
        if now >= begin:
            yield block
    feeder.detach()


class _WavFile:
    """A WAV file of 24 bits under a temporary name, until it is whole.

    Raises:
        RequestError: about the folder; so does `finish`, also where the name is taken.
    """

    def __init__(self, path: Path, rate: int, channels: int) -> None:
        self._path = path
        self._part = create_temporary(path.parent)
        self._file = soundfile.SoundFile(self._part, "w", rate, channels, "PCM_24", format="WAV")

    def write(self, block: Samples) -> None:
        self._file.write(block)

    def finish(self) -> None:
        self._file.close()
        try:
            publish(self._part, self._path)
        except OSError as error:
            raise folder_error(error, self._path.parent) from error

    def drop(self) -> None:
        """Throw it away, unless it is finished."""
        self._file.close()
        self._part.unlink(missing_ok=True)


class StemFile:
    """A stem on its way to disk, silent until it begins. It appears under its name when it is whole.

    Args:
        path: the WAV file, 24 bits.
        stems: its parts, in order of their starts, none over another.
        rate: Hz.
        zero: frame of the mix with which the file begins.
    """

    def __init__(self, path: Path, stems: Sequence[Stem], rate: int, zero: int) -> None:
        self.channels = stems[0].channels
        self._blocks = self._sound(stems, rate, zero)
        self._rest: Samples = np.zeros((0, self.channels), np.float32)
        self._path = path
        self._rate = rate
        self._file: _WavFile | None = None
        self.over = False

    def next(self, frames: int) -> Samples | None:
        """Write the next frames and return them ``[frames, channels]``, fewer at its end; None once it is over."""
        if self.over:
            return None
        if self._file is None:
            self._file = _WavFile(self._path, self._rate, self.channels)
        out: Samples = np.zeros((frames, self.channels), np.float32)
        at = 0
        while at < frames:
            if not len(self._rest):
                block = next(self._blocks, None)
                if block is None:
                    self.over = True
                    break
                self._rest = block
            count = min(frames - at, len(self._rest))
            out[at : at + count] = self._rest[:count]
            self._rest = self._rest[count:]
            at += count
        self._file.write(out[:at])
        if self.over:
            self._file.finish()
        return out[:at]

    def close(self) -> None:
        """Throw the file away, unless it is whole."""
        if self._file is not None:
            self._file.drop()

    def _sound(self, stems: Sequence[Stem], rate: int, zero: int) -> Iterator[Samples]:
        at = zero
        for stem in stems:
            while at < stem.start:
                count = min(_WINDOW, stem.start - at)
                yield np.zeros((count, self.channels), np.float32)
                at += count
            skip = max(0, at - stem.start)  # what was heard before the performance began
            for block in heard(stem, rate):
                dropped = min(skip, len(block))
                skip -= dropped
                yield block[dropped:]
                at += len(block) - dropped


def write_mix(
    path: Path,
    stems: Sequence[StemFile],
    rate: int,
    channels: int,
    levels: Sequence[tuple[int, float]],
    zero: int = 0,
) -> int:
    """Write all stems and their sum, as a card mixes them: glided to the master's level, clipped.

    Args:
        path: the WAV file, 24 bits.
        stems: not begun yet.
        rate: Hz.
        channels: of the mix.
        levels: frame and linear gain from there on, in order.
        zero: the frame with which the mix begins.

    Returns:
        Its length in frames.
    """
    earlier = [gain for frame, gain in levels if frame <= zero]
    later = [(frame, gain) for frame, gain in levels if frame > zero]
    gain = earlier[-1] if earlier else 1.0
    ramp = GainRamp(gain, round(rate * GLIDE_SECONDS), _WINDOW)
    at, length = zero, 0
    file = _WavFile(path, rate, channels)
    try:
        while not all(stem.over for stem in stems):
            mix: Samples = np.zeros((_WINDOW, channels), np.float32)
            frames = done = 0
            for stem in stems:
                block = stem.next(_WINDOW)
                if block is not None:
                    add(block, mix[: len(block)])
                    frames = max(frames, len(block))
            while done < frames:
                while later and later[0][0] <= at + done:
                    gain = later.pop(0)[1]
                until = min(frames, later[0][0] - at) if later else frames
                ramp.apply(mix[done:until], gain)
                done = until
            file.write(np.clip(mix[:frames], -1.0, 1.0))
            at += frames
            length += frames
        file.finish()
    finally:
        file.drop()
    return length


def add(block: Samples, out: Samples) -> None:
    """Add a voice to a mix as the card does: one channel to all, more of them each to its own, folded where there are fewer."""
    width, channels = out.shape[1], block.shape[1]
    if channels in (1, width):
        out += block
        return
    for channel in range(channels):
        into = channel % width
        share = 1.0 / len(range(into, channels, width))
        out[:, into] += block[:, channel] * np.float32(share)


def reader(path: Path, levelling: Levelling | None = None) -> tuple[Read, int, Callable[[], None]]:
    """A take to be read at any place, as it was before its file was levelled; its length; and what closes it."""
    file = soundfile.SoundFile(path)

    def read(position: int, count: int) -> Samples:
        file.seek(max(0, min(position, file.frames)))
        block: Samples = file.read(count, dtype="float32", always_2d=True)
        return block if levelling is None else levelling.undo(block)

    return read, file.frames, file.close


def difference(one: Path, other: Path) -> tuple[bool, float]:
    """Whether two files hold the same samples, bit for bit, and by how much they differ at most (full scale is 1)."""
    with soundfile.SoundFile(one) as first, soundfile.SoundFile(other) as second:
        if (first.frames, first.samplerate, first.channels) != (second.frames, second.samplerate, second.channels):
            return False, 1.0
        most = 0
        while True:
            a = first.read(1 << 18, dtype="int32", always_2d=True)
            b = second.read(1 << 18, dtype="int32", always_2d=True)
            if not len(a):
                return most == 0, most / 2**31
            most = max(most, int(np.abs(a.astype(np.int64) - b).max(initial=0)))
