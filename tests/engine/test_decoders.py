"""Decoders in a codec's place: named by requests, loaded when they are needed, and heard in streams."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from engine.admission import Admission
from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.decoders import CODEC, MULTI_BAND, DecoderName, find_decoder, usable
from engine.decoders import Decoders
from engine.journal.replay import Recording
from engine.preparation import Preparation
from engine.stream import AudioBlock, EngineStream, FramesMade, StreamEnded
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Continue, Generate, StreamRequest
from protocols.settings import EngineSettings, FileSettings, Settings
from tests.support import diffusion_packages as packages
from tests.support.tiny_checkpoints import write_tiny_checkpoint

RATE, HOP = 32_000, 640

PLUGIN = '''
import torch

class Buzz:
    """A square wave whose level is that of the first codebook; it takes sound as it comes, with nothing ahead."""

    context_frames = 0
    lookahead_samples = 0
    fingerprint = "b" * 64

    def __init__(self, codec, options):
        self.codec, self.level = codec, float(options.get("level", "0.1"))

    def stream(self, batch=1, frame=0, *, seed=0):
        return BuzzStream(self)

class BuzzStream:
    batch, frames_done, samples_done, ended, state_bytes, lookahead_samples = 1, 0, 0, False, 0, 0

    def __init__(self, buzz):
        self.buzz = buzz

    def decode(self, codes):
        level = codes[0].float() / self.buzz.codec.card * self.buzz.level
        self.frames_done += codes.shape[-1]
        self.samples_done = self.frames_done * self.buzz.codec.hop_length
        return level.repeat_interleave(self.buzz.codec.hop_length)[None].repeat(self.buzz.codec.channels, 1)

    def flush(self):
        self.ended = True
        return torch.zeros(self.buzz.codec.channels, 0)

def fails(codec, options):
    raise ZeroDivisionError("no such luck")

def nothing(codec, options):
    return 3

class Short(Buzz):
    def stream(self, batch=1, frame=0, *, seed=0):
        stream = BuzzStream(self)
        stream.flush = lambda: setattr(stream, "samples_done", 5)
        return stream
'''


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_model(str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture(scope="module")
def package(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = bundle.codec.embed(torch.zeros(1, 4, 1, dtype=torch.long)).shape[-1]
    config = packages.settings(RATE, diffusion_unet__codec_dim=size, diffusion_unet__hidden=4, processor__use=False)
    return packages.write_package(tmp_path_factory.mktemp("mbd") / "mbd.th", packages.package(RATE, config))


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "acme_buzz.py").write_text(PLUGIN)
    info = tmp_path / "acme_buzz-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-buzz\nVersion: 0.3\n")
    names = {"buzz": "Buzz", "fails": "fails", "nothing": "nothing", "short": "Short", "codec": "Buzz"}
    points = "".join(f"{name} = acme_buzz:{thing}\n" for name, thing in names.items())
    (info / "entry_points.txt").write_text(f"[daw_bridge.decoders]\n{points}absent = acme_is_not_here:Buzz\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_buzz", raising=False)
    return tmp_path


def named(package: Path, **options: Any) -> str:
    values = {"window": 0.4, "overlap": 0.1, "steps": 1} | options
    return f"{MULTI_BAND} source={package} " + " ".join(f"{key}={value}" for key, value in values.items())


def prepared(bundle: ModelBundle, request: StreamRequest, payload: bytes = b"", **changes: Any) -> EngineStream:
    plan = dataclasses.replace(Admission(bundle, Settings()).plan(request, payload), **changes)
    stream = Preparation(bundle).prepare(1, plan).stream
    stream.journaled = True
    return stream


def played(stream: EngineStream, block: int = 4000) -> tuple[np.ndarray, np.ndarray, tuple[int, bytes]]:
    """Its sound ``[samples, channels]``, its codes ``[codebooks, frames]`` and a state of its generator, with its frame."""
    sounds, codes, states, most = [], [], [], 0
    for _ in range(20_000):
        if not stream.has_room:
            stream.taken = min(stream.taken + block, stream.samples_out)
            continue
        for event in stream.advance():
            if isinstance(event, AudioBlock):
                assert event.position == sum(map(len, sounds))
                sounds.append(event.samples)
                most = max(most, stream.samples_out - stream.taken)
            elif isinstance(event, FramesMade):
                codes.append(event.codes)
                states += [(event.first + len(event.codes), event.generator)] if event.generator else []
            elif isinstance(event, StreamEnded):
                assert event.reason == "done"
                assert most < stream.lead_samples + 8 * HOP
                return np.concatenate(sounds), np.concatenate(codes).T.astype(np.int64), states[0]
    raise AssertionError("it never ends")


def decoded(bundle: ModelBundle, name: str, codes: np.ndarray, seed: int) -> Tensor:
    stream = find_decoder(DecoderName.read(name), bundle.codec).decoder.stream(seed=seed)
    return torch.cat((stream.decode(torch.from_numpy(codes)), stream.flush()), -1)


@pytest.mark.parametrize("lead", [0.1, 5.0])
def test_a_stream_is_decoded_by_diffusion(bundle: ModelBundle, package: Path, lead: float) -> None:
    name = named(package)
    request = Generate(prompt="a song", duration=1.31, seed=7, lead=lead, decoder=name)
    sound, codes, _ = played(prepared(bundle, request))
    assert sound.shape == (round(1.31 * RATE), 1)
    torch.testing.assert_close(
        torch.from_numpy(sound.T), decoded(bundle, name, codes, 7)[:, : len(sound)], rtol=0, atol=1e-5
    )
    plain, same_codes, _ = played(prepared(bundle, msgspec.structs.replace(request, decoder=CODEC)))
    assert np.array_equal(codes, same_codes)
    assert not np.allclose(plain, sound, atol=1e-3)


def test_a_stream_ends_wherever_its_windows_do(bundle: ModelBundle, package: Path) -> None:
    for frames in (1, 20, 35, 36):  # a frame, a window, two windows, and one frame more
        request = Generate(prompt="a song", duration=max(0.1, frames / 50), seed=7, decoder=named(package))
        sound, codes, _ = played(prepared(bundle, request))
        assert len(sound) == max(5, frames) * HOP == codes.shape[1] * HOP


def test_a_region_is_gone_on_with(bundle: ModelBundle, package: Path) -> None:
    region = np.sin(np.arange(RATE) / 20).astype("<f4") * 0.3
    request = Continue(sample_rate=RATE, duration=0.8, seed=7, decoder=named(package))
    sound, codes, _ = played(prepared(bundle, request, region.tobytes()))
    assert sound.shape == (round(0.8 * RATE), 1)
    plan = Admission(bundle, Settings()).plan(request, region.tobytes())
    assert plan.audio is not None
    prompt = bundle.codec.encode(torch.from_numpy(plan.audio)).numpy()
    whole = decoded(bundle, named(package), np.concatenate((prompt, codes), 1), 7)[:, prompt.shape[1] * HOP :]
    seam = round(0.1 * RATE)  # it leads over from the region's own sound, and then only glides in level
    level = sound[-HOP:].std() / whole[:, -HOP:].numpy().std()
    assert 0.3 < level < 3
    assert np.corrcoef(sound[seam:, 0], whole[0, seam:].numpy())[0, 1] > 0.99


def test_a_stream_goes_on_in_the_middle_as_the_whole(bundle: ModelBundle, package: Path) -> None:
    request = Generate(prompt="a song", duration=3.0, seed=7, decoder=named(package))
    whole, codes, state = played(prepared(bundle, request))
    for frame in (140, 131):
        again = msgspec.structs.replace(request, from_frame=frame)
        recording = Recording(codes[:, :frame].T.astype("<u2"), (state,) if frame == 131 else ())
        rest, rest_codes, _ = played(prepared(bundle, again, recording=recording))
        assert np.array_equal(rest_codes, codes[:, frame:])
        np.testing.assert_allclose(rest, whole[frame * HOP :], rtol=0, atol=1e-5)


def test_the_request_names_what_was_used(bundle: ModelBundle, package: Path) -> None:
    settings = Settings(engine=EngineSettings(decoder=named(package)))
    plan = Admission(bundle, settings).plan(Generate(prompt="x"), b"")
    used = DecoderName.read(plan.request.decoder)
    assert used.name == MULTI_BAND
    assert dict(used.options)["window"] == "0.4"
    assert len(dict(used.options)["fingerprint"]) == 16
    assert Admission(bundle, Settings()).plan(Generate(prompt="x"), b"").request.decoder == CODEC
    # What a sidecar names is found again, by an engine with other settings too; another package is not taken for it.
    assert Admission(bundle, Settings()).plan(plan.request, b"").request.decoder == plan.request.decoder
    other = packages.package(RATE, packages.settings(RATE, diffusion_unet__codec_dim=16), seed=9)
    packages.write_package(package.with_name("other.th"), other)
    moved = plan.request.decoder.replace("mbd.th", "other.th")
    with pytest.raises(RequestError, match="as it is here"):
        Admission(bundle, Settings()).plan(Generate(prompt="x", decoder=moved), b"")


def test_decoders_are_kept_and_share_their_weights(bundle: ModelBundle, package: Path) -> None:
    decoders = Decoders(bundle.codec)
    assert not decoders.is_ready(named(package))
    first = decoders.load(named(package))
    assert decoders.is_ready(named(package))
    assert decoders.load(str(first.name)) is first
    assert first.realtime > 0
    before = decoders.weight_bytes
    decoders.load(named(package, steps=2))
    assert decoders.weight_bytes == before > 0
    for steps in range(3, 9):
        decoders.load(named(package, steps=steps))
    assert not decoders.is_ready(named(package))
    slow = dataclasses.replace(first, realtime=0.25)
    assert "0.25 s of sound a second" in slow.note
    assert dataclasses.replace(first, realtime=2.0).note == ""


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("nobody", ErrorCode.OUT_OF_RANGE, "codec"),
        ("multiband-diffusion", ErrorCode.UNSUPPORTED, "codec"),
        ("multiband-diffusion steps=many source={}", ErrorCode.BAD_TYPE, "steps"),
        ("multiband-diffusion steps=0 source={}", ErrorCode.OUT_OF_RANGE, "steps"),
        ("multiband-diffusion window=1000 source={}", ErrorCode.OUT_OF_RANGE, "window"),
        ("multiband-diffusion colour=red source={}", ErrorCode.UNKNOWN_PARAMETER, "colour"),
        ("multiband-diffusion source=/etc/hostname", ErrorCode.NOT_ALLOWED, "source"),
        ("multiband-diffusion source={}.absent", ErrorCode.NOT_FOUND, "absent"),
        ("multiband-diffusion source", ErrorCode.MALFORMED, "decoder"),
        ("codec window=3", ErrorCode.UNKNOWN_PARAMETER, "window"),
        ('codec "', ErrorCode.MALFORMED, "decoder"),
    ],
)
def test_what_cannot_decode_is_refused(
    bundle: ModelBundle, package: Path, name: str, code: ErrorCode, text: str
) -> None:
    settings = Settings(files=FileSettings(allowed=[str(package.parent)]))
    with pytest.raises(RequestError, match=text) as refused:
        Admission(bundle, settings).plan(Generate(prompt="x", decoder=name.format(package)), b"")
    assert refused.value.code is code
    assert refused.value.field.startswith("decoder")


def test_what_does_not_fit_into_memory_is_refused(bundle: ModelBundle, package: Path, tmp_path: Path) -> None:
    package = Path(shutil.copy(package, tmp_path / "not_loaded_yet.th"))
    with pytest.raises(RequestError) as refused:
        find_decoder(DecoderName.read(f"{MULTI_BAND} source={package} steps=1"), bundle.codec, memory_limit_mb=1)
    assert refused.value.code is ErrorCode.NO_MEMORY


def test_a_wish_of_the_settings_that_does_not_fit_leaves_the_codec(bundle: ModelBundle) -> None:
    wish = Settings(engine=EngineSettings(decoder="multiband-diffusion"))
    assert Decoders.of(bundle, wish).names[0] == CODEC
    with pytest.raises(RequestError):
        Decoders.of(bundle, wish, "multiband-diffusion")
    with pytest.raises(RequestError):
        Decoders.of(bundle, Settings(engine=EngineSettings(decoder="nobody")))


def test_what_is_not_downloaded_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    class MusicgensCodec:
        sample_rate, num_codebooks, device = RATE, 4, torch.device("cpu")

        def embed(self, codes: Tensor) -> Tensor:
            return torch.zeros(1, codes.shape[-1], 128)

    codec: Any = MusicgensCodec()
    assert usable(codec) == [CODEC, MULTI_BAND]
    with pytest.raises(RequestError, match="daw-bridge models download multiband-diffusion") as refused:
        find_decoder(DecoderName.read(MULTI_BAND), codec)
    assert refused.value.code is ErrorCode.NOT_DOWNLOADED
    assert refused.value.field == "decoder"


def test_a_decoder_of_another_distribution_is_heard(bundle: ModelBundle, plugins: Path) -> None:
    assert Decoders(bundle.codec).names == (CODEC, "absent", "buzz", "fails", "nothing", "short")
    request = Generate(prompt="a song", duration=0.5, seed=7, decoder="buzz level=0.5")
    sound, codes, _ = played(prepared(bundle, request))
    np.testing.assert_allclose(sound[:, 0], (codes[0] / 64 * 0.5).repeat(HOP), rtol=1e-5)
    plan = Admission(bundle, Settings()).plan(request, b"")
    assert plan.request.decoder == f"buzz fingerprint={'b' * 16} level=0.5"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fails", "no such luck"),
        ("nothing", "context_frames"),
        ("absent", "acme_is_not_here"),
        ("short", "5 samples"),
        ("buzz level=loud", "could not convert"),
    ],
)
def test_a_decoder_that_is_broken_is_told_by_name(bundle: ModelBundle, plugins: Path, name: str, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as refused:
        Admission(bundle, Settings()).plan(Generate(prompt="x", decoder=name), b"")
    assert refused.value.value == name.split()[0]
    # What is left goes on.
    assert Admission(bundle, Settings()).plan(Generate(prompt="x"), b"").request.decoder == CODEC
