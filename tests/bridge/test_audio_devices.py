"""Choosing a device by what a musician types, and life without PortAudio."""

from __future__ import annotations

from pathlib import Path

import pytest

from daw_bridge.audio.devices import Device, DeviceChoice, choose_device, scan_devices
from protocols.errors import ErrorCode, RequestError

DEVICES = [
    Device(0, "HDA Intel: Analog (hw:0,0)", "ALSA", 2, 48_000, False, False),
    Device(2, "Scarlett 2i2 USB: Audio (hw:1,0)", "ALSA", 2, 44_100, False, False),
    Device(3, "default", "ALSA", 32, 44_100, True, True),
    Device(5, "system", "JACK Audio Connection Kit", 8, 96_000, False, True),
    Device(6, "Scarlett 2i2", "JACK Audio Connection Kit", 2, 96_000, False, False),
]


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        (None, 3),
        ("", 3),
        ("default", 3),
        (2, 2),
        ("5", 5),
        ("JACK", 5),
        ("jack audio", 5),
        ("ALSA", 3),
        ("system", 5),
        ("intel", 0),
        ("ALSA/HDA", 0),
        ("JACK Audio Connection Kit/Scarlett 2i2", 6),
        ("Scarlett 2i2", 6),  # an exact name
        ("scarlett", 2),  # two fit: the one on the default device's host API
    ],
)
def test_choices(choice: DeviceChoice, index: int) -> None:
    assert choose_device(DEVICES, choice).index == index


@pytest.mark.parametrize("choice", [1, "99", -1, "no such thing", "hw:"])
def test_unknown_and_ambiguous_choices_name_the_devices(choice: DeviceChoice) -> None:
    with pytest.raises(RequestError) as caught:
        choose_device(DEVICES, choice)
    assert caught.value.code == ErrorCode.UNKNOWN_DEVICE
    assert "0: ALSA/HDA Intel" in caught.value.allowed


def test_no_devices_at_all() -> None:
    with pytest.raises(RequestError, match="there is no device"):
        choose_device([], None)


def test_without_portaudio_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RequestError, match="libportaudio2") as caught:
        scan_devices()
    assert caught.value.code == ErrorCode.UNSUPPORTED


def test_a_sound_system_that_crashes_is_an_error_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("import os\nos.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RequestError) as caught:
        scan_devices()
    assert caught.value.code == ErrorCode.INTERNAL
