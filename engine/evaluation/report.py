"""One evaluation from beginning to end, and its report."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from engine.checkpoints import ModelBundle
from engine.evaluation import metrics
from engine.evaluation.chroma import share_in_key
from engine.evaluation.generation import Request, decode, encode, make_clips
from engine.evaluation.material import HeldOut, Samples, read_held_out, render_held_out
from engine.evaluation.onsets import RATE
from engine.evaluation.profile import Profile, profiles
from engine.runtime.sampling import SamplingSettings
from engine.training.display import Advance, Display
from protocols.errors import ErrorCode, RequestError

FORM = 1
"""Of the report. Raised when a metric changes its meaning."""
FULL_CLIPS = 100
"""How many clips the gates are about."""

ABOUT = {
    "ceiling": "the same metric of real held-out renders; where two clips are compared, of another crop of the same piece",
    "through_codec": "the same metric of the real renders, encoded and decoded: the best that an LM over these codes can do",
    "control": "chance: the clips measured against the next prompt; for the Fréchet distance, white noise",
    "log_mel_distance": "mean absolute difference of log10 magnitudes of 80 mel bands; 1 is 20 dB",
    "cross_entropy_nats": "teacher-forced, with caption, beat and scale; unigram is the entropy of these very codes' frequencies",
    "tempo_right": "share of clips whose tempo, estimated blind, is within 4 % of the asked one, its half or its double",
    "beat_alignment": "onset strength within 30 ms of the asked beats over that of the whole clip",
    "in_key": "share of chroma energy (harmonic peaks, 100 to 2000 Hz) in the asked scale; 7/12 is noise",
    "melody_cosine": "mean cosine of the given melody (one pitch class a frame) and soft chroma, where the melody sounds; the "
    "gate's form. Its ceiling is the real mix, since a mix is asked for",
    "melody_agreement": "share of the melody's frames whose strongest pitch class is the melody's",
    "onset_rate_difference": "onsets per second, mean absolute difference to the real render of the prompt",
    "frechet_logmel": "between halves of the prompts, of mean and deviation of 32 log-mel bands over seconds; no FAD",
}
"""What the numbers of a report mean, in the report itself."""

_PACKAGES = ("torch", "transformers", "numpy", "scipy")


@dataclass(frozen=True)
class Plan:
    """What is measured, and on how much.

    Attributes:
        clips: prompts.
        melodies: how many of them are made with their melody too.
        seconds: length of a clip; at most the model's window is of use.
        seed: of the held-out pieces, crops and draws.
        data: folder of a split of held-out audio; None composes and renders.
        threads: for rendering and measuring.
        sampling: how tokens are drawn; there are gates only for the protocol's defaults.
    """

    clips: int = FULL_CLIPS
    melodies: int = 40
    seconds: Fraction = Fraction(10)
    seed: int = 0
    data: Path | None = None
    threads: int = 1
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("clips", self.clips, 4, 10_000),
            ("melodies", self.melodies, 2, self.clips),
            ("seconds", self.seconds, 3, 120),
            ("seed", self.seed, 0, 10_000),
            ("threads", self.threads, 1, 256),
        ):
            if not least <= value <= most:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, float(value), f"{least} to {most}")


@dataclass(frozen=True)
class Gate:
    """A bound that a model must keep to be called trained.

    Attributes:
        metric: where its value is in the report.
        bound: the worst that is allowed.
        at_least: whether the value may not be below it; else it may not be above.
        clips: how many clips must have been made for it to be met.
    """

    metric: tuple[str, str]
    bound: float
    at_least: bool
    clips: int = 0


GATES = {
    "tempo_right": Gate(("music", "tempo_right"), 0.7, True),
    "in_key": Gate(("music", "in_key"), 0.75, True),
    "codec_log_mel_distance": Gate(("codec", "log_mel_distance"), 0.2, False),
    "melody_cosine": Gate(("music", "melody_cosine"), 0.6, True),
    "silent_clips": Gate(("music", "silent_clips"), 0, False, FULL_CLIPS),
    "clipping_clips": Gate(("music", "clipping_clips"), 0, False, FULL_CLIPS),
}
"""Of issue "Pocket": what a model must reach."""


def evaluate(bundle: ModelBundle, plan: Plan, display: Display) -> dict[str, Any]:
    """Measure a model; what comes back can be written as JSON.

    Raises:
        RequestError: a model whose rate cannot be measured, or what `render_held_out` and `read_held_out` raise.
    """
    if bundle.sample_rate % RATE:
        raise RequestError(ErrorCode.UNSUPPORTED, "sample_rate", bundle.sample_rate, f"a multiple of {RATE} Hz")
    began = datetime.now(UTC)
    clips = _material(bundle, plan, display)
    real = [one.mix for one in clips]

    codes, coded = [], []
    with display.bar("codec", len(real), lines=True) as advance:
        for samples in real:
            codes.append(encode(bundle, samples))
            coded.append(decode(bundle, codes[-1], len(samples)))
            _tell(advance, len(coded), len(real))
        held: dict[str, dict[str, metrics.Metric]] = {"codec": metrics.codec_metrics(real, coded, bundle.sample_rate)}
    with display.bar("language model", 1, lines=True) as advance:
        held["language_model"] = metrics.language_metrics(bundle, clips, torch.stack(codes))
        advance(1, "")
    with display.bar("making clips", len(clips), lines=True) as advance:
        requests = [Request(one.prompt) for one in clips]
        made = make_clips(bundle, requests, plan.seconds, plan.seed, plan.sampling, tell=lambda done: advance(done, ""))

    ours, theirs, through, others = (
        _measure(name, sounds, bundle, plan, display)
        for name, sounds in (
            ("made", made),
            ("real", real),
            ("through the codec", coded),
            ("other crops", [one.other for one in clips]),
        )
    )
    music = metrics.tempo_metrics(clips, ours, theirs, through)
    music |= metrics.key_metrics(clips, ours, theirs, through)
    if bundle.score:
        music |= _melodies(bundle, plan, clips, made, coded, display)
    music |= metrics.resemblance_metrics(clips, ours, theirs, through, others)
    music |= metrics.frechet_metrics(ours, theirs, through, bundle.sample_rate, plan.seed)
    music |= metrics.fault_metrics(ours, theirs)
    held["music"] = music
    report = {
        "evaluation": FORM,
        "model": _model_facts(bundle),
        "setup": {
            "clips": len(clips),
            "melodies": min(plan.melodies, sum(map(metrics.has_melody, clips))),
            "seconds": float(plan.seconds),
            "seed": plan.seed,
            "data": "composed and rendered" if plan.data is None else plan.data.name,
            "composer_seeds": [clips[0].clip.record.seed, clips[-1].clip.record.seed],
            "sampling": asdict(plan.sampling),
            "device": str(bundle.device),
            "dtype": str(bundle.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
            "date": began.date().isoformat(),
            "minutes": (datetime.now(UTC) - began).total_seconds() / 60,
        },
        "metrics": held,
        # A model is judged as it plays for those who change nothing.
        "gates": gates_of(held, len(clips)) if plan.sampling == SamplingSettings() else {},
        "about": ABOUT,
        "clips": _clip_rows(clips, ours, theirs),
    }
    plain: dict[str, Any] = _plain(report)
    return plain


def gates_of(held: Mapping[str, Mapping[str, metrics.Metric]], clips: int) -> dict[str, dict[str, Any]]:
    """Each gate with its value, its bound and whether it is met; nothing is met that was not measured, or on too few clips."""
    result = {}
    for name, gate in GATES.items():
        group, metric = gate.metric
        value = held.get(group, {}).get(metric, {}).get("value")
        met = False
        if value is not None and clips >= gate.clips:
            # Whatever is compared with NaN is not met.
            met = bool(value >= gate.bound if gate.at_least else value <= gate.bound)
        wanted = "at least" if gate.at_least else "at most"
        result[name] = {"value": value, "bound": gate.bound, "wanted": wanted, "met": met}
        if clips < gate.clips:
            result[name]["needs_clips"] = gate.clips
    return result


def tables(report: Mapping[str, Any]) -> list[Table]:
    """The report for a terminal."""
    model, setup = report["model"], report["setup"]
    title = f"{model['name']} ({model['status']}), {setup['clips']} clips of {setup['seconds']:g} s"
    values = Table(title=title, title_justify="left")
    names = ("value", "ceiling", "through_codec", "control")
    values.add_column("metric")
    for name in names:
        values.add_column(name.replace("_", " "), justify="right")
    for group in report["metrics"].values():
        for metric, numbers in group.items():
            # What is chance for other metrics is the codes' own entropy for the LM's.
            numbers = {"control": numbers.get("unigram"), **numbers}
            cells = [_shown(numbers.get(name)) for name in names]
            values.add_row(metric.replace("_", " "), *cells)
    gates = Table(title="gates", title_justify="left")
    for name in ("gate", "reached", "wanted", "met"):
        gates.add_column(name, justify="left" if name == "gate" else "right")
    for name, gate in report["gates"].items():
        wanted = f"{gate['wanted']} {gate['bound']:g}"
        if "needs_clips" in gate:
            wanted += f" in {gate['needs_clips']} clips"
        gates.add_row(name.replace("_", " "), _shown(gate["value"]), wanted, "yes" if gate["met"] else "no")
    return [values, gates] if report["gates"] else [values]


def _material(bundle: ModelBundle, plan: Plan, display: Display) -> list[HeldOut]:
    with display.bar("held-out music", plan.clips, lines=True) as advance:

        def tell(done: int) -> None:
            _tell(advance, done, plan.clips)

        if plan.data is not None:
            clips = read_held_out(plan.data, plan.clips, plan.seconds, plan.seed, progress=tell)
        else:
            options = {"workers": plan.threads, "sample_rate": bundle.sample_rate}
            clips = render_held_out(plan.clips, plan.seconds, plan.seed, progress=tell, **options)
    return clips


def _measure(name: str, sounds: Sequence[Samples], bundle: ModelBundle, plan: Plan, display: Display) -> list[Profile]:
    with display.bar(f"measuring: {name}", len(sounds), lines=True) as advance:
        return profiles(sounds, bundle.sample_rate, plan.threads, lambda done: _tell(advance, done, len(sounds)))


def _melodies(
    bundle: ModelBundle,
    plan: Plan,
    clips: Sequence[HeldOut],
    made: Sequence[Samples],
    coded: Sequence[Samples],
    display: Display,
) -> dict[str, metrics.Metric]:
    singing = [index for index, one in enumerate(clips) if metrics.has_melody(one)][: plan.melodies]
    if len(singing) < 2:
        return {}
    chosen = [clips[index] for index in singing]
    with display.bar("making clips with melodies", len(chosen), lines=True) as advance:
        requests = [metrics.melody_request(bundle, one) for one in chosen]
        seed = plan.seed + len(clips)
        sung = make_clips(bundle, requests, plan.seconds, seed, plan.sampling, tell=lambda done: advance(done, ""))
    unasked, through = ([sounds[index] for index in singing] for sounds in (made, coded))
    return metrics.melody_metrics(bundle, chosen, sung, unasked, through)


def _clip_rows(clips: Sequence[HeldOut], ours: Sequence[Profile], theirs: Sequence[Profile]) -> list[dict[str, Any]]:
    """What was found of each clip, so that a failure can be looked at."""
    return [
        {
            "seed": one.clip.record.seed,
            "style": one.clip.record.style,
            "prompt": one.prompt,
            "bpm": one.clip.bpm,
            "tempo": mine.tempo,
            "tempo_real": real.tempo,
            "in_key": share_in_key(mine.chroma, one.scale),
            "in_key_real": share_in_key(real.chroma, one.scale),
            "onset_rate": mine.onset_rate,
            "onset_rate_real": real.onset_rate,
            "silent": mine.silent,
            "clipping": mine.clipping,
        }
        for one, mine, real in zip(clips, ours, theirs, strict=True)
    ]


def _model_facts(bundle: ModelBundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "status": bundle.status,
        "fingerprint": bundle.fingerprint,
        "parameters": bundle.parameters,
        "hears_score": bundle.score,
        "window_seconds": float(bundle.window_frames / bundle.frame_rate),
    }


def _tell(advance: Advance, done: int, total: int) -> None:
    """Every clip moves a bar; where there are lines, a few are enough."""
    if done == total or done % max(1, total // 4) == 0:
        advance(done, "")


def _plain(value: Any) -> Any:
    """Numbers that JSON has: four places are enough, and what is no number is null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return round(number, 4) if math.isfinite(number) else None


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
