"""The style conditioner: what it makes of a recording, as AudioCraft does, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]

from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.parts import quiet_transformers
from engine.conditioning.style import StyleConditioner
from protocols.errors import RequestError
from protocols.messages import Generate
from protocols.style import StyleCodes
from tests.support.audiocraft_checkpoints import change
from tests.support.streams import codes_of, play
from tests.support.style_models import BINS, CARD, DIM, FORMS, recording, write_style_checkpoint

FIGURES = json.loads((Path(__file__).parent / "figures" / "style.json").read_text())
START, LENGTH = 7000, 96_000
SOUND = torch.from_numpy(recording())[None]


@pytest.fixture(scope="module", params=list(FORMS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ModelBundle]:
    folder = write_style_checkpoint(tmp_path_factory.mktemp("style") / request.param, request.param)
    return request.param, load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_model(str(write_style_checkpoint(tmp_path_factory.mktemp("style") / "quantised")), device="cpu")


@pytest.fixture(scope="module")
def style(bundle: ModelBundle) -> StyleConditioner:
    assert bundle.style is not None
    return bundle.style


def test_embeddings_are_audiocrafts(model: tuple[str, ModelBundle]) -> None:
    form, bundle = model
    conditioner, figures = bundle.style, FIGURES[form]
    assert conditioner is not None
    details = [int(name.split("_")[1]) for name in figures if name.startswith("embeddings")]
    for detail in details:
        eval_q = detail if conditioner.facts.books else None
        embeddings, mask = conditioner.encode(SOUND, start=START, length=LENGTH, eval_q=eval_q)
        expected = torch.tensor(figures[f"embeddings_{detail}"])
        assert embeddings.shape == (len(expected), DIM)
        torch.testing.assert_close(embeddings[:, : expected.shape[1]], expected, rtol=0, atol=1e-4)
        assert mask.tolist() == figures["mask"]


@pytest.mark.parametrize("beta", [None, 5.0, 0.5])
@pytest.mark.parametrize("words", ["a happy song", ""])
def test_tokens_are_audiocrafts(model: tuple[str, ModelBundle], words: str, beta: float | None) -> None:
    form, bundle = model
    expected = FIGURES[form].get(f"tokens_{words or 'nothing'}_{beta}")
    if expected is None:  # without words β has nothing to weigh: the same tokens
        expected = FIGURES[form][f"tokens_{words or 'nothing'}_None"]
    assert bundle.style is not None
    codes = bundle.style.read(SOUND[:, START : START + LENGTH]).encode()
    request = Generate(
        prompt=words,
        duration=0.8,
        temperature=0.0,
        seed=1,
        style_codes=codes,
        double_guidance=1.0 if beta is None else beta,
    )
    assert codes_of(play(bundle, request)).tolist() == expected


def test_a_style_is_the_same_when_it_was_written_down(style: StyleConditioner) -> None:
    codes = style.read(SOUND)
    assert StyleCodes.decode(codes.encode()) == codes
    assert np.array(codes.codes).shape == (4, 14), "4 s are 200 frames, one in 15 of them a token"
    for detail in range(1, 5):
        heard = style.style(codes).prelude(detail).embeddings
        assert torch.equal(heard, style.encode(SOUND, length=SOUND.shape[1], eval_q=detail)[0])
    stereo = torch.stack((SOUND[0] * 1.5, SOUND[0] * 0.5))
    assert style.read(stereo) == codes, "channels are averaged"


def test_fewer_codebooks_are_a_vaguer_style(style: StyleConditioner) -> None:
    whole = style.style(style.read(SOUND))
    finest = whole.prelude(4).embeddings
    distances = [float((whole.prelude(detail).embeddings - finest).norm()) for detail in range(1, 5)]
    assert distances[3] == 0
    assert all(distances[:3])


@pytest.mark.parametrize(
    ("codes", "match"),
    [
        ("{", "style_codes"),
        ('{"model": "x"}', "either codes or values"),
        ('{"model": "x", "codes": [[1], []]}', "as many codes"),
        ('{"model": "x", "codes": [[-1]]}', "0 to 65535"),
        ('{"model": "x", "codes": [[1]]}', "read the recording again"),
        ('{"model": "MODEL", "codes": [[1]]}', "4 codebooks of 16 codes"),
        ('{"model": "MODEL", "codes": [[1], [2], [3], [16]]}', "4 codebooks of 16 codes"),
        ('{"model": "MODEL", "values": "AACAPw=="}', "4 codebooks of 16 codes"),
        ('{"model": "MODEL", "values": "!"}', "base64"),
        ('{"model": "MODEL", "values": "AADAfw=="}', "finite"),
    ],
)
def test_codes_that_are_refused(style: StyleConditioner, codes: str, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        style.check(StyleCodes.decode(codes.replace("MODEL", style.id)))


def test_a_style_that_is_too_long_is_refused(style: StyleConditioner) -> None:
    row = tuple([BINS - 1] * (style.facts.tokens + 1))
    with pytest.raises(RequestError, match="at most 15"):
        style.check(StyleCodes(style.id, (row,) * 4))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"start": 128_000}, "style_start"),
        ({"start": 120_000}, "style_length"),
        ({"length": 0}, "style_length"),
        ({"eval_q": 5}, "style_detail"),
    ],
)
def test_excerpts_that_are_refused(style: StyleConditioner, arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(RequestError, match=match):
        style.encode(SOUND, **arguments)


def test_sound_that_is_none_is_refused(style: StyleConditioner) -> None:
    for sound in (torch.zeros(0), torch.full((9000,), torch.nan), torch.zeros(1, 1, 4)):
        with pytest.raises(RequestError, match="style_path"):
            style.read(sound)


def change_config(folder: Path, **settings: Any) -> None:
    """Set dotted keys, with two underscores for a dot, of a checkpoint's configuration."""
    package = torch.load(folder / "state_dict.bin", weights_only=True)
    config = yaml.safe_load(package["xp.cfg"])
    change(config, {name.replace("__", "."): value for name, value in settings.items()})
    torch.save(package | {"xp.cfg": yaml.safe_dump(config)}, folder / "state_dict.bin")


def test_features_may_be_another_codecs(tmp_path: Path) -> None:
    from transformers import EncodecConfig, EncodecModel

    own, other, pointed = (write_style_checkpoint(tmp_path / name) for name in ("own", "other", "pointed"))
    settings: Any = {"upsampling_ratios": [8, 5, 4, 4], "codebook_size": CARD, "hidden_size": 16, "num_filters": 4}
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(3)
        kind: Any = EncodecConfig
        released = EncodecModel(kind(sampling_rate=32_000, target_bandwidths=[1.2], num_lstm_layers=1, **settings))
        for layer in released.quantizer.layers:
            layer.codebook.embed.normal_()
        for folder in (other, pointed):
            released.save_pretrained(folder / "encodec_32khz")
            named = "//pretrained/facebook/encodec_32khz"
            change_config(folder, conditioners__self_wav__style__encodec_checkpoint=named)
    change_config(other, compression_model_checkpoint="//sig/0123abcd")
    torch.save({"pretrained": "facebook/encodec_32khz"}, pointed / "compression_state_dict.bin")
    codes = []
    for folder in (own, other, pointed):
        style = load_model(str(folder), device="cpu").style
        assert style is not None
        codes.append(style.read(SOUND))
    assert codes[0] != codes[1] == codes[2]
    change_config(own, conditioners__self_wav__style__encodec_checkpoint="/checkpoint/user/codec.th")
    with pytest.raises(RequestError, match=r"encodec_checkpoint.*compression_state_dict\.bin"):
        load_model(str(own), device="cpu")


@pytest.mark.parametrize(
    ("setting", "value", "match"),
    [
        ("transformer_scale", "huge", "transformer_scale.*xsmall"),
        ("model_name", "clap", "model_name"),
        ("eval_q", 9, "eval_q.*1 to 4"),
        ("sample_rate", 44_100, "sample_rate.*32000"),
        ("bins", 17, r"rvq.vq.layers.0._codebook.embed"),
        ("n_q_out", 5, r"rvq.vq.layers.4._codebook.embed.*absent"),
        ("encodec_n_q", 5, "encodec_n_q.*1 to 4"),
        ("varying_lengths", [4.5, 1.5], "varying_lengths"),
        ("ds_factor", 0, "ds_factor"),
        ("transformer_scale", "default", "output_proj|embed"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path, setting: str, value: object, match: str) -> None:
    folder = write_style_checkpoint(tmp_path / "quantised")
    change_config(folder, **{f"conditioners__self_wav__style__{setting}": value})
    with pytest.raises(RequestError, match=match):
        load_model(str(folder), device="cpu")
