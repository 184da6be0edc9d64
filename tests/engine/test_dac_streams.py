"""Language models with other codecs: one that points to a DAC plays at 44.1 kHz, 44100/512 frames per second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]

from engine.checkpoints import ModelBundle, load_model
from engine.stream import AudioBlock, EngineStream
from protocols.errors import ErrorCode
from protocols.messages import Continue, Generate
from tests.engine.test_codec import refusal
from tests.engine.test_codec_dac import make_model, sound
from tests.support import codec_states as states
from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint
from tests.support.streams import prepare

CODEBOOKS = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("dac") / "lm"
    settings = {
        "sample_rate": 44_100,
        "codebooks_pattern": {
            "modeling": "delay",
            "delay": {"delays": [0, 1, 2], "flatten_first": 0, "empty_initial": 0},
        },
    }
    write_audiocraft_checkpoint(
        folder, codebooks=CODEBOOKS, card=64, layers=2, seconds=2, codec_form="none", settings=settings
    )
    make_model(sampling_rate=44_100, n_codebooks=CODEBOOKS + 1).save_pretrained(folder / "dac_44khz")
    torch.save({"pretrained": "dac_44khz", "exported": True}, folder / "compression_state_dict.bin")
    return load_model(str(folder), device="cpu")


def played(stream: EngineStream) -> tuple[np.ndarray, np.ndarray]:
    codes, blocks = [], []
    advance = stream.sampler.advance

    def watched(*given: torch.Tensor | None) -> torch.Tensor | None:
        if (made := advance(*given)) is not None:
            codes.append(made[0].numpy())
        return made

    stream.sampler.advance = watched  # type: ignore[method-assign]
    while not stream.sampler.done:
        blocks += [event.samples for event in stream.advance() if isinstance(event, AudioBlock)]
    return np.concatenate(codes, 1), np.concatenate(blocks)


def test_facts(bundle: ModelBundle) -> None:
    assert bundle.frame_rate == Fraction(44_100, 512)
    assert (bundle.sample_rate, bundle.hop_length, bundle.num_codebooks) == (44_100, 512, CODEBOOKS)
    assert bundle.window_frames == int(2 * Fraction(44_100, 512))


def test_a_stream_is_its_codes_decoded_whole(bundle: ModelBundle) -> None:
    """Longer than the window, and not a whole number of frames."""
    seconds = 2.7
    codes, audio = played(prepare(bundle, Generate(prompt="bells", duration=seconds, seed=3)).stream)
    assert len(audio) == round(seconds * 44_100)
    assert codes.shape[1] == round(seconds * 44_100 / 512 + 0.5)
    whole = bundle.codec.decode(torch.from_numpy(codes)).numpy()[0, : len(audio)]
    assert float(np.abs(audio[:, 0] - whole).max()) < 1e-4


def test_a_region_goes_on(bundle: ModelBundle) -> None:
    prompt = sound(44_100).numpy().T
    request = Continue(prompt="bells", duration=0.5, seed=3, sample_rate=44_100, seam=False)
    prepared = prepare(bundle, request, np.ascontiguousarray(prompt, "<f4").tobytes())
    codes, audio = played(prepared.stream)
    assert len(audio) == 22_050
    heard = np.frombuffer(prepared.prompt_codes, "<u2").reshape(CODEBOOKS, -1).astype(np.int64)
    assert heard.shape[1] == prepared.stream.prompt_frames == bundle.window_frames - bundle.stride_frames
    whole = bundle.codec.decode(torch.from_numpy(np.concatenate((heard, codes), 1))).numpy()[0]
    first = heard.shape[1] * 512
    assert float(np.abs(audio[:, 0] - whole[first : first + len(audio)]).max()) < 1e-4


def test_a_codec_that_knows_whole_files_only_is_refused_at_once(tmp_path: Path) -> None:
    write_audiocraft_checkpoint(tmp_path, layers=1)
    path = tmp_path / "compression_state_dict.bin"
    content = torch.load(path, weights_only=True)
    normed = {"norm": "time_group_norm", "norm_params": {}, "disable_norm_outer_blocks": 0}
    config = yaml.safe_load(content["xp.cfg"])
    config["seanet"] |= normed
    state = states.encodec_state(config["seanet"] | {"channels": 1}, 4, 64, seed=1)
    torch.save({**content, "best_state": state, "xp.cfg": yaml.safe_dump(config)}, path)
    assert refusal(lambda: load_model(str(tmp_path), device="cpu")) == (ErrorCode.UNSUPPORTED, "codec")
