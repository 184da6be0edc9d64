"""Settings: file, environment and flags in their order, and every mistake by its name."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.settings import FILE_VARIABLE, SECTIONS, FileSettings, Settings, load_settings, settings_path, template


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A settings file that is not there yet."""
    return tmp_path / "settings.toml"


def load(path: Path, text: str = "", flags: list[str] | None = None, **environment: str) -> Settings:
    """Settings from a file of this text, these flags and this environment."""
    path.write_text(text, "utf-8")
    return load_settings(flags or [], path=path, environment=environment)


def refusal(path: Path, text: str = "", flags: list[str] | None = None, **environment: str) -> RequestError:
    """The error that settings are answered with."""
    with pytest.raises(RequestError) as caught:
        load(path, text, flags, **environment)
    return caught.value


def test_without_anything_the_defaults_hold(path: Path) -> None:
    assert load_settings(path=path, environment={}) == Settings()
    assert load(path) == Settings()


def test_the_last_word_wins(path: Path) -> None:
    text = "[engine]\nport = 1\nosc_port = 1\nthreads = 1\n[bridge]\nfade_ms = 7\n"
    found = load(
        path,
        text,
        ["engine.threads=3", "engine.model = small", "engine.threads=4"],
        DAW_BRIDGE_ENGINE_OSC_PORT="2",
        DAW_BRIDGE_ENGINE_THREADS="2",
        DAW_BRIDGE_LOG_LEVEL="debug",
    )
    engine = found.engine
    assert (engine.port, engine.osc_port, engine.threads, engine.model) == (1, 2, 4, "small")
    assert found.bridge.fade_ms == 7.0
    assert type(found.bridge.fade_ms) is float
    assert found.log.level == "debug"
    assert found.files == Settings().files


def test_the_file_is_in_the_configuration_folder_or_where_the_environment_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    assert settings_path().name == "settings.toml"
    assert "daw-bridge" in settings_path().parts
    path.write_text("[engine]\nport = 4242\n")
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    assert settings_path() == path
    monkeypatch.setenv("DAW_BRIDGE_ENGINE_OSC_PORT", "4243")
    assert (load_settings().engine.port, load_settings().engine.osc_port) == (4242, 4243)


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        ("engine = 5", ErrorCode.UNKNOWN_PARAMETER, "[engine]"),
        ("[motor]\nport = 5", ErrorCode.UNKNOWN_PARAMETER, "[motor]"),
        ("port = 5", ErrorCode.UNKNOWN_PARAMETER, "[port]"),
        ("[engine]\nprot = 5", ErrorCode.UNKNOWN_PARAMETER, "engine.prot"),
        ("[engine]\nport = '5'", ErrorCode.BAD_TYPE, "engine.port"),
        ("[engine]\nport = 5.0", ErrorCode.BAD_TYPE, "engine.port"),
        ("[engine]\nport = true", ErrorCode.BAD_TYPE, "engine.port"),
        ("[engine]\nport = 2000-01-01", ErrorCode.BAD_TYPE, "engine.port"),
        ("[engine]\nport = 65536", ErrorCode.OUT_OF_RANGE, "engine.port"),
        ("[engine]\nport = -1", ErrorCode.OUT_OF_RANGE, "engine.port"),
        ("[engine]\ndtype = 'float64'", ErrorCode.OUT_OF_RANGE, "engine.dtype"),
        (f"[engine]\nhost = '{'x' * 256}'", ErrorCode.TOO_LONG, "engine.host"),
        ("[engine]\nmodel = 'a\\u0000b'".replace("'", '"'), ErrorCode.MALFORMED, "engine.model"),
        ("[bridge]\nfade_ms = nan", ErrorCode.OUT_OF_RANGE, "bridge.fade_ms"),
        ("[bridge]\nfade_ms = -inf", ErrorCode.OUT_OF_RANGE, "bridge.fade_ms"),
        (f"[bridge]\nfade_ms = 1{'0' * 400}", ErrorCode.OUT_OF_RANGE, "bridge.fade_ms"),
        (f"[bridge]\nfade_ms = 0x{'f' * 5000}", ErrorCode.OUT_OF_RANGE, "bridge.fade_ms"),
        ("[files]\nallowed = 'home'", ErrorCode.BAD_TYPE, "files.allowed"),
        ("[files]\nallowed = [1]", ErrorCode.BAD_TYPE, "files.allowed"),
        ("[engine", ErrorCode.MALFORMED, "settings file"),
        ("[engine]\nport = 1\nport = 2", ErrorCode.MALFORMED, "settings file"),
        (f"[engine]\nport = 1{'0' * 5000}", ErrorCode.MALFORMED, "settings file"),
        (f"x = {'[' * 5000}", ErrorCode.MALFORMED, "settings file"),
    ],
)
def test_a_mistake_in_the_file_is_named(path: Path, text: str, code: ErrorCode, field: str) -> None:
    error = refusal(path, text)
    assert (error.code, error.field) == (code, field)
    assert error.allowed


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    path.write_bytes(b"[engine]\nmodel = '\xff'")
    with pytest.raises(RequestError) as caught:
        load_settings(path=path, environment={})
    assert (caught.value.code, caught.value.field) == (ErrorCode.MALFORMED, "settings file")
    with pytest.raises(RequestError) as caught:
        load_settings(path=path.parent, environment={})
    assert caught.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    ("flag", "code", "field"),
    [
        ("engine.port", ErrorCode.MALFORMED, "--set"),
        ("port=5", ErrorCode.MALFORMED, "--set"),
        ("motor.port=5", ErrorCode.MALFORMED, "--set"),
        ("=", ErrorCode.MALFORMED, "--set"),
        ("engine.=5", ErrorCode.UNKNOWN_PARAMETER, "engine."),
        ("engine.prot=5", ErrorCode.UNKNOWN_PARAMETER, "engine.prot"),
        ("engine.port=", ErrorCode.BAD_TYPE, "engine.port"),
        ("engine.port=five", ErrorCode.BAD_TYPE, "engine.port"),
        ("engine.port=5.0", ErrorCode.BAD_TYPE, "engine.port"),
        ("engine.port=-1", ErrorCode.OUT_OF_RANGE, "engine.port"),
        ("bridge.fade_ms=fast", ErrorCode.BAD_TYPE, "bridge.fade_ms"),
        ("bridge.fade_ms=nan", ErrorCode.OUT_OF_RANGE, "bridge.fade_ms"),
        ("log.level=loud", ErrorCode.OUT_OF_RANGE, "log.level"),
    ],
)
def test_a_mistake_in_a_flag_or_the_environment_is_named(path: Path, flag: str, code: ErrorCode, field: str) -> None:
    error = refusal(path, flags=[flag])
    assert (error.code, error.field) == (code, field)
    if code in (ErrorCode.BAD_TYPE, ErrorCode.OUT_OF_RANGE):
        name, _, value = flag.partition("=")
        error = refusal(path, "", None, **{"DAW_BRIDGE_" + name.replace(".", "_").upper(): value})
        assert (error.code, error.field) == (code, field)


def test_values_from_text(path: Path) -> None:
    folders = os.pathsep.join(["/music", "", "/takes"])
    found = load(path, flags=["files.takes=~/a = b", f"files.allowed={folders}", "bridge.fade_ms=2", "engine.port= 5 "])
    assert found.files.allowed == ["/music", "/takes"]
    assert found.files.takes == "~/a = b"
    assert (found.bridge.fade_ms, found.engine.port) == (2.0, 5)
    assert load(path, "[files]\nallowed = ['/a']\n", DAW_BRIDGE_FILES_ALLOWED="").files.allowed == []


def test_the_template_is_the_defaults_as_it_is_and_uncommented(path: Path) -> None:
    text = template()
    assert load(path, text) == Settings()
    uncommented = re.sub(r"(?m)^# (\w+ = )", r"\1", text)
    values = tomllib.loads(uncommented)
    assert {name: set(section) for name, section in values.items()} == {
        name: set(fields_of(section)) for name, section in SECTIONS.items()
    }
    assert load(path, uncommented) == Settings()


def test_every_setting_is_documented_and_its_default_is_valid() -> None:
    for section in SECTIONS.values():
        for spec in fields_of(section).values():
            assert spec.meaning
            assert not spec.required
            assert spec.check(spec.default) == spec.default
            assert f"# {spec.meaning} ({spec.allowed})\n# {spec.name} = " in template()


def test_sections_are_those_of_the_settings() -> None:
    assert tuple(SECTIONS) == Settings.__struct_fields__
    assert {name: type(getattr(Settings(), name)) for name in SECTIONS} == SECTIONS


def test_templates_stand_beside_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAW_BRIDGE_SETTINGS", str(tmp_path / "mine.toml"))
    assert FileSettings().templates_file == tmp_path / "templates.toml"
    assert FileSettings(templates="~/words.toml").templates_file == Path.home() / "words.toml"
    assert (FileSettings().soundfont_file, FileSettings(soundfont="/a.sf2").soundfont_file) == (None, Path("/a.sf2"))


def test_folders_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    files = FileSettings(takes="~/takes", exchange="~/swap", allowed=["~/music", str(tmp_path)])
    assert files.takes_folder == Path.home() / "takes"
    assert files.allowed_folders == [Path.home() / "music", tmp_path, Path.home() / "takes", Path.home() / "swap"]
    assert FileSettings().takes_folder.name == "daw-bridge"
    assert Path.home() in FileSettings().allowed_folders
    assert FileSettings().takes_folder in FileSettings().allowed_folders
    assert FileSettings().exchange_folder in FileSettings().allowed_folders
