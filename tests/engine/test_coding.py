"""Codec jobs without an engine: what they write equals what transformers' EncodecModel makes, for every layout of codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from audio_files.channel_mixing import mix_gains
from audio_files.coded import CodedReader
from audio_files.coded_files import open_coded
from audio_files.sound_stream import SoundStream, stream_file
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.coding.__main__ import serve
from engine.coding.loading import load_named, loadable_name, title_of
from engine.coding.recoding import codebooks_for
from engine.coding.shelf import IDLE_SECONDS, KeptCodec, Shelf
from engine.coding.weighing import bytes_held
from engine.coding.work import Work
from engine.runtime.audio_codec import AudioCodec
from engine.runtime.codec import make_codec
from protocols.codec_messages import Decode, Encode
from protocols.errors import ErrorCode, RequestError

CPU = torch.device("cpu")
LAYOUTS: dict[str, dict[str, Any]] = {
    "mono32": {"sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4], "target_bandwidths": [1.2]},
    "causal24": {
        "sampling_rate": 24_000,
        "upsampling_ratios": [8, 5, 4, 2],
        "target_bandwidths": [0.9, 1.8],
        "use_causal_conv": True,
    },
    "stereo48": {
        "sampling_rate": 48_000,
        "audio_channels": 2,
        "upsampling_ratios": [8, 5, 4, 2],
        "target_bandwidths": [1.8, 3.6],
        "chunk_length_s": 1.0,
        "overlap": 0.01,
        "normalize": True,
        "norm_type": "time_group_norm",
    },
}


@pytest.fixture(scope="module")
def references() -> dict[str, Any]:
    """Tiny EncodecModels with random weights."""
    ensure_torchaudio()
    from transformers import EncodecConfig, EncodecModel

    made = {}
    with torch.random.fork_rng(devices=[]):
        for seed, (name, settings) in enumerate(LAYOUTS.items()):
            torch.manual_seed(seed)
            tiny = {"codebook_size": 64, "hidden_size": 16, "codebook_dim": 16, "num_filters": 4, "num_lstm_layers": 1}
            model: Any = EncodecModel(EncodecConfig(**{"use_causal_conv": False, **tiny, **settings})).eval()
            for layer in model.quantizer.layers:
                layer.codebook.embed.normal_()
            made[name] = model
    return made


@pytest.fixture
def codecs(references: dict[str, Any]) -> dict[str, AudioCodec]:
    return {
        name: make_codec(model, model.config.audio_channels, CPU, torch.float32) for name, model in references.items()
    }


@pytest.fixture
def work(codecs: dict[str, AudioCodec]) -> Work:
    return Work(Shelf(lambda name, device, channels: codecs[name], CPU), None, None)


def quiet(done: float, total: float) -> None:
    """Hears how far a job is."""


def sound(rate: int, channels: int, seconds: float = 2.3) -> NDArray[np.float32]:
    return (np.random.RandomState(5).randn(int(seconds * rate) + 3, channels) * 0.2).astype(np.float32)


def codes_of(path: str) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    with open_coded(Path(path)) as source:
        blocks = list(source.blocks())
        assert source.damage == ""
    return np.concatenate([block.codes for block in blocks], axis=1), np.concatenate([b.scales for b in blocks])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_of_codes_equals_what_transformers_makes(
    layout: str, work: Work, references: dict[str, Any], tmp_path: Path
) -> None:
    model = references[layout]
    rate, channels = model.config.sampling_rate, model.config.audio_channels
    samples = sound(rate, channels)
    soundfile.write(tmp_path / "in.wav", samples, rate, subtype="FLOAT")
    request = Encode(path=str(tmp_path / "in.wav"), out=str(tmp_path / "out.codes"), codec=layout)
    ended = work.encode(request, b"", quiet)
    codes, scales = codes_of(ended.path)
    audio = torch.from_numpy(samples.T)[None]
    with torch.inference_mode():
        wanted = model.encode(audio, bandwidth=model.config.target_bandwidths[-1])
    frames = [np.asarray(chunk[0]) for chunk in wanted.audio_codes]
    joined = np.concatenate(frames, axis=-1)[:, : codes.shape[1]]
    assert (codes == joined).mean() > 0.999
    if model.config.normalize:
        theirs = np.array([float(scale.flatten()[0]) for scale in wanted.audio_scales])
        assert np.allclose(scales, theirs[: len(scales)], rtol=1e-5)
    request_back = Decode(path=ended.path, out=str(tmp_path / "out.wav"), codec=layout, subtype="FLOAT")
    back, _ = soundfile.read(work.decode(request_back, b"", quiet).path, dtype="float32", always_2d=True)
    assert back.shape == samples.shape
    with torch.inference_mode():
        decoded = model.decode(
            wanted.audio_codes, wanted.audio_scales, last_frame_pad_length=wanted.last_frame_pad_length
        )
    theirs = decoded.audio_values[0].T.numpy()[: len(back)]
    assert np.abs(back[: len(theirs)] - theirs).max() < 1e-3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fewer_codebooks_are_the_first_of_all(layout: str, work: Work, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", sound(48_000, 2, 1.2), 48_000)
    path = str(tmp_path / "in.wav")
    everything = work.encode(Encode(path=path, out=str(tmp_path / "all.codes"), codec=layout), b"", quiet)
    few = work.encode(Encode(path=path, out=str(tmp_path / "few.codes"), codec=layout, codebooks=2), b"", quiet)
    assert np.array_equal(codes_of(few.path)[0], codes_of(everything.path)[0][:2])
    assert work.decode(Decode(path=few.path, out=str(tmp_path / "few.flac"), codec=layout), b"", quiet).codebooks == 2


def test_a_bandwidth_is_the_most_that_the_codes_may_take(codecs: dict[str, AudioCodec]) -> None:
    codec = codecs["causal24"]  # 75 frames of 6 bits: 0.45 kbit/s each
    assert [codebooks_for(codec, bandwidth, 0) for bandwidth in (0.45, 0.89, 0.9, 1.8, 99.0, 0.0)] == [1, 1, 2, 4, 4, 4]
    for bandwidth, codebooks in ((0.4, 0), (1.0, 2), (0.0, 5)):
        with pytest.raises(RequestError):
            codebooks_for(codec, bandwidth, codebooks)


def test_other_rates_and_channels_are_brought_to_the_codec_s(work: Work, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.flac", sound(44_100, 2, 0.7), 44_100)
    ended = work.encode(
        Encode(path=str(tmp_path / "in.flac"), out=str(tmp_path / "o.codes"), codec="mono32"), b"", quiet
    )
    with open_coded(Path(ended.path)) as source:
        list(source.blocks())
        assert source.samples == round((int(0.7 * 44_100) + 3) * 32_000 / 44_100)
    with stream_file(
        tmp_path / "in.flac",
        start_seconds=0.2,
        length_seconds=0.1,
        sample_rate=32_000,
        channels=1,
        allowed_folders=None,
    ) as stream:
        assert sum(block.shape[1] for block in stream.blocks()) == stream.samples == 3200


def test_what_other_codecs_made_is_refused(work: Work, references: dict[str, Any], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", sound(32_000, 1, 0.4), 32_000)
    ended = work.encode(
        Encode(path=str(tmp_path / "in.wav"), out=str(tmp_path / "o.codes"), codec="mono32"), b"", quiet
    )
    with pytest.raises(RequestError, match="sample_rate"):
        work.decode(Decode(path=ended.path, out=str(tmp_path / "o.wav"), codec="causal24"), b"", quiet)
    other = references["mono32"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        other.quantizer.layers[0].codebook.embed.normal_()
    changed = make_codec(other, 1, CPU, torch.float32)
    elsewhere = Work(Shelf(lambda name, device, channels: changed, CPU), None, None)
    with pytest.raises(RequestError, match="name the codec that they were made with"):
        elsewhere.decode(Decode(path=ended.path, out=str(tmp_path / "o.wav"), codec="x"), b"", quiet)
    assert not (tmp_path / "o.wav").exists()


def test_a_damaged_file_is_decoded_up_to_the_damage(work: Work, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", sound(32_000, 1, 25.0), 32_000)
    ended = work.encode(
        Encode(path=str(tmp_path / "in.wav"), out=str(tmp_path / "o.codes"), codec="mono32"), b"", quiet
    )
    content = Path(ended.path).read_bytes()
    (tmp_path / "cut.codes").write_bytes(content[: len(content) * 2 // 3])
    back = work.decode(
        Decode(path=str(tmp_path / "cut.codes"), out=str(tmp_path / "o.wav"), codec="mono32"), b"", quiet
    )
    assert back.note.startswith("the file of codes is damaged: it ends too early")
    assert 0 < soundfile.info(back.path).frames == back.frames * 640 < 25 * 32_000


def test_a_job_that_ends_early_leaves_nothing(work: Work, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", sound(32_000, 1, 8.0), 32_000)

    def stop(done: float, total: float) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.encode(Encode(path=str(tmp_path / "in.wav"), out=str(tmp_path / "o.codes"), codec="mono32"), b"", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_memory_does_not_grow_with_the_length(codecs: dict[str, AudioCodec]) -> None:
    noise = np.random.RandomState(8)
    blocks = (noise.randn(30_000, 2).astype(np.float32) * 0.1 for _ in range(60))
    heard = SoundStream(blocks, 60 * 30_000, 44_100, mix_gains(2, 1), 32_000)
    stream = codecs["mono32"].encoder_stream(2)
    held = []
    for block in heard.blocks():
        assert block.shape[1] < 40_000
        stream.encode(torch.from_numpy(block))
        held.append(stream.state_bytes)
    assert max(held[20:]) < 1.5 * max(held[:20]), "what waits for a whole block goes up and down, and no further"


def test_codecs_are_kept_a_few_at_a_time_and_given_back(codecs: dict[str, AudioCodec]) -> None:
    now = 0.0
    loaded = []

    def load(name: str, device: torch.device, channels: int) -> AudioCodec:
        loaded.append(name)
        return codecs["mono32"]

    shelf = Shelf(load, CPU, most=2, clock=lambda: now)
    own = KeptCodec("model", codecs["causal24"])
    assert shelf.find("", own) is own
    assert shelf.find("model", own) is own
    assert shelf.find_made("gone", codecs["causal24"].fingerprint, own, 1) is own
    for name in ("a", "b", "a", "c", "a"):
        now += 1
        shelf.find(name, own)
    assert loaded == ["a", "b", "c"]
    assert {info.name for info in shelf.infos} == {"a", "c"}
    assert shelf.weights_mb == pytest.approx(2 * bytes_held(codecs["mono32"]) / 2**20, abs=0.1)
    now += IDLE_SECONDS + 1
    shelf.drop_idle()
    assert shelf.infos == ()
    with pytest.raises(RequestError, match="codec"):
        shelf.find(" ", None)


def test_a_codec_comes_from_a_folder_and_is_called_by_its_name_only(references: dict[str, Any], tmp_path: Path) -> None:
    references["mono32"].save_pretrained(tmp_path / "my-codec")
    load = load_named(lambda name: None)
    codec = load(str(tmp_path / "my-codec"), CPU)
    soundfile.write(tmp_path / "in.wav", sound(32_000, 2, 0.3), 32_000)
    request = Encode(path=str(tmp_path / "in.wav"), out=str(tmp_path / "o.codes"), codec=str(tmp_path / "my-codec"))
    Work(Shelf(load, CPU), None, None).encode(request, b"", quiet)
    with open_coded(tmp_path / "o.codes") as source:
        assert (source.header.codec, source.header.fingerprint) == ("my-codec", codec.fingerprint)
    work = Work(Shelf(load, CPU), None, None)
    stereo = work.encode(
        Encode(path=str(tmp_path / "in.wav"), out=str(tmp_path / "s.codes"), codec=request.codec, stereo=True),
        b"",
        quiet,
    )
    assert (stereo.channels, stereo.codebooks) == (2, 2 * codec.num_codebooks)
    back = Decode(path=stereo.path, out=str(tmp_path / "s.wav"), codec=request.codec)
    assert soundfile.info(work.decode(back, b"", quiet).path).channels == 2
    assert title_of("facebook/encodec_24khz") == loadable_name("encodec-24khz") == "encodec-24khz"
    assert loadable_name("owner/strange") == loadable_name(str(tmp_path)) == ""
    for name in ("/none such/folder", "no-such-codec"):
        with pytest.raises(RequestError, match="codec = "):
            load(name, CPU)


def test_nothing_is_fetched_because_a_file_says_so(codecs: dict[str, AudioCodec]) -> None:
    def load(name: str, device: torch.device, channels: int) -> AudioCodec:
        raise AssertionError(name)

    shelf = Shelf(load, CPU, known=lambda name: "")
    with pytest.raises(RequestError) as refused:
        shelf.find_made("owner/strange", "", None, 1)
    assert refused.value.code is ErrorCode.MISSING


def test_lines_of_json_are_jobs(tmp_path: Path) -> None:
    lines = "\n".join(
        (
            "not json",
            '{"type": "quit"}',
            json.dumps({"type": "codec/encode", "path": "/none.wav", "out": "x.codes", "codec": "none such"}),
            json.dumps({"type": "codec/encode", "bandwidth": -1}),
        )
    )
    out = io.StringIO()
    serve(io.StringIO(lines), out, "cpu", 0)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(event["type"], event["job"], event["code"]) for event in events] == [
        ("codec/ended", 1, "malformed"),
        ("codec/ended", 2, "unknown_address"),
        ("codec/ended", 3, "not_found"),
        ("codec/ended", 4, "out_of_range"),
    ]


def test_short_pieces_go_without_files(work: Work, codecs: dict[str, AudioCodec]) -> None:
    samples = sound(32_000, 1, 0.5)
    ended = work.encode(Encode(codec="mono32", sample_rate=32_000), samples.tobytes(), quiet)
    reader = CodedReader(io.BytesIO(ended.content))
    codes = np.concatenate([block.codes for block in reader.blocks()], axis=1)
    assert np.array_equal(codes, codecs["mono32"].encode(torch.from_numpy(samples.T)).numpy())
    back = np.frombuffer(work.decode(Decode(codec="mono32"), ended.content, quiet).content, "<f4")
    wanted = codecs["mono32"].decode(torch.from_numpy(codes.astype(np.int64)))[0, : len(samples)]
    assert np.abs(back - wanted.numpy()).max() < 1e-6
    for payload, fields in ((b"123", {"sample_rate": 32_000}), (samples.tobytes(), {}), (b"", {})):
        with pytest.raises(RequestError):
            work.encode(Encode(codec="mono32", **fields), payload, quiet)
