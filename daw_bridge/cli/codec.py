"""``daw-bridge codec``: sound as a neural codec's codes and back, by the engine that runs or by a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from daw_bridge.cli.failures import CannotStart, before_asking
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import read_settings
from protocols.codec_messages import Decode, Encode, ExportCodes, Recoded
from protocols.errors import ErrorCode, RequestError
from protocols.fields import build
from protocols.settings import Settings

if TYPE_CHECKING:
    from daw_bridge.exchange.codec_lines import CodecLine, Progress

codec = typer.Typer(
    help="Encode sound into a neural codec's codes, decode it, and tell what files of codes hold.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

CODED = (".codes", ".ecdc")

Files = Annotated[
    list[str],
    typer.Argument(help="Files or patterns such as takes/*.wav; at the end, the file to write.", metavar="FILE…"),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="File to write, or for several a folder; else beside what is read.", show_default=False
    ),
]
Codec = Annotated[
    str,
    typer.Option(
        "--codec", help="A name such as encodec-32khz, a folder, or owner/name on the hub.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that are there.")]
Own = Annotated[bool, typer.Option("--own", help="Do it in a process of its own, even when an engine runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@codec.command()
@from_schema()
def encode(
    flags: list[str],
    files: Files,
    out: Out = None,
    codec: Codec = "",
    bandwidth: Annotated[float, typer.Option("--bandwidth", help="The most that the codes may take, in kbit/s.")] = 0.0,
    codebooks: Annotated[int, typer.Option("--codebooks", help="Codes of each frame; 0 for all.")] = 0,
    stereo: Annotated[bool, typer.Option("--stereo", help="Code both sides of stereo with a mono codec.")] = False,
    start: Annotated[float, typer.Option("--start", help="Where to begin, in seconds.")] = 0.0,
    length: Annotated[float, typer.Option("--length", help="How much, in seconds; 0 for all.")] = 0.0,
    force: Force = False,
    own: Own = False,
    as_json: AsJson = False,
) -> None:
    """Encode audio files into files of codes; a name that ends with .ecdc is written as the encodec package reads it."""
    jobs = _jobs(files, out, CODED, ".codes")
    values = {"codec": codec, "bandwidth": bandwidth, "codebooks": codebooks, "stereo": stereo}
    values |= {"start": start, "length": length}
    with before_asking():
        requests = [
            build(Encode, {**values, "path": str(path), "out": str(target), "replace": force}) for path, target in jobs
        ]
    _carry_out(requests, read_settings(flags), own, as_json)


@codec.command()
@from_schema()
def decode(
    flags: list[str],
    files: Files,
    out: Out = None,
    codec: Codec = "",
    subtype: Annotated[str, typer.Option("--subtype", help="auto, PCM_16, PCM_24 or FLOAT.")] = "auto",
    force: Force = False,
    own: Own = False,
    as_json: AsJson = False,
) -> None:
    """Decode files of codes into audio files; what is whole of a damaged one is decoded."""
    jobs = _jobs(files, out, (".wav", ".flac", ".aiff", ".aif", ".ogg", ".mp3", ".w64"), ".wav")
    with before_asking():
        requests = [
            build(
                Decode,
                {"path": str(path), "out": str(target), "codec": codec, "subtype": subtype, "replace": force},
            )
            for path, target in jobs
        ]
    _carry_out(requests, read_settings(flags), own, as_json)


@codec.command()
@from_schema()
def export(
    flags: list[str],
    journal: Annotated[
        str, typer.Argument(help="A stream's journal, as /engine/journals lists them.", metavar="JOURNAL")
    ],
    out: Annotated[Path, typer.Argument(help="The file to write (.codes).", metavar="OUT")],
    without_prompt: Annotated[
        bool, typer.Option("--without-prompt", help="Leave the codes of its audio prompt out.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write the codes of a stream that the engine has made into a file of codes, from its journal."""
    from daw_bridge.exchange.codec_lines import EngineLine, is_away

    endpoint = read_settings(flags).bridge.engine
    target = str(out.expanduser().absolute())
    with before_asking():
        request = build(
            ExportCodes, {"journal": journal, "out": target, "prompt": not without_prompt, "replace": force}
        )
    with EngineLine(endpoint, away=is_away(endpoint)) as line:
        done = line.export(request)
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    typer.echo(
        f"{done.path}: {done.seconds:.4g} s, {done.frames} frames, {done.codebooks} codebooks, {done.size} bytes"
    )


@codec.command()
def info(
    files: Annotated[list[str], typer.Argument(help="Files of codes, or patterns.", metavar="FILE…")],
    as_json: AsJson = False,
) -> None:
    """Tell what files of codes hold; nothing is decoded. Exit code 1 when one is damaged or none."""
    from audio_files.coded_files import facts_of

    failed = False
    for path in _found(files):
        try:
            facts = facts_of(path)
        except RequestError as error:
            failed = True
            _tell_failure(path, error, as_json)
            continue
        failed |= bool(facts.damage)
        told = facts.told
        if as_json:
            typer.echo(msgspec.json.encode({"path": str(path), **msgspec.to_builtins(told)}).decode())
            continue
        typer.echo(
            f"{path}: {told.seconds:.4g} s of {told.sample_rate} Hz, {told.channels} channel(s), {told.codec}; "
            f"{told.frames} frames, {told.codebooks} codebooks of {told.card}, {told.kbps:.3g} kbit/s, {told.size} bytes"
        )
        if facts.damage:
            typer.echo(f"  damaged: {facts.damage}")
    if failed:
        raise typer.Exit(1)


def _jobs(files: Sequence[str], out: Path | None, results: Sequence[str], suffix: str) -> list[tuple[Path, Path]]:
    """What is read and what is written for it, as absolute paths.

    Raises:
        CannotStart: wrong usage.
    """
    names = list(files)
    if out is None and len(names) > 1 and Path(names[-1]).suffix.lower() in results and not _pattern(names[-1]):
        out = Path(names.pop())
    paths = _found(names)
    if out is not None and len(paths) > 1 and not out.is_dir():
        raise CannotStart(f"{len(paths)} files are read, so what is written needs an existing folder: {out} is none")
    jobs = []
    for path in paths:
        target = path.with_suffix(suffix)
        if out is not None:
            target = out.expanduser().absolute()
            target = target / f"{path.stem}{suffix}" if target.is_dir() else target
        if target == path:
            raise CannotStart(f"{path} would be read and written")
        jobs.append((path, target))
    targets = [target for _, target in jobs]
    if len(set(targets)) < len(targets):
        raise CannotStart("several of these files would be written under one name; do them one by one")
    return jobs


def _found(names: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser().absolute()
        if _pattern(name) and not path.exists():
            matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
            if not matches:
                raise CannotStart(f"nothing is called {name}")
            found += matches
        else:
            found.append(path)
    return found


def _pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _carry_out(requests: Sequence[Encode | Decode], settings: Settings, own: bool, as_json: bool) -> None:
    failed = False
    with _lines(settings, own) as lines:
        for request in requests:
            try:
                if Path(request.out).exists() and not request.replace:
                    raise RequestError(ErrorCode.NOT_ALLOWED, "out", request.out, "a new file; --force replaces it")
                with _shown(Path(request.path).name, as_json) as progress:
                    done = lines.do(request, progress)
            except RequestError as error:
                failed = True
                _tell_failure(Path(request.path), error, as_json)
            else:
                _tell(request, done, as_json)
    if failed:
        raise typer.Exit(1)


class _Lines:
    """An engine that runs and, for what it may not read or where there is none, a process of its own."""

    def __init__(self, settings: Settings, own: bool) -> None:
        from daw_bridge.exchange.codec_lines import OwnLine

        self._own = OwnLine(settings.engine.device)
        self._default = settings.engine.model
        self._engine: CodecLine | None = None
        self._away = False
        if not own:
            self._engine = self._find_engine(settings.bridge.engine)

    def do(self, request: Encode | Decode, progress: Progress) -> Recoded:
        if self._engine is not None:
            try:
                return self._engine.do(request, progress)
            except RequestError as error:
                outside = error.code is ErrorCode.NOT_ALLOWED and error.allowed.startswith(
                    ("a file inside", "a folder inside")
                )
                if self._away or not (outside or error.code is ErrorCode.ENGINE_LOST):
                    raise
        if isinstance(request, Encode) and not request.codec:
            request = msgspec.structs.replace(request, codec=self._default)
        return self._own.do(request, progress)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._own.close()

    def _find_engine(self, endpoint: str) -> CodecLine | None:
        """The engine of the settings, if one answers there. A machine's own engine answers at once."""
        from daw_bridge.exchange.codec_lines import EngineLine, is_away

        self._away = is_away(endpoint)
        try:
            return EngineLine(endpoint, away=self._away, patience=10.0 if self._away else 1.0)
        except RequestError:
            if self._away:
                raise
            return None  # none runs here, or one of another release


@contextmanager
def _lines(settings: Settings, own: bool) -> Iterator[_Lines]:
    lines = _Lines(settings, own)
    try:
        yield lines
    finally:
        lines.close()


def _tell(request: Encode | Decode, done: Recoded, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode({"read": request.path, **msgspec.to_builtins(done)}).decode())
        return
    typer.echo(
        f"{done.path}: {done.seconds:.4g} s, {done.codec}, {done.codebooks} codebooks, {done.kbps:.3g} kbit/s, "
        f"{done.size} bytes, {done.realtime:.3g} x real time"
    )
    if done.note:
        typer.echo(f"  note: {done.note}")


def _tell_failure(path: Path, error: RequestError, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode({"read": str(path), "error": str(error.code), "text": error.text}).decode())
    else:
        typer.echo(f"daw-bridge: {path}: {error.text}", err=True)


@contextmanager
def _shown(name: str, as_json: bool) -> Iterator[Progress]:
    """A bar on the standard error stream, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Bars(*columns, console=console, disable=as_json or not console.is_terminal, transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)
