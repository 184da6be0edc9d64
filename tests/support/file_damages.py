"""Damage to checkpoints of AudioCraft's, by accident or on purpose: each kind a function of a number's random numbers."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]

from tests.support.audiocraft_checkpoints import change

Numbers = np.random.RandomState
Damage = Callable[["Original", Numbers], bytes]


class Original:
    """An undamaged file, as bytes and as what they hold; ``canary`` is a file that exists once anything has been executed."""

    def __init__(self, path: Path, other: Path, canary: Path) -> None:
        self.content = path.read_bytes()
        self.other = other.read_bytes()
        self.package: dict[str, Any] = torch.load(path, weights_only=True)
        self.config: dict[str, Any] = yaml.safe_load(self.package["xp.cfg"])
        self.canary = canary
        with zipfile.ZipFile(path) as archive:
            self.entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        self.pickle_name = next(name for name in self.entries if name.endswith("data.pkl"))
        old = io.BytesIO()
        torch.save(self.package, old, _use_new_zipfile_serialization=False)
        self.legacy = old.getvalue()

    def saved(self, **parts: Any) -> bytes:
        """The package with other parts, as torch saves it."""
        file = io.BytesIO()
        torch.save(self.package | parts, file)
        return file.getvalue()

    def with_pickle(self, content: bytes) -> bytes:
        """The archive with another pickle, and with the right checksums."""
        return zipped(self.entries | {self.pickle_name: content})


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


# --- bytes


def flipped(content: bytes, numbers: Numbers, most: int = 8) -> bytes:
    changed = bytearray(content)
    for _ in range(numbers.randint(1, most + 1)):
        changed[numbers.randint(len(changed))] ^= 1 << numbers.randint(8)
    return bytes(changed)


def flips(original: Original, numbers: Numbers) -> bytes:
    return flipped(original.content, numbers)


def flips_in_the_directory(original: Original, numbers: Numbers) -> bytes:
    start = original.content.rindex(b"PK\x01\x02", 0, len(original.content)) - 2000
    return original.content[:start] + flipped(original.content[start:], numbers)


def flips_of_an_old_file(original: Original, numbers: Numbers) -> bytes:
    """The old format has no checksums: other numbers are what such a file then says, to torch as to us."""
    return flipped(original.legacy[:20_000], numbers) + original.legacy[20_000:]


def cut(original: Original, numbers: Numbers) -> bytes:
    content = original.legacy if numbers.randint(3) == 0 else original.content
    return content[: numbers.randint(len(content))]


def overwritten(original: Original, numbers: Numbers) -> bytes:
    content = original.content
    start, length = numbers.randint(len(content)), numbers.randint(1, 4096)
    filling = bytes(length) if numbers.randint(2) else numbers.bytes(length)
    return content[:start] + filling + content[start + length :]


def spliced(original: Original, numbers: Numbers) -> bytes:
    mine, other = original.content, original.other
    return mine[: numbers.randint(len(mine))] + other[numbers.randint(len(other)) :]


def inserted(original: Original, numbers: Numbers) -> bytes:
    start = numbers.randint(len(original.content))
    return original.content[:start] + numbers.bytes(numbers.randint(1, 64)) + original.content[start:]


# --- archives


def entries_changed(original: Original, numbers: Numbers) -> bytes:
    """Entries that are missing, renamed, exchanged or of another length, under checksums that are right."""
    entries = dict(original.entries)
    names = sorted(entries)
    first, second = (names[numbers.randint(len(names))] for _ in range(2))
    match numbers.randint(6):
        case 0:
            del entries[first]
        case 1:
            entries[first + "x"] = entries.pop(first)
        case 2:
            entries[first], entries[second] = entries[second], entries[first]
        case 3:
            entries[first] = entries[first][: len(entries[first]) // 2]
        case 4:
            entries[first] += numbers.bytes(64)
        case _:
            entries["../../evil.pkl"] = entries["other/data.pkl"] = entries[first]
    return zipped(entries)


def bomb(original: Original, numbers: Numbers) -> bytes:
    name = sorted(original.entries)[numbers.randint(len(original.entries))]
    entries = original.entries | {name: bytes(8 << 20)}
    return zipped(entries, zipfile.ZIP_DEFLATED)


# --- pickles

_EVIL = (
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("subprocess", "call"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("__builtin__", "eval"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("importlib", "import_module"),
    ("pathlib", "Path.touch"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("torch.jit", "load"),
    ("numpy", "load"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("omegaconf", "OmegaConf.create"),
    ("omegaconf.dictconfig", "DictConfig"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("functools", "partial"),
    ("operator", "attrgetter"),
    ("types", "FunctionType"),
    ("code", "interact"),
    ("runpy", "run_path"),
    ("audiocraft.utils.utils", "dict_from_config"),
    ("copyreg", "_reconstructor"),
    ("_codecs", "encode"),
    ("builtins", "bytearray"),
    ("builtins", "set"),
    ("torch", "Size"),
)


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def hostile_pickle(original: Original, numbers: Numbers) -> bytes:
    """Calls of what would write the canary, in each of the ways in which a pickle can call."""
    module, name = _EVIL[numbers.randint(len(_EVIL))]
    program = f"open({str(original.canary)!r}, 'w').close()"
    command = f"touch {original.canary}"
    argument = _text(program if name in ("eval", "exec") else command)
    named = f"c{module}\n{name}\n".encode()
    stacked = _text(module) + _text(name) + b"\x93"
    call = {
        0: named + b"(" + argument + b"tR",
        1: stacked + argument + b"\x85R",
        2: b"(" + argument + f"i{module}\n{name}\n".encode(),
        3: b"(" + named + argument + b"o",
        4: named + argument + b"\x85\x81",
        5: named + argument + b"\x85}\x92",
        6: named + b"}" + _text("__setstate__") + named + b"sb",
        7: named + b")R}" + _text("__class__") + stacked + b"sb",
        8: b"\x82\x01",
        9: named + named + argument + b"\x85R" + b"\x85R",
    }[numbers.randint(10)]
    match numbers.randint(5):
        case 0:  # in place of everything
            return original.with_pickle(b"\x80\x02" + call + b".")
        case 1:  # beside weights that are fine
            body = b"\x80\x02}(" + _text("best_state") + b"}" + _text("x") + call + b"su" + b"."
            return original.with_pickle(body)
        case 2:  # before what is fine
            return original.with_pickle(b"\x80\x02" + call + b"0" + original.entries[original.pickle_name][2:])
        case 3:  # in the old format
            return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + b"\x80\x02" + call + b"."
        case _:
            return b"\x80\x02" + call + b"."


def endless_pickle(original: Original, numbers: Numbers) -> bytes:
    """What would take all memory, all time or all of the stack."""
    depth = int(numbers.randint(1000, 20_000))
    body = {
        0: b"]" * depth + b"a" * (depth - 1),
        1: b")" + b"\x85" * depth,
        2: b"}" + b")" + b"\x85" * depth + b"Ns",
        3: b"(" * depth,
        4: b"]q\x00" + b"(h\x00h\x00h\x00e" * min(depth, 20_000),
        5: b"\x8b" + struct.pack("<i", 1 << 30),
        6: b"\x8d" + struct.pack("<Q", 1 << 62),
        7: b"Nr" + struct.pack("<I", 0xFFFFFFFF),
        8: b"cbuiltins\nbytearray\n\x8a\x05" + (1 << 38).to_bytes(5, "little") + b"\x85R",
        9: b"I" + b"9" * depth + b"\n",
        10: b"ctorch\nSize\n" + b"(" + b"K\x01" * depth + b"ttR",
        11: b"".join(b"]q" + bytes([n]) + b"(h" + bytes([max(n - 1, 0)]) * 1 + b"e" for n in range(200)),
    }[numbers.randint(12)]
    return original.with_pickle(b"\x80\x02" + body + b".")


def flips_in_the_pickle(original: Original, numbers: Numbers) -> bytes:
    return original.with_pickle(flipped(original.entries[original.pickle_name], numbers, 4))


def sizes_in_the_pickle(original: Original, numbers: Numbers) -> bytes:
    """One number of the pickle, of those that say how large a tensor is and where it begins, is another one."""
    content = bytearray(original.entries[original.pickle_name])
    places = [at for at in range(len(content) - 2) if content[at] == 0x4B]
    at = places[numbers.randint(len(places))]
    return original.with_pickle(bytes(content[:at]) + _number(numbers) + bytes(content[at + 2 :]))


def _number(numbers: Numbers) -> bytes:
    value = [0, 1, 255, 1 << 20, 1 << 31, 1 << 40, (1 << 62) - 1, -1, -(1 << 40)][numbers.randint(9)]
    length = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


# --- weights


def weights_changed(original: Original, numbers: Numbers) -> bytes:
    """Keys that are missing, new or of another name; tensors of another shape or kind, or that are none, or no numbers."""
    state: dict[Any, Any] = dict(original.package["best_state"])
    names = sorted(state)
    name = names[numbers.randint(len(names))]
    tensor = state[name]
    match numbers.randint(13):
        case 0:
            del state[name]
        case 1:
            state[name + ".x"] = state.pop(name)
        case 2:
            state["transformer.layers.7.norm1.weight"] = torch.ones(8)
        case 3:
            state[name] = torch.zeros(*tensor.shape, 1)
        case 4:
            state[name] = torch.zeros([numbers.randint(0, 40) for _ in tensor.shape])
        case 5:
            state[name] = tensor.to(getattr(torch, ["int64", "bool", "complex64", "uint8"][numbers.randint(4)]))
        case 6:
            state[name] = torch.full_like(tensor, [float("nan"), float("inf"), float("-inf")][numbers.randint(3)])
        case 7:
            state[name] = [None, 3, "weights", [1.0, 2.0], {}][numbers.randint(5)]
        case 8:
            state[numbers.randint(100)] = tensor
        case 9:
            state = {"model": state, "other": 1}
        case 10:
            state = {}
        case 11:
            state[name] = torch.zeros(1).expand(4096, *tensor.shape)
        case _:
            state[name] = tensor.to_sparse() if tensor.dim() > 1 else tensor[:0]
    return original.saved(best_state=OrderedDict(state))


# --- configurations

_VALUES: tuple[Any, ...] = (
    0,
    -1,
    1,
    2,
    7,
    1 << 31,
    1 << 62,
    10**400,
    0.5,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
)
_VALUES += (None, True, False, [], {}, [1, 2], {"a": 1}, "text", "${", "${}", "${.}", "${a.b}", "${oc.env:HOME}", "???")
_VALUES += ("../../etc/passwd", "http://example.com", "\x00", "é" * 5000, [[]], [None], ["${a}"], "1e-5", "0x10", "1_0")


def _keys(config: Any, path: str = "") -> list[str]:
    found = []
    for key, value in config.items():
        found.append(path + str(key))
        if isinstance(value, dict):
            found += _keys(value, f"{path}{key}.")
    return found


def written(config: dict[str, Any]) -> str:
    text: str = yaml.dump(
        config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True, sort_keys=False
    )
    return text


def config_values(original: Original, numbers: Numbers) -> bytes:
    """One or a few values of the configuration are other ones, or gone."""
    config = copy.deepcopy(original.config)
    keys = _keys(config)
    for _ in range(numbers.randint(1, 3)):
        value = _VALUES[numbers.randint(len(_VALUES))]
        try:
            change(config, {keys[numbers.randint(len(keys))]: value})
        except (TypeError, AttributeError):
            continue  # a section above it has become a value
    text = written(config)
    return original.saved(**{"xp.cfg": text})


def references(original: Original, numbers: Numbers) -> bytes:
    """References that lead nowhere, to themselves, in rings, or to ever more text."""
    keys = [key for key in _keys(original.config) if not isinstance(_at(original.config, key), dict)]
    first, second = (keys[numbers.randint(len(keys))] for _ in range(2))
    settings: dict[str, Any] = [
        {first: f"${{{first}}}"},
        {first: f"${{{second}}}", second: f"${{{first}}}"},
        {first: f"${{{second}}}"},
        {first: "${" * 3000},
        {f"x{n}": f"${{x{n + 1}}}${{x{n + 1}}}" for n in range(40)} | {"x40": "ab", first: "${x0}"},
        {f"y{n}": f"${{y{n + 1}}}" for n in range(200)} | {"y200": 3, first: "${y0}"},
        {first: "${transformer_lm}"},
        {first: "${..}${.}${...a}"},
        {first: "${a[0][1]}"},
    ][numbers.randint(9)]
    config = copy.deepcopy(original.config)
    change(config, settings)
    return original.saved(**{"xp.cfg": written(config)})


def _at(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


def hostile_yaml(original: Original, numbers: Numbers) -> bytes:
    plain = original.package["xp.cfg"]
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    lines = plain.splitlines()
    del lines[numbers.randint(len(lines))]
    at = numbers.randint(len(plain))
    text: Any = [
        f"!!python/object/apply:os.system ['touch {original.canary}']",
        f"{plain}x: !!python/object/apply:os.system ['touch {original.canary}']\n",
        f"{plain}x: !!python/name:os.system\n",
        laughs + plain,
        plain + "x: " + "[" * 20_000,
        plain + "x: " + "{a: " * 5000,
        plain + "x: &a\n  y: *a\n",
        "\n".join(lines),
        plain[:at] + chr(numbers.randint(1, 0x250)) + plain[at:],
        plain[:at],
        plain + "\t- x\n",
        plain + "---\n" + plain,
        "x" * (2 << 20),
        "",
        b"bytes",
        17,
        None,
        [plain],
        {"transformer_lm": {"dim": 8}},
        {1: {2: 3}},
    ][numbers.randint(20)]
    return original.saved(**{"xp.cfg": text})


def pointers(original: Original, numbers: Numbers) -> bytes:
    name = ["../../x", "/etc/passwd", "a/b/c", "http://x/y", "", "a b", 5, None, "a/../b", "x" * 300, ["a"], "con\x00"][
        numbers.randint(12)
    ]
    file = io.BytesIO()
    torch.save({"pretrained": name, "exported": True}, file)
    return file.getvalue()


def other_files(original: Original, numbers: Numbers) -> bytes:
    return [
        b"",
        b"\x00" * 100,
        b"<!DOCTYPE html><html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b'{"error": "not found"}',
        b"\x1f\x8b\x08" + numbers.bytes(100),
        b"PK\x05\x06" + bytes(18),
        b"PK\x03\x04" + numbers.bytes(500),
        b"\x80\x02." + numbers.bytes(20),
        b"GGUF" + bytes(50),
        numbers.bytes(5000),
        struct.pack("<Q", 2) + b"{}",
    ][numbers.randint(12)]


DAMAGES: tuple[Damage, ...] = (
    *(flips, flips_in_the_directory, flips_of_an_old_file, cut, overwritten, spliced, inserted),
    *(entries_changed, bomb, hostile_pickle, hostile_pickle, endless_pickle, flips_in_the_pickle, sizes_in_the_pickle),
    *(weights_changed, config_values, config_values, references, hostile_yaml, pointers, other_files),
)
