"""The ReaPack index of Reaper's scripts: ``python -m host_tables.reapack --base-url URL [--check]``.

The package is described by the header of its main script (``@description``, ``@author``, ``@provides``, ``@about``). Its version is
this release's; it is also written into the ``@version`` of every script.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from protocols.release import VERSION

FOLDER = Path(__file__).resolve().parents[1] / "host_examples" / "reaper"
MAIN = "daw-bridge - Window.lua"
NAME = "daw-bridge"
INDEX = "index.xml"

_TYPES = {"script", "data"}
_VERSION = re.compile(r"\d+(\.\d+)*[a-z0-9]*")
_STAMP = re.compile(r"^(-- @version ).*$", re.MULTILINE)
_PROVIDED = re.compile(r"\[(?P<kind>main|nomain|data)\] (?P<pattern>.+?)(?: > (?P<target>.+))?")


@dataclass(frozen=True)
class Source:
    """One file of the package.

    Attributes:
        path: in the folder of the scripts.
        target: where ReaPack puts it, from the package's own folder on; for data from Reaper's Data folder on.
        kind: ``main`` for an action, ``nomain`` for a module, ``data``.
    """

    path: str
    target: str
    kind: str


def header(text: str) -> dict[str, list[str]]:
    """The tags of a script's header: the lines of each, the first beside the tag."""
    tags: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if found := re.fullmatch(r"-- @(\w+) ?(.*)", line):
            name = found[1]
            tags[name] = [found[2]] if found[2] else []
        elif name:
            tags[name].append(line[2:].removeprefix("   "))
    return tags


def provided(folder: Path, lines: Sequence[str]) -> Iterator[Source]:
    """The files that ``@provides`` names, in order, each once.

    Raises:
        ValueError: a line that cannot be read, or one that names no file.
    """
    seen: set[str] = set()
    for line in lines:
        found = _PROVIDED.fullmatch(line.strip())
        paths = sorted(path.relative_to(folder).as_posix() for path in folder.glob(found["pattern"])) if found else []
        if found is None or not paths:
            raise ValueError(f"@provides: {line.strip()!r} names no file")
        for path in paths:
            if path not in seen:
                seen.add(path)
                yield Source(path, found["target"] or path, found["kind"])


def index(folder: Path, base_url: str, version: str = VERSION) -> str:
    """The text of ``index.xml``.

    Args:
        folder: of the scripts.
        base_url: where that folder is published.
        version: of the package.
    """
    tags = header((folder / MAIN).read_text("utf-8"))
    root = ElementTree.Element("index", version="1", name=NAME)
    category = ElementTree.SubElement(root, "category", name=NAME)
    package = ElementTree.SubElement(category, "reapack", name=MAIN, type="script", desc=tags["description"][0])
    metadata = ElementTree.SubElement(package, "metadata")
    ElementTree.SubElement(metadata, "description").text = _rich_text(tags["about"])
    release = ElementTree.SubElement(package, "version", name=version, author=tags["author"][0])
    for source in provided(folder, [line for line in tags["provides"] if line.strip()]):
        attributes = {} if source.path == MAIN else {"file": source.target}
        if source.kind == "main":
            attributes["main"] = "main"
        elif source.kind == "data":
            attributes["type"] = "data"
        url = f"{base_url.rstrip('/')}/{quote(source.path)}"
        ElementTree.SubElement(release, "source", attributes).text = url
    ElementTree.indent(root)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + ElementTree.tostring(root, encoding="unicode") + "\n"


def problems(text: str, folder: Path) -> list[str]:
    """What ReaPack, or a musician, would stumble over in an index; empty for none.

    Args:
        text: of the index.
        folder: what is at its addresses.
    """
    root = ElementTree.fromstring(text)
    found = (
        [] if (root.tag, root.get("version")) == ("index", "1") and root.get("name") else ["not an index of version 1"]
    )
    packages = root.findall("./category[@name]/reapack[@name]")
    if not packages:
        found.append("no package in a category")
    for package in packages:
        if package.get("type") not in _TYPES:
            found.append(f"unknown type {package.get('type')}")
        releases = package.findall("version")
        if not releases:
            found.append("no version")
        for release in releases:
            found += _release_problems(release, str(package.get("name")), folder)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the index and the versions in the scripts' headers, or with ``--check`` return 1 when something is stale or wrong."""
    parser = argparse.ArgumentParser(prog="python -m host_tables.reapack", description="Write ReaPack's index.")
    parser.add_argument("--base-url", required=True, help="where host_examples/reaper is published")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the scripts; default: those of this repository")
    options = parser.parse_args(arguments)
    wanted = {path: stamped(path.read_text("utf-8")) for path in sorted(options.folder.glob("*.lua"))}
    stale = [path for path, text in wanted.items() if path.read_text("utf-8") != text]
    if not options.check:
        for path in stale:
            path.write_text(wanted[path], "utf-8")
    text = index(options.folder, options.base_url)
    wrong = problems(text, options.folder)
    target = options.folder / INDEX
    if not target.is_file() or target.read_text("utf-8") != text:
        stale.append(target)
        if not options.check:
            target.write_text(text, "utf-8")
    for line in (*wrong, *(f"{path.name} {'is stale' if options.check else 'written'}" for path in stale)):
        sys.stderr.write(f"{line}\n")
    return int(bool(wrong) or (options.check and bool(stale)))


def stamped(text: str, version: str = VERSION) -> str:
    """A script with this version in its header, where it has one."""
    return _STAMP.sub(rf"\g<1>{version}", text, count=1)


def _release_problems(release: ElementTree.Element, package: str, folder: Path) -> list[str]:
    found = []
    if not _VERSION.fullmatch(release.get("name", "")):
        found.append(f"not a version: {release.get('name')}")
    sources = release.findall("source")
    targets = [source.get("file", package) for source in sources]
    if len(set(targets)) != len(targets):
        found.append("two files go to one place")
    if not any(source.get("main") for source in sources):
        found.append("no action")
    for source, target in zip(sources, targets, strict=True):
        url = urlsplit(source.text or "")
        if url.scheme != "https" or not url.netloc or " " in (source.text or ""):
            found.append(f"not an address: {source.text}")
        published = folder / (Path(target).name if source.get("type") == "data" else target)
        if not published.is_file() or not (source.text or "").endswith(quote(published.relative_to(folder).as_posix())):
            found.append(f"nothing is at {source.text}")
        if ".." in Path(target).parts:
            found.append(f"outside its folder: {target}")
    return found


def _rich_text(lines: Sequence[str]) -> str:
    """ReaPack shows RTF: paragraphs, and a heading in bold."""
    paragraphs = []
    for line in "\n".join(lines).strip().split("\n"):
        escaped = re.sub(r"([\\{}])", r"\\\1", line)
        escaped = "".join(letter if ord(letter) < 128 else f"\\u{ord(letter)}?" for letter in escaped)
        paragraphs.append(f"{{\\b {escaped[2:]}}}" if escaped.startswith("# ") else escaped)
    return "{\\rtf1\\ansi\n" + "\\par\n".join(paragraphs) + "}"


if __name__ == "__main__":
    sys.exit(main())
