"""The prompt templates of a user: one TOML file that people read and edit, a name and its words on each line."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
import uuid
from contextlib import suppress
from pathlib import Path

from daw_bridge.wording import Template
from protocols.bridge_messages import MAX_TEMPLATE_NAME, TemplateInfo
from protocols.errors import ErrorCode, RequestError, shorten

MAX_TEMPLATES = 200
MAX_FILE_BYTES = 2**19
BUILT_IN = "built in"

SHIPPED = {
    "strings": Template("warm chamber strings, {style}, {prompt}, in {key}, {bpm} bpm"),
    "piano": Template("solo piano, {style}, {prompt}, no drums, in {key}, {bpm} bpm"),
    "ambient": Template("ambient soundscape, peaceful, {style}, {prompt}, warm pad, no drums, in {key}, {bpm} bpm"),
    "cinematic": Template("cinematic orchestra, {style}, {prompt}, with strings and brass, in {key}, {bpm} bpm"),
    "lofi": Template(
        "chill lo-fi hip hop, {style}, {prompt}, with electric piano, bass and drums, in {key}, {bpm} bpm"
    ),
    "jazz": Template("jazz combo, {style}, {prompt}, with acoustic bass and jazz drums, in {key}, {bpm} bpm"),
    "funk": Template("groovy funk, {style}, {prompt}, with slap bass, clavinet and drums, in {key}, {bpm} bpm"),
    "rock": Template("rock band, {style}, {prompt}, with distorted guitar, bass and drums, in {key}, {bpm} bpm"),
    "house": Template("deep house, {style}, {prompt}, with synth bass and electronic drums, in {key}, {bpm} bpm"),
    "techno": Template(
        "driving techno, {style}, {prompt}, with deep synth bass and electronic drums, in {key}, {bpm} bpm"
    ),
    "synthwave": Template(
        "retro synthwave, {style}, {prompt}, with saw lead and electronic drums, in {key}, {bpm} bpm"
    ),
    "plain": Template("{prompt}, {style}, in {key}, {bpm} bpm"),
}
"""What comes with the bridge, in words that the pocket model was trained on."""

_HEAD = """\
# Prompt templates of daw-bridge: a name, and words with {bpm}, {key}, {style} and {prompt}.
# What stands between two commas is left out where a field in it has no value.

"""
_LINE = re.compile(r"""\s*\[*\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*[=.\]]""")


class TemplateFile:
    """A user's templates over those that are built in. The file is read when something is asked of it. One thread at a time.

    Args:
        path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[TemplateInfo]:
        """All templates, those of the user first.

        Raises:
            RequestError: as `find`, without NOT_FOUND.
        """
        kept = self._kept()
        shipped = {name: template for name, template in SHIPPED.items() if name not in kept}
        return [
            *(TemplateInfo(name=name, text=template.text, source=str(self.path)) for name, template in kept.items()),
            *(TemplateInfo(name=name, text=template.text, source=BUILT_IN) for name, template in shipped.items()),
        ]

    def find(self, name: str) -> Template:
        """The template of this name.

        Raises:
            RequestError: NOT_FOUND, about ``template``; about the file and its line: MALFORMED, TOO_LARGE, TOO_LONG, EMPTY,
                UNKNOWN_PARAMETER, NOT_ALLOWED.
        """
        known = SHIPPED | self._kept()
        if name.strip() not in known:
            raise RequestError(ErrorCode.NOT_FOUND, "template", name, ", ".join(known))
        return known[name.strip()]

    def keep(self, name: str, text: str) -> None:
        """Write a template into the file. Its other lines stay as they are, comments too, where each template stands on one.

        Raises:
            RequestError: as `Template`; about ``name``: EMPTY, TOO_LONG, MALFORMED; TOO_LARGE, about ``templates``, for one more
                than `MAX_TEMPLATES`; what is wrong with the file, see `find`.
        """
        name = _checked_name(name)
        template = Template(text)
        source = self._read()
        kept = _parsed(source, self.path)
        if name not in kept and len(kept) >= MAX_TEMPLATES:
            raise RequestError(ErrorCode.TOO_LARGE, "templates", len(kept), f"at most {MAX_TEMPLATES} of yours")
        self._write(_edited(source or _HEAD, kept | {name: template}, name))

    def forget(self, name: str) -> None:
        """Take a template out of the file.

        Raises:
            RequestError: about ``name``: NOT_FOUND, NOT_ALLOWED (it is built in); what is wrong with the file, see `find`.
        """
        name = name.strip()
        source = self._read()
        kept = _parsed(source, self.path)
        if name not in kept:
            if name in SHIPPED:
                allowed = f"a template of yours; {name!r} is built in, keep one of its name to have other words"
                raise RequestError(ErrorCode.NOT_ALLOWED, "name", name, allowed)
            raise RequestError(
                ErrorCode.NOT_FOUND, "name", name, ", ".join(kept) or "a template of yours; there is none"
            )
        del kept[name]
        self._write(_edited(source, kept, name))

    def _kept(self) -> dict[str, Template]:
        return _parsed(self._read(), self.path)

    def _read(self) -> str:
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                raise RequestError(ErrorCode.TOO_LARGE, str(self.path), allowed=f"at most {MAX_FILE_BYTES} bytes")
            return content.decode("utf-8-sig")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            line = 1 + content[: error.start].count(b"\n")
            raise RequestError(ErrorCode.MALFORMED, f"{self.path}, line {line}", allowed="text in UTF-8") from None
        except OSError as error:
            allowed = f"a file that can be read ({error.strerror})"
            raise RequestError(ErrorCode.NOT_ALLOWED, str(self.path), allowed=allowed) from error

    def _write(self, text: str) -> None:
        """Put the file in its place at once and whole; a link to it stays a link."""
        path = self.path.resolve()
        part = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, part)
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            allowed = f"a file that can be written ({error.strerror})"
            raise RequestError(ErrorCode.NOT_ALLOWED, str(self.path), allowed=allowed) from error


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        raise RequestError(ErrorCode.EMPTY, "name", name, "a name of your choice")
    if len(name) > MAX_TEMPLATE_NAME:
        raise RequestError(ErrorCode.TOO_LONG, "name", name, f"at most {MAX_TEMPLATE_NAME} characters")
    if not name.isprintable():
        raise RequestError(ErrorCode.MALFORMED, "name", name, "a name on one line, without control characters")
    return name


def _parsed(source: str, path: Path) -> dict[str, Template]:
    try:
        found = tomllib.loads(source)
    except (ValueError, RecursionError) as error:
        told = re.search(r"at line (\d+)", str(error))
        line = int(told[1]) if told else 1 + source.rstrip().count("\n")  # "at end of document"
        raise RequestError(ErrorCode.MALFORMED, f"{path}, line {line}", allowed=f'name = "words" ({error})') from None
    kept = {}
    for written, text in found.items():
        try:
            if not isinstance(text, str):
                raise RequestError(ErrorCode.MALFORMED, "text", shorten(text), 'name = "words"')
            kept[_checked_name(written)] = Template(text)
        except RequestError as error:
            place = f"{path}, line {_line_of(source, written)}, {shorten(written, 40)}"
            raise RequestError(error.code, place, error.value, error.allowed) from None
    if len(kept) > MAX_TEMPLATES:
        raise RequestError(ErrorCode.TOO_LARGE, str(path), f"{len(kept)} templates", f"at most {MAX_TEMPLATES}")
    return kept


def _edited(source: str, kept: dict[str, Template], name: str) -> str:
    """The file with one template put in, in its old place where it had one, or taken out."""
    new = [_line(name, kept[name])] if name in kept else []
    lines = source.removesuffix("\n").split("\n")
    at = _line_of(source, name) - 1
    edited = [*lines[:at], *new, *lines[at + 1 :]] if at >= 0 else [*lines, *new]
    text = "\n".join(edited) + "\n"
    try:
        if _parsed(text, Path()) == kept:
            return text
    except RequestError:
        pass
    # Words on several lines: there is no one line to change.
    return _HEAD + "".join(_line(*item) + "\n" for item in kept.items())


def _line(name: str, template: Template) -> str:
    # What JSON writes, TOML reads, as long as it is printable.
    return f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(template.text, ensure_ascii=False)}"


def _line_of(source: str, name: str) -> int:
    """The line on which a template begins, from 1; 0 where it cannot be told."""
    for number, line in enumerate(source.split("\n"), 1):
        found = _LINE.match(line)
        try:
            if found and next(iter(tomllib.loads(f"{found[1]} = 0"))).strip() == name.strip():
                return number
        except ValueError:
            continue
    return 0
