"""A page of clips to listen to, with pictures of them: ``python -m engine.evaluation.listening docs/listening``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.words import FOUR_FOUR, Directions, metre_in
from engine.evaluation.generation import Request, encode, make_clips
from engine.evaluation.material import HeldOut, Samples, render_held_out
from engine.evaluation.metrics import has_melody, melody_request
from engine.evaluation.ogg import write_ogg
from engine.evaluation.pictures import Note, check_matplotlib, draw_clip
from engine.runtime.sampling import SamplingSettings
from engine.training.composer import TICKS_PER_BEAT
from engine.training.data.folders import written
from engine.training.display import Display
from protocols.errors import ErrorCode, RequestError

PROMPTS = (
    "slow jazz piano trio in A minor, 92 bpm",
    "driving house with polysynth lead, 125 bpm, in F minor",
    "happy country with steel guitar, G major, 115 bpm",
    "energetic rock band with overdriven guitar melody in E minor, 140 bpm",
    "calm ambient pads with choir lead in D dorian, 60 bpm",
    "bossa nova with nylon guitar and flute, 125 bpm, in C major",
    "lofi hip hop study beat with electric piano, mellow, 75 bpm, in E flat major",
    "chiptune, retro game music, square lead, playful, 150 bpm, in C major",
    "bright celtic jig with whistle, 100 bpm, in D major",
    "string quartet waltz, elegant, 3/4 time, 120 bpm, in B flat major",
    "dark drum and bass in D minor, 174 bpm",
    "relaxed reggae with organ, bass and drums, 75 bpm, in A minor",
)
MELODIES, CONTINUATIONS = 4, 4

_ABOUT = "Write a page of clips to listen to, with their sounds and pictures."
_ABOUT_PICTURES = """\
Each picture is a spectrogram, and below it the piano roll that is heard, harmonics included, with a line at every bar that was
asked for. Sounds are links, since pages on GitHub play none."""
_ABOUT_MELODIES = """\
The model is given the words and a melody that no training has heard (red in the roll), and makes the rest. It is told the pitch
classes: the octave is its own choice. Beside it, how the composer of the training data has set the same melody."""
_ABOUT_CONTINUATIONS = """\
The model hears the beginning of a piece that no training has heard, as its codec has it, up to the blue line, and goes on. Beside
it, how the piece itself goes on."""

_DRAWN = 40
_PROMPT_SECONDS = Fraction(5)
_EXTRA_SEEDS = 1000


@dataclass(frozen=True, eq=False)
class Item:
    """A clip on the page.

    Attributes:
        name: of its files, without suffix.
        title: what stands above it.
        samples: mono.
        melody: notes that were given, to be drawn.
        seam: where an audio prompt ends, in seconds.
        bar_seconds: length of a bar; 0 where it is not known.
        real: a real render to listen to beside it.
    """

    name: str
    title: str
    samples: Samples
    melody: Sequence[Note] = ()
    seam: float | None = None
    bar_seconds: float = 0.0
    real: Samples | None = None


def write_page(
    bundle: ModelBundle, folder: Path, seconds: Fraction, seed: int, display: Display, *, command: str, threads: int = 1
) -> int:
    """Make every clip and write the page, its sounds and its pictures into ``folder``; files of before are replaced.

    Args:
        bundle: the model.
        folder: made when it is not there.
        seconds: of new material in each clip.
        seed: of the draws and the held-out pieces; equal seeds, models and machines give equal files.
        display: shows progress.
        command: that makes the page again; it stands on it.
        threads: for rendering.

    Returns:
        Bytes of all files.

    Raises:
        RequestError: without matplotlib or what renders, or when the folder cannot be written.
    """
    check_matplotlib()
    with display.bar("held-out music", _DRAWN, lines=True) as advance:
        pieces = render_held_out(_DRAWN, seconds, seed, workers=threads, sample_rate=bundle.sample_rate)
        advance(_DRAWN, "")
    sung = _choose([one for one in pieces if has_melody(one)], MELODIES) if bundle.score else []
    taken = {one.clip.record.seed for one in sung}
    heard = _choose([one for one in pieces if one.clip.record.seed not in taken], CONTINUATIONS)
    with display.bar("making clips", len(PROMPTS) + len(sung) + len(heard), lines=True) as advance:
        parts = [_prompts(bundle, seconds, seed)]
        advance(len(PROMPTS), "")
        parts.append(_melodies(bundle, sung, seconds, seed + _EXTRA_SEEDS))
        advance(len(PROMPTS) + len(sung), "")
        parts.append(_continuations(bundle, heard, seconds, seed + 2 * _EXTRA_SEEDS))
        advance(len(PROMPTS) + len(sung) + len(heard), "")
    files = []
    with written(folder), display.bar("pictures and sounds", sum(map(len, parts)), lines=True) as advance:
        folder.mkdir(parents=True, exist_ok=True)
        for done, item in enumerate((item for part in parts for item in part), start=1):
            files += _write_item(folder, item, bundle.sample_rate)
            advance(done, item.name)
        page = folder / "index.md"
        page.write_text(_page(bundle, parts, seconds, seed, command), encoding="utf-8")
        return sum(path.stat().st_size for path in [*files, page])


def _prompts(bundle: ModelBundle, seconds: Fraction, seed: int) -> list[Item]:
    made = make_clips(bundle, [Request(prompt) for prompt in PROMPTS], seconds, seed)
    return [
        Item(f"prompt-{index:02}", prompt, samples, bar_seconds=_bar_of(prompt))
        for index, (prompt, samples) in enumerate(zip(PROMPTS, made, strict=True), start=1)
    ]


def _melodies(bundle: ModelBundle, pieces: Sequence[HeldOut], seconds: Fraction, seed: int) -> list[Item]:
    made = make_clips(bundle, [melody_request(bundle, one) for one in pieces], seconds, seed)
    return [
        Item(
            f"melody-{index}",
            one.prompt,
            samples,
            melody=_notes(one),
            bar_seconds=float(one.clip.record.seconds_at(one.clip.record.metre.beats)),
            real=one.mix,
        )
        for index, (one, samples) in enumerate(zip(pieces, made, strict=True), start=1)
    ]


def _continuations(bundle: ModelBundle, pieces: Sequence[HeldOut], seconds: Fraction, seed: int) -> list[Item]:
    items = []
    for index, one in enumerate(pieces, start=1):
        bar = one.clip.record.seconds_at(one.clip.record.metre.beats)
        most = Fraction(bundle.window_frames - bundle.stride_frames) / bundle.frame_rate
        bars = max(1, math.floor(min(_PROMPT_SECONDS, most) / bar))
        frames = min(round(bars * bar * bundle.frame_rate), math.floor(most * bundle.frame_rate))
        codes = encode(bundle, one.mix[: frames * bundle.hop_length])
        (samples,) = make_clips(bundle, [Request(one.prompt, codes=codes)], seconds, seed + index)
        seam = float(frames / bundle.frame_rate)
        items.append(
            Item(f"continuation-{index}", one.prompt, samples, seam=seam, bar_seconds=float(bar), real=one.mix)
        )
    return items


def _choose(pieces: Sequence[HeldOut], count: int) -> list[HeldOut]:
    """The first pieces of different styles."""
    chosen: dict[str, HeldOut] = {}
    for one in pieces:
        chosen.setdefault(one.clip.record.style, one)
    return list(chosen.values())[:count]


def _notes(one: HeldOut) -> list[Note]:
    """The melody's notes within a clip."""
    clip = one.clip
    found = []
    for note in clip.record.lead:
        start, end = (
            float(clip.record.seconds_at(Fraction(ticks, TICKS_PER_BEAT)) - clip.start)
            for ticks in (note.start, note.end)
        )
        if end > 0 and start < clip.seconds:
            found.append((start, end, note.pitch))
    return found


def _bar_of(prompt: str) -> float:
    tempo = Directions(prompt).tempo
    return 0.0 if tempo is None else float((metre_in(prompt) or FOUR_FOUR).beats_per_bar * 60 / tempo)


def _write_item(folder: Path, item: Item, sample_rate: int) -> list[Path]:
    sounds = (
        [(item.name, item.samples)]
        if item.real is None
        else [(item.name, item.samples), (f"{item.name}-real", item.real)]
    )
    paths = []
    for name, samples in sounds:
        real = samples is item.real
        sound, picture = folder / f"{name}.ogg", folder / f"{name}.png"
        write_ogg(sound, samples, sample_rate)
        seam = None if real else item.seam
        draw_clip(picture, samples, sample_rate, melody=item.melody, seam=seam, bar_seconds=item.bar_seconds)
        paths += [sound, picture]
    return paths


def _page(bundle: ModelBundle, parts: Sequence[Sequence[Item]], seconds: Fraction, seed: int, command: str) -> str:
    settings = SamplingSettings()
    prompts, melodies, continuations = parts
    status = {
        "trained": "trained: it keeps to every bound of the evaluation",
        "preview": "a preview: it is below a bound of the evaluation or has not been evaluated",
        "untrained": "untrained: its weights are random and it makes noise",
    }[bundle.status]
    sampling = f"temperature {settings.temperature:g}, top-k {settings.top_k}, guidance {settings.guidance:g}"
    lines = [
        f"# {bundle.name}: clips to listen to",
        "",
        f"The model is {status}. Nothing here was chosen or made again: these are the first clips that came.",
        "",
        f"- fingerprint `{bundle.fingerprint[:16]}`, {bundle.parameters / 1e6:.1f} M parameters with codec and text encoder",
        f"- sampling as the protocol has it: {sampling}; seed {seed}; {float(seconds):g} s of new material each",
        f"- made by `{command}`",
        "",
        _ABOUT_PICTURES,
        "",
        f"## {len(prompts)} prompts",
        "",
    ]
    for item in prompts:
        lines += _entry(item, f"“{item.title}”", "listen")
    if melodies:
        lines += [f"## {len(melodies)} melodies", "", _ABOUT_MELODIES, ""]
        for item in melodies:
            lines += _entry(item, f"“{item.title}”", "the model")
    lines += [f"## {len(continuations)} continuations", "", _ABOUT_CONTINUATIONS, ""]
    for item in continuations:
        lines += _entry(item, f"“{item.title}”, seam at {item.seam or 0:.2f} s", "the model")
    return "\n".join(lines).rstrip() + "\n"


def _entry(item: Item, title: str, link: str) -> list[str]:
    lines = [f"**{title}**: [{link}]({item.name}.ogg)"]
    if item.real is not None:
        lines[0] += f", [the real piece]({item.name}-real.ogg)"
    lines += ["", f"![spectrogram and piano roll of {item.name}]({item.name}.png)", ""]
    if item.real is not None:
        lines += [f"![the same of the real piece of {item.name}]({item.name}-real.png)", ""]
    return lines


def _command(options: argparse.Namespace, parser: argparse.ArgumentParser, name: str) -> str:
    """What makes the page again, without the places of this machine."""
    words = ["python -m engine.evaluation.listening", "docs/listening"]
    if name != parser.get_default("model"):
        words.append(f"--model {name}")
    for option in ("seconds", "seed"):
        value = getattr(options, option)
        if value != parser.get_default(option):
            words.append(f"--{option} {value}")
    return " ".join(words)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 when the page is written, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.listening", description=_ABOUT)
    parser.add_argument("folder", type=Path, help="of the page; made when it is not there")
    parser.add_argument("--model", default="pocket", help="a name, a folder, a hub id (default: pocket)")
    parser.add_argument(
        "--seconds", type=Fraction, default=Fraction(10), help="of new material in a clip (default: 10)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of draws and pieces (default: 0)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for all cores")
    options = parser.parse_args(argv)
    display = Display()
    display.open_log()
    try:
        for name, value, least, most in (("seconds", options.seconds, 3, 30), ("seed", options.seed, 0, 10_000)):
            if not least <= value <= most:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, float(value), f"{least} to {most}")
        threads = options.threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        check_matplotlib()
        bundle = load_model(options.model)
        command = _command(options, parser, bundle.name)
        size = write_page(
            bundle, options.folder, options.seconds, options.seed, display, command=command, threads=threads
        )
    except RequestError as error:
        sys.stderr.write(f"listening: {error.text}\n")
        return 2
    sys.stderr.write(f"{options.folder / 'index.md'}: {size / 1e6:.1f} MB in all\n")
    return 0
