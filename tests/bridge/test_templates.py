"""Prompt templates: how they are filled, kept in a file that people edit, and refused with the line that is wrong."""

from __future__ import annotations

import stat
import sys
import threading
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from daw_bridge.templates import BUILT_IN, MAX_FILE_BYTES, MAX_TEMPLATES, SHIPPED, TemplateFile
from daw_bridge.wording import Facts, Template, Wording
from protocols.bridge_messages import MAX_TEMPLATE_TEXT, BridgeUpdate
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Update

WARM = Template("warm {style} strings, {bpm} bpm, in {key}, {prompt}")
ALL = Facts(92.5, "A minor", "slow", "with a harp")


@pytest.fixture
def file(tmp_path: Path) -> TemplateFile:
    return TemplateFile(tmp_path / "config" / "templates.toml")


def refused(code: ErrorCode, act: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        act()  # type: ignore[operator]
    assert caught.value.code == code, caught.value.text
    assert caught.value.allowed
    return caught.value


# --- Words ---------------------------------------------------------------------------------------------------------


def test_fields_are_filled() -> None:
    assert WARM.filled(ALL) == "warm slow strings, 92.5 bpm, in A minor, with a harp"
    assert WARM.filled(Facts(120.0, "C", "dark", "x")) == "warm dark strings, 120 bpm, in C, x"


def test_a_clause_without_its_value_is_left_out() -> None:
    assert WARM.filled(Facts(style="slow")) == "warm slow strings"
    assert WARM.filled(Facts(bpm=133.333)) == "133.333 bpm"
    assert WARM.filled(Facts()) == ""
    assert Template("a, {key} at {bpm} bpm,, b").filled(Facts(bpm=90)) == "a, b"


def test_what_has_no_place_comes_at_the_end() -> None:
    assert Template("rock").filled(ALL) == "rock, slow, with a harp"
    assert Template("{prompt}, rock").filled(ALL) == "with a harp, rock, slow"


def test_braces_are_doubled_and_values_are_not_read_again() -> None:
    assert Template("{{x}} {prompt}").filled(Facts(prompt="{key}")) == "{x} {key}"


def test_each_of_several_prompts_is_filled() -> None:
    words = Template("rock, {prompt}, {bpm} bpm").filled(Facts(90, prompt="piano || harp, soft"))
    assert words == "rock, piano, 90 bpm || rock, harp, soft, 90 bpm"


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("", ErrorCode.EMPTY, ""),
        ("  \n ", ErrorCode.EMPTY, ""),
        ("{tempo} x", ErrorCode.UNKNOWN_PARAMETER, "{tempo}"),
        ("{}", ErrorCode.UNKNOWN_PARAMETER, "{}"),
        ("{0}", ErrorCode.UNKNOWN_PARAMETER, "{0}"),
        ("{key.lower}", ErrorCode.UNKNOWN_PARAMETER, "{key.lower}"),
        ("{bpm:.3f}", ErrorCode.UNKNOWN_PARAMETER, "{bpm:.3f}"),
        ("{bpm!r}", ErrorCode.UNKNOWN_PARAMETER, "{bpm!r}"),
        ("{bpm, key}", ErrorCode.UNKNOWN_PARAMETER, "{bpm, key}"),
        ("a {key", ErrorCode.MALFORMED, "a {key"),
        ("a } b", ErrorCode.MALFORMED, "a } b"),
        ("a\x7fb", ErrorCode.MALFORMED, "x7f"),
        ("x" * (MAX_TEMPLATE_TEXT + 1), ErrorCode.TOO_LONG, "xxx"),
    ],
)
def test_what_is_no_template_is_refused(text: str, code: ErrorCode, shown: str) -> None:
    error = refused(code, lambda: Template(text))
    assert (error.field, shown in error.value) == ("text", True)
    if code == ErrorCode.UNKNOWN_PARAMETER:
        assert "{bpm}, {key}, {style}, {prompt}" in error.allowed


def test_words_that_grow_too_long_are_refused() -> None:
    error = refused(ErrorCode.TOO_LONG, lambda: WARM.filled(Facts(prompt="x" * 1990, key="A minor", bpm=90)))
    assert error.field == "prompt"


def test_without_a_template_words_stay_as_they_are() -> None:
    assert Wording(facts=Facts(90, "C", prompt=" as, it is, ")).words == " as, it is, "
    assert Wording(facts=Facts(prompt="a song", style="dark", ending="3/4")).words == "a song, dark, 3/4"


def test_words_follow_what_changes() -> None:
    wording = Wording(WARM, ALL)

    def after(wording: Wording, **given: object) -> tuple[Wording, Update]:
        update = Update(stream=3, **{name: value for name, value in given.items() if name in ("bpm", "key", "prompt")})  # type: ignore[arg-type]
        template = given.pop("found", None)
        assert template is None or isinstance(template, Template)
        return wording.after(BridgeUpdate(stream=3, **given), update, template)  # type: ignore[arg-type]

    faster, update = after(wording, bpm=120.0)
    assert update == Update(stream=3, bpm=120.0, prompt="warm slow strings, 120 bpm, in A minor, with a harp")
    darker, update = after(faster, style="dark", prompt="alone")
    assert update.prompt == "warm dark strings, 120 bpm, in A minor, alone"
    assert after(darker, temperature=0.5)[1] == Update(stream=3)
    rock, update = after(darker, template="rock", found=Template("rock, {bpm} bpm"))
    assert update.prompt == "rock, 120 bpm, dark, alone"
    plain, update = after(rock, template="", style="", prompt="alone")
    assert (plain.template, update.prompt) == (None, "alone")
    assert after(plain, bpm=60.0)[1] == Update(stream=3, bpm=60.0)
    clip = Wording(facts=Facts(90, prompt="a song", ending="drums"))
    assert after(clip, prompt="solo flute")[1].prompt == "solo flute"


# --- The file ------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_found_and_forgotten(file: TemplateFile) -> None:
    file.keep("mine", "warm {style} strings")
    file.keep(' "quoted" ü ', 'a "b" \\ c')
    assert file.find("mine").text == "warm {style} strings"
    assert file.find('"quoted" ü').text == 'a "b" \\ c'
    rows = {row.name: row.source for row in file.rows()}
    assert rows["mine"] == str(file.path)
    assert rows["rock"] == BUILT_IN
    file.forget("mine")
    assert "mine" in refused(ErrorCode.NOT_FOUND, lambda: file.find("mine")).value
    refused(ErrorCode.NOT_FOUND, lambda: file.forget("mine"))
    assert [path.name for path in file.path.parent.iterdir()] == ["templates.toml"], "no part is left"


def test_a_shipped_one_is_replaced_by_its_name_and_comes_back(file: TemplateFile) -> None:
    refused(ErrorCode.NOT_ALLOWED, lambda: file.forget("rock"))
    file.keep("rock", "my rock")
    assert [(row.text, row.source) for row in file.rows() if row.name == "rock"] == [("my rock", str(file.path))]
    file.forget("rock")
    assert file.find("rock") == SHIPPED["rock"]


def test_what_people_wrote_into_the_file_stays(file: TemplateFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text('# mine\r\nslow = \'slow {prompt}\' # a comment\n\n"a b" = "x"\n# end')
    file.keep("slow", "very slow")
    file.keep("new", "y")
    file.forget("a b")
    assert file.path.read_bytes() == b'# mine\r\n"slow" = "very slow"\n\n# end\n"new" = "y"\n'


def test_words_on_several_lines_are_one_line_of_words(file: TemplateFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text('long = """\nwarm\n  strings"""\nother = "x"\n')
    assert file.find("long").text == "warm strings"
    file.keep("long", "short")
    assert (file.find("long").text, file.find("other").text) == ("short", "x")


@pytest.mark.parametrize(
    ("content", "code", "line", "told"),
    [
        ('a = "x"\nb = "{tempo}"\n', ErrorCode.UNKNOWN_PARAMETER, 2, "{tempo}"),
        ('\n\na = "x\n', ErrorCode.MALFORMED, 3, "line 3"),
        ('a = """x\n\n', ErrorCode.MALFORMED, 1, "words"),
        ('a = "x"\n[group]\nb = "x"\n', ErrorCode.MALFORMED, 2, "group"),
        ('"a b" = 3\n', ErrorCode.MALFORMED, 1, "a b"),
        ("a = 'x'\na = 'y'\n", ErrorCode.MALFORMED, 2, "line 2"),
        ("a = 'x'\nb = ''\n", ErrorCode.EMPTY, 2, "b"),
        ("a = 'x'\n'' = 'x'\n", ErrorCode.EMPTY, 2, "name"),
        ("a = '{'\n", ErrorCode.MALFORMED, 1, "a"),
        ("a = 'x'\nb = '\udcff'\n", ErrorCode.MALFORMED, 2, "UTF-8"),
        ("these are words\n", ErrorCode.MALFORMED, 1, "line 1"),
    ],
)
def test_a_broken_file_is_one_error_with_its_line(
    file: TemplateFile, content: str, code: ErrorCode, line: int, told: str
) -> None:
    file.path.parent.mkdir()
    written = content.encode(errors="surrogateescape")
    file.path.write_bytes(written)
    for act in (file.rows, lambda: file.find("rock"), lambda: file.keep("a", "b"), lambda: file.forget("a")):
        error = refused(code, act)
        assert f"{file.path}, line {line}" in error.text
        assert told in error.text
    assert file.path.read_bytes() == written, "what is broken is left for its owner to mend"


def test_bounds(file: TemplateFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text("".join(f"t{number} = 'x'\n" for number in range(MAX_TEMPLATES)))
    file.keep("t7", "y")
    refused(ErrorCode.TOO_LARGE, lambda: file.keep("one more", "x"))
    file.path.write_text("".join(f"t{number} = 'x'\n" for number in range(MAX_TEMPLATES + 1)))
    refused(ErrorCode.TOO_LARGE, file.rows)
    file.path.write_text("#" * (MAX_FILE_BYTES + 1))
    refused(ErrorCode.TOO_LARGE, file.rows)
    for name, code in (("", ErrorCode.EMPTY), ("x" * 81, ErrorCode.TOO_LONG), ("a\x01", ErrorCode.MALFORMED)):
        assert refused(code, lambda name=name: file.keep(name, "x")).field == "name"


def test_a_file_that_cannot_be_used_is_named(file: TemplateFile) -> None:
    file.path.mkdir(parents=True)
    for act in (file.rows, lambda: file.keep("a", "b")):
        assert str(file.path) in refused(ErrorCode.NOT_ALLOWED, act).text
    (file.path.parent / "plain").write_text("")
    below = TemplateFile(file.path.parent / "plain" / "templates.toml")
    assert str(below.path) in refused(ErrorCode.NOT_ALLOWED, lambda: below.keep("a", "b")).text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither")
def test_a_link_stays_a_link_and_permissions_stay(file: TemplateFile, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("a = 'x'\n")
    real.chmod(0o600)
    file.path.parent.mkdir()
    file.path.symlink_to(real)
    file.keep("b", "y")
    assert file.path.is_symlink()
    assert TemplateFile(real).find("b").text == "y"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_who_reads_while_it_is_written_finds_a_whole_file(file: TemplateFile) -> None:
    file.keep("a", "x" * 900)
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            file.keep("a", f"{number} " + "x" * 900)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reader = TemplateFile(file.path)
    reads = 0
    while not done.is_set() or not reads:
        assert reader.find("a").text.endswith("x" * 900)
        reads += 1
    writer.join()


def test_shipped_templates_say_all_that_is_known() -> None:
    for name, template in SHIPPED.items():
        words = template.filled(ALL)
        assert all(part in words for part in ("92.5 bpm", "in A minor", "slow", "with a harp")), name
        assert "{" not in words
        assert template.filled(Facts()) or name == "plain"


def test_the_shipped_model_knows_the_words_of_the_shipped_templates() -> None:
    tokenizer = Tokenizer.from_file(str(Path(__file__).parents[2] / "engine" / "pocket" / "tokenizer.json"))

    def in_pieces(words: str) -> list[str]:
        return [token for token in tokenizer.encode(words).tokens if not token.startswith("▁") and token != "</s>"]

    assert in_pieces("a xylobox")
    for name, template in SHIPPED.items():
        assert not in_pieces(template.filled(Facts(92.0, "A minor", "dark", "featuring flute"))), name
