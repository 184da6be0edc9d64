"""The untrained pocket model: a MusicGen small enough for any computer, made where it is first needed.

It stands in where no trained pocket model comes with the engine, and serves the tests. Its weights are random, from a fixed seed,
so that its music is noise; everything else about it is a checkpoint like any other.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import platformdirs
import torch

from engine.checkpoints.parts import quiet_transformers
from engine.checkpoints.section import SECTION
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from protocols.errors import ErrorCode, RequestError

REVISION = 1
"""Part of the folder's name. Raised when the recipe changes, so that an old copy in somebody's cache is not taken for it."""

_SEED = 20240607
_CARD = 1024
_CODEBOOKS = 4
_LM_DIM = 256
_TEXT_DIM = 128
_CODEC_FILTERS = 8
_LEVEL_DBFS = -20.0
_PEAK = 0.8

_WORDS = """
a the and with of in on for to no very like style sound music song track loop beat groove rhythm melody harmony
chord bass bassline lead pad drum drums kick snare hat hihat cymbal clap percussion tom shaker guitar electric
acoustic piano organ synth synthesizer analog string strings violin cello brass trumpet saxophone flute choir voice
vocal vocals bell bells marimba harp arpeggio riff solo intro verse chorus bridge outro break drop fill build
ambient drone noise texture field recording techno house deep trance dub dubstep drum'n'bass jungle garage electro
disco funk soul jazz blues rock punk metal pop folk country reggae ska hiphop trap lofi classical orchestral
cinematic film game baroque romantic minimal experimental industrial latin samba bossa nova salsa african indian
arabic celtic fast slow medium tempo bpm happy sad dark bright warm cold soft loud hard heavy light calm tense
energetic dreamy epic mysterious aggressive gentle dry wet clean distorted reverb delay echo filter sweep wide mono
stereo major minor sharp flat key one two three four 60 70 80 90 100 110 120 128 130 140 150 160 170 174 180 high
low quality vintage modern 60s 70s 80s 90s old new live studio
"""


def pocket_folder(directory: Path | None = None) -> Path:
    """The folder of the untrained pocket model; made at the first call, in a few seconds.

    Safe when several processes do it at once: each writes a folder of its own and the first to finish gives it its name.

    Args:
        directory: where to keep it; the user's cache directory by default.

    Raises:
        RequestError: the directory cannot be written.
    """
    directory = directory or platformdirs.user_cache_path("daw-bridge", appauthor=False) / "models"
    folder = directory / f"pocket-{REVISION}"
    if (folder / "config.json").is_file():
        return folder
    try:
        directory.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=directory))
    except OSError as error:
        allowed = f"a directory that can be written: {error.strerror}"
        raise RequestError(ErrorCode.NOT_ALLOWED, "model", str(directory), allowed) from error
    try:
        write_pocket(work)
        work.chmod(0o755)
        try:
            work.rename(folder)
        except OSError:
            if not (folder / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def write_pocket(folder: Path) -> None:
    """Write the checkpoint into an existing folder. The same bytes at every call."""
    ensure_torchaudio()
    with quiet_transformers():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            tokenizer = _make_tokenizer()
            model = _make_model(len(tokenizer))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config[SECTION] = {"trained": False, "window_seconds": 30, "stride_seconds": 18}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _make_tokenizer() -> Any:
    """Words of music whole, everything else byte by byte, so that no text is unknown."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"<pad>": 0, "</s>": 1, "<unk>": 2}
    vocabulary = [(token, 0.0) for token in special]
    vocabulary += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    vocabulary += [(f"▁{word}", -math.log(len(_WORDS))) for word in dict.fromkeys(_WORDS.split())]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=special["<unk>"], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\w']+"), "removed"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def _make_model(vocabulary: int) -> Any:
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    text = T5Config(
        vocab_size=vocabulary,
        d_model=_TEXT_DIM,
        d_kv=32,
        d_ff=4 * _TEXT_DIM,
        num_layers=2,
        num_heads=4,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
    )
    codec = EncodecConfig(
        sampling_rate=32_000,
        audio_channels=1,
        upsampling_ratios=[8, 5, 4, 4],
        target_bandwidths=[_CODEBOOKS * math.log2(_CARD) * 50 / 1000],
        codebook_size=_CARD,
        codebook_dim=64,
        hidden_size=64,
        num_filters=_CODEC_FILTERS,
        num_lstm_layers=1,
        use_causal_conv=False,
        normalize=False,
        chunk_length_s=None,
        overlap=None,
        pad_mode="reflect",
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=_CARD,
        hidden_size=_LM_DIM,
        num_hidden_layers=6,
        num_attention_heads=4,
        ffn_dim=4 * _LM_DIM,
        num_codebooks=_CODEBOOKS,
        pad_token_id=_CARD,
        bos_token_id=_CARD,
        max_position_embeddings=2048,
    )
    model: Any = MusicgenForConditionalGeneration(
        MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    )
    model.generation_config.pad_token_id = _CARD
    model.generation_config.bos_token_id = _CARD
    model.generation_config.decoder_start_token_id = _CARD
    _randomise(model)
    _set_level(model.audio_encoder)
    return model.eval()


def _randomise(model: Any) -> None:
    """Draw every weight here, in the order of their names, so that no library's idea of a good start shapes the checkpoint."""
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if re.search(r"norm\.weight$|original0$", name):
                parameter.fill_(1.0)
            elif name.endswith("bias") or re.search(r"bias_[ih]h_l\d$", name):
                parameter.zero_()
            else:
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
                parameter.normal_(0.0, fan_in**-0.5)
        for layer in model.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_()


def _set_level(codec: Any) -> None:
    """Scale the codec's last layer so that random codes sound at `_LEVEL_DBFS`, without an offset and without clipping."""
    last = codec.decoder.layers[-1].conv
    weight = last.parametrizations.weight
    with torch.no_grad():
        weight.original1.sub_(weight.original1.mean(dim=2, keepdim=True))
        codes = torch.randint(0, _CARD, (1, 1, _CODEBOOKS, 500))
        audio = codec.eval().decode(codes, [None]).audio_values
        gain = 10 ** (_LEVEL_DBFS / 20) / float(audio.square().mean().sqrt())
        weight.original0.mul_(min(gain, _PEAK / float(audio.abs().max())))
