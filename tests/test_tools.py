import runpy
import shutil
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import torch

from hyperstem import audio
from hyperstem.models import store
from networks import TINY, small_network

TOOLS = Path(__file__).parent.parent / "tools"


def run(monkeypatch, name: str, *arguments: object) -> dict:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    return runpy.run_path(str(TOOLS / name), run_name="__main__")


@pytest.fixture
def networks(tmp_path):
    for i in range(3):
        store.save(tmp_path / f"{i}.safetensors", small_network(i, TINY))
    store.save(tmp_path / "first-stage.safetensors", small_network(3, TINY, stages=1))
    return tmp_path


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return store.load(path).state_dict()


def test_an_average_is_the_mean_of_every_tensor(networks, monkeypatch):
    out, paths = networks / "out.safetensors", [networks / f"{i}.safetensors" for i in range(3)]
    run(monkeypatch, "average.py", out, paths[0], *paths)
    states = [tensors(path) for path in paths]
    for name, tensor in tensors(out).items():
        torch.testing.assert_close(tensor, sum(state[name] for state in states) / 3)


def test_what_only_some_hold_stays_as_it_is(networks, monkeypatch):
    out, whole, first = (networks / f"{name}.safetensors" for name in ("out", "0", "first-stage"))
    run(monkeypatch, "average.py", out, whole, whole, first)
    before, other, after = tensors(whole), tensors(first), tensors(out)
    for name, tensor in after.items():
        mean = (before[name] + other[name]) / 2 if name in other else before[name]
        torch.testing.assert_close(tensor, mean)
    assert any(name not in other for name in after)


def test_weights_of_other_sizes_are_not_averaged(networks, monkeypatch):
    store.save(networks / "wide.safetensors", small_network(0, TINY, hidden_dim=32))
    with pytest.raises(SystemExit, match=r"wide\.safetensors: stages\.0\..* has the sizes \("):
        run(
            monkeypatch,
            "average.py",
            networks / "out.safetensors",
            networks / "0.safetensors",
            networks / "wide.safetensors",
        )
    assert not (networks / "out.safetensors").exists()


def put(path: Path, seconds: float, rate_hz: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    audio.write(path, 0.1 * rng.standard_normal((1, round(seconds * rate_hz))).astype(np.float32), rate_hz)


@pytest.fixture
def packages(tmp_path):
    root = tmp_path / "packages"
    pieces = runpy.run_path(str(TOOLS / "package_recordings.py"))
    for piece in pieces["PIECES"]:
        put(root / pieces["MUSIC"] / f"{piece}.ogg", 0.2)
    for language in ("cs", "en", "nl"):
        for i in range(3 if language == "en" else 2):
            put(root / pieces["SPEECH"] / "airplane" / language / f"{i}.ogg", 4)
    for package, language in (("LETTERS", "hu/alpha"), ("LETTERS", "hu/syllab"), ("WORDS", "da"), ("WORDS", "da@x")):
        for name in "abc":
            put(root / pieces[package] / language / f"{name}.ogg", 4)
    for name in ("cow_desc.ogg", "cow_desc_pt_BR.ogg", "hen_desc_pt_BR.ogg", "hen.ogg"):
        put(root / pieces["STAMPS"] / "animals" / name, 6)
    put(root / pieces["SONGS"] / "muldjord" / "One Song" / "guitar.ogg", 2)
    put(root / pieces["SONGS"] / "sectoid" / "Another" / "guitar.ogg", 2)
    return root


def test_packages_become_folders_to_train_on(packages, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    run(monkeypatch, "package_recordings.py", folder, "--packages", packages)
    assert len(list((folder / "orchestra").iterdir())) == 20
    assert sorted(path.name for path in (folder / "guitars").iterdir()) == ["another.ogg", "one_song.ogg"]
    spoken = list((folder / "speech").iterdir())
    assert [path.name for path in spoken] == ["airplane-en.flac"]  # the others are shorter than ten seconds
    assert audio.probe(spoken[0]).duration_s == pytest.approx(12, abs=0.01)
    words = sorted((folder / "words").iterdir())
    assert [path.name for path in words] == ["klettres-hu.flac", "ktuberling-da.flac", "tuxpaint-pt_BR.flac"]
    assert audio.probe(words[0]).duration_s == pytest.approx(24, abs=0.01)
    shutil.rmtree(folder / "orchestra")
    with pytest.raises(SystemExit):
        run(monkeypatch, "package_recordings.py", folder, "--packages", packages)
    assert not (folder / "orchestra").exists()


def test_a_missing_package_is_named_before_anything_is_written(packages, tmp_path, monkeypatch, capsys):
    shutil.rmtree(packages / "usr/share/games/fretsonfire")
    with pytest.raises(SystemExit):
        run(monkeypatch, "package_recordings.py", tmp_path / "data", "--packages", packages)
    assert "fretsonfire-songs-muldjord, fretsonfire-songs-sectoid" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.fixture
def free_material():
    return runpy.run_path(str(TOOLS / "free_material.py"))


def midi(*messages: mido.Message) -> mido.MidiFile:
    song = mido.MidiFile(type=0)
    song.tracks.append(mido.MidiTrack(messages))
    return song


def notes(song: mido.MidiFile) -> list[tuple[int, int, int]]:
    """(time from the start, channel, note) of all notes."""
    time, found = 0, []
    for message in song.tracks[0]:
        time += message.time
        if message.type == "note_on":
            found.append((time, message.channel, message.note))
    return found


def test_a_midi_song_is_split_by_channels_and_programs(free_material):
    song = midi(
        mido.Message("program_change", channel=1, program=33),
        mido.Message("note_on", channel=0, note=60, time=10),
        mido.Message("note_on", channel=1, note=40, time=10),
        mido.Message("sysex", data=(1, 2), time=10),
        mido.Message("note_on", channel=9, note=36, time=10),
        mido.Message("program_change", channel=1, program=52, time=10),
        mido.Message("note_on", channel=1, note=70, time=10),
        mido.Message("program_change", channel=1, program=125),
        mido.Message("note_on", channel=1, note=71, time=10),
    )
    found = {stem: free_material["keep"](song, stem) for stem in ("drums", "bass", "other", "vocals")}
    assert {stem: notes(part) for stem, part in found.items()} == {
        "drums": [(40, 9, 36)],
        "bass": [(20, 1, 40)],
        "other": [(10, 0, 60)],
        "vocals": [(60, 1, 70)],
    }
    assert free_material["keep"](midi(mido.Message("note_on", channel=0, note=60)), "drums") is None


def test_a_drummers_take_gets_one_kit_and_the_notes_of_general_midi(free_material):
    take = midi(
        mido.Message("program_change", channel=9, program=0),
        mido.Message("note_on", channel=9, note=22),
        mido.Message("note_on", channel=9, note=38, time=5),
    )
    played = free_material["on_kit"](take, 16)
    programs = [message.program for message in played.tracks[0] if message.type == "program_change"]
    assert programs == [16, 16]
    assert notes(played) == [(0, 9, 42), (5, 9, 38)]
