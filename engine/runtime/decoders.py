"""What a decoder other than the codec's own is: it takes the codec's codes and makes sound of them in its own way.

Every codec is a decoder of its own codes too (`engine.runtime.audio_codec.StreamSource`). One that draws noise takes a seed, one
that does a lot at once says how it can be taken in pieces. `engine.runtime.diffusion` has such a one.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from engine.runtime.audio_codec import AudioCodec, DecoderStream

CODEC_CONTEXT_FRAMES = 100
"""How many frames a codec's decoder hears before what it makes is as if it had heard all: its memory is no longer than that."""


class Decoder(Protocol):
    """Makes sound of a codec's codes. Immutable: any thread may call any method.

    Attributes:
        context_frames: how many frames a stream has to have heard before what it makes is as if it had heard all.
        lookahead_samples: how far a stream's sound stays behind its codes at most, in samples.
    """

    @property
    def context_frames(self) -> int:
        """See above."""

    @property
    def lookahead_samples(self) -> int:
        """See above."""

    def stream(self, batch: int = 1, frame: int = 0, *, seed: int = 0) -> DecoderStream:
        """Begin ``batch`` streams in step with this frame.

        All outputs of a stream together are ``hop_length`` samples for each frame, the same whatever the chunks were, and from
        ``frame + context_frames`` on the same as if the stream had begun with frame 0.

        Args:
            batch: how many streams.
            frame: of the stream, that comes first.
            seed: of what is drawn by chance, if anything is.
        """


@runtime_checkable
class PiecewiseStream(Protocol):
    """A `DecoderStream` that can be asked for its work piece by piece, so that others are served between two pieces.

    Attributes:
        window_frames: how many frames it makes sound of at once.
        pieces_per_window: how many pieces of work that takes.
        reserve_samples: how much sound comes of it: while that is played, the next is made.
    """

    @property
    def window_frames(self) -> int:
        """See above."""

    @property
    def pieces_per_window(self) -> int:
        """See above."""

    @property
    def reserve_samples(self) -> int:
        """See above."""

    @property
    def busy(self) -> bool:
        """Whether there is work to do before more codes are needed."""

    def take(self, codes: Tensor) -> None:
        """Take codes as `DecoderStream.decode` does, and do nothing with them yet."""

    def finish(self) -> None:
        """Say that no more codes come. The stream has ended once it is not `busy` any more."""

    def work(self) -> Tensor:
        """Do one bounded piece, and give what became final of the sound: float32 ``[channels, m]``, mostly nothing."""


class CodecDecoder:
    """The codec's own decoder, as a `Decoder`.

    Args:
        codec: the codec.
    """

    def __init__(self, codec: AudioCodec) -> None:
        self._codec = codec

    @property
    def context_frames(self) -> int:
        """As of every codec."""
        return CODEC_CONTEXT_FRAMES

    @property
    def lookahead_samples(self) -> int:
        """The codec's."""
        return self._codec.lookahead_samples

    def stream(self, batch: int = 1, frame: int = 0, *, seed: int = 0) -> DecoderStream:
        """The codec's stream; nothing in it is drawn by chance."""
        return self._codec.stream(batch, frame)
