import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperstem import audio
from hyperstem.errors import DataError
from hyperstem.synth import production, sources
from hyperstem.synth.compose import accompany
from hyperstem.synth.compose.midi import DRUM_CHANNEL, Track, read_midi, write_midi
from hyperstem.synth.compose.score import Chord, Hit, Note, Syllable, compose
from hyperstem.synth.play import samples, soundfont, speech
from hyperstem.synth.play.singer import draw_singer
from hyperstem.synth.play.voice import render_voice
from hyperstem.synth.production import produce

RATE_HZ = 22050
GROOVES = """
Time {beats}
DefGroove {name}  A groove.
DefGroove {name}Fill  A fill.
DefGroove {name}Intro  Four bars.
DefGroove {name}End
"""


def notes(draw_pitch, count=8):
    return tuple(Note(0.25 * i, 0.2, float(draw_pitch(i)), 0.5 + 0.05 * i) for i in range(count))


def singing(tmp_path, voices=("anna", "bert"), files=4):
    """Folders of 'recorded speech': the built-in voice, babbling."""
    rng = np.random.default_rng(1)
    for number, name in enumerate(voices):
        singer = draw_singer(rng)._replace(vibrato_cents=0.0, growl=0.0)
        (tmp_path / name).mkdir()
        for file in range(files):
            phrase = [
                Syllable(
                    0.6 + 0.24 * i,
                    0.2,
                    50 + 8.0 * number + rng.uniform(-2, 2),
                    0.8,
                    str(rng.choice(["m", "s", "t", "l"])),
                    str(rng.choice(["a", "e", "i", "o"])),
                    False,
                )
                for i in range(12)
            ]
            wave = render_voice([phrase], singer, file, number, 4 * RATE_HZ, RATE_HZ, talk=True)
            audio.write(tmp_path / name / f"{file}.wav", wave[None], RATE_HZ)
    return tmp_path


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 100), st.integers(0, 127), st.integers(1, 127)), max_size=30)
)
def test_midi_comes_back_as_it_was_written(events):
    played = {
        (start, pitch): Note(start / 10, length / 100, float(pitch), velocity / 127)
        for start, length, pitch, velocity in events
    }
    kept = []
    for note in sorted(played.values()):  # a key is struck again only when it was let go
        if all(other.pitch != note.pitch or other.start_s + other.duration_s <= note.start_s for other in kept):
            kept.append(note)
    tracks = read_midi(write_midi([Track("x", 33, 3, tuple(kept))]), 120.0)
    if not kept:
        assert tracks == []
        return
    (track,) = tracks
    assert (track.program, track.channel) == (33, 3)
    for got, expected in zip(track.notes, sorted(kept), strict=True):
        np.testing.assert_allclose(got, expected, atol=1.1e-3)


@pytest.mark.parametrize("damage", [b"", b"RIFF", b"MThd\x00\x00\x00\x06\x00\x01"])
def test_what_is_not_midi_is_refused(damage):
    with pytest.raises(DataError, match="MIDI"):
        read_midi(damage, 120)


def test_a_midi_file_cut_short_is_refused_or_read_in_part():
    whole = write_midi([Track("x", 0, 0, notes(lambda i: 60 + i))])
    for length in range(len(whole)):
        try:
            tracks = read_midi(whole[:length], 120)
        except DataError:
            continue
        assert sum(len(track.notes) for track in tracks) <= 8


@pytest.mark.parametrize(
    ("root", "tones", "name"),
    [
        (0, (0, 4, 7), "C"),
        (9, (9, 0, 4), "Am"),
        (7, (7, 11, 2, 5), "G7"),
        (11, (11, 2, 5, 9), "Bm7b5"),
        (5, (5, 9, 0, 4), "FM7"),
        (2, (2, 7, 9), "Dsus4"),
        (2, (2, 5, 9, 0, 4), "Dm7"),
        (10, (10, 1, 6), "Bbm"),
    ],
)
def test_chords_have_the_names_that_mma_knows(root, tones, name):
    assert accompany.chord_name(Chord(root, tones, 0, 4)) == name


def test_grooves_are_found_with_their_kin(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "rock.mma").write_text(GROOVES.format(name="Rocky", beats=4))
    (tmp_path / "lib" / "five.mma").write_text(GROOVES.format(name="Five", beats=5))
    (tmp_path / "lib" / "waltz.mma").write_text(GROOVES.format(name="Waltzy", beats=3))
    (tmp_path / "lib" / "empty.mma").write_text("Time 4\n")
    rock, waltz = accompany.find_families(tmp_path)
    assert (rock.beats, rock.mains, rock.fills, rock.intros) == (4, ("Rocky",), ("RockyFill",), ("RockyIntro",))
    assert waltz.beats == 3


def test_the_chart_has_a_line_for_every_bar(tmp_path):
    song = compose(5, 30, beats=4)
    family = accompany.Family(tmp_path / "x.mma", 4, ("A", "B"), ("Fill",), ())
    lines = accompany.chart(song, family, np.random.default_rng(0)).splitlines()
    bars = [line.split() for line in lines if line[0].isdigit()]
    assert [int(bar[0]) for bar in bars] == list(range(1, len(bars) + 1))
    assert all(len(bar) == 5 and bar[1] != "/" for bar in bars)
    assert len(bars) == sum(section.bars for section in song.sections)


def kit_folder(tmp_path, rate_hz=44100):
    folder = tmp_path / "My Kit"
    folder.mkdir()
    entries = []
    for i, (name, hz) in enumerate([("Bass Drum", 60), ("Snare 1", 200), ("Closed HH", 6000), ("Open HH", 7000)]):
        time_s = np.arange(rate_hz // 5) / rate_hz
        wave = 0.5 * np.cos(2 * np.pi * hz * time_s) * np.exp(-20 * time_s)
        audio.write(folder / f"{i}.wav", wave[None].astype(np.float32), rate_hz)
        entries.append(
            f"<instrument><name>{name}</name><layer><filename>{i}.wav</filename><min>0</min><max>1</max>"
            "</layer><layer><filename>gone.wav</filename><min>0</min><max>1</max></layer></instrument>"
        )
    text = (
        "<drumkit_info xmlns='http://x'><name>My Kit</name><license>CC0</license><instrumentList>"
        + "".join(entries)
        + "</instrumentList></drumkit_info>"
    )
    (folder / "drumkit.xml").write_text(text)
    return tmp_path


def test_a_hydrogen_kit_is_found_and_played_in_time(tmp_path):
    (kit,) = samples.find_kits([kit_folder(tmp_path)])
    assert (kit.name, kit.licence, set(kit.pieces)) == ("My Kit", "CC0", {"kick", "snare", "hat", "open"})
    hits = [Hit(0.5, "kick", 0.9), Hit(1.0, "snare", 0.9), Hit(1.5, "rim", 0.5), Hit(1.7, "cowbell", 0.5)]
    wave = samples.render_kit(hits, kit, 2 * 44100, 44100, np.random.default_rng(0))
    assert np.isfinite(wave).all()
    assert not wave[:, : int(0.49 * 44100)].any()
    for at_s in (0.5, 1.0, 1.5):
        assert np.abs(wave[:, int(at_s * 44100) : int((at_s + 0.01) * 44100)]).max() > 0.05
    assert not np.any(wave[:, int(1.75 * 44100) :])


def test_a_closed_hat_stops_an_open_one(tmp_path):
    (kit,) = samples.find_kits([kit_folder(tmp_path)])
    rng = np.random.default_rng
    ringing = samples.render_kit([Hit(0.0, "open", 0.9)], kit, 22050, 44100, rng(0))
    choked = samples.render_kit([Hit(0.0, "open", 0.9), Hit(0.05, "hat", 0.01)], kit, 22050, 44100, rng(0))
    after = slice(int(0.1 * 44100), int(0.15 * 44100))
    assert np.abs(choked[:, after]).max() < 0.2 * np.abs(ringing[:, after]).max()


def test_kits_that_are_damaged_are_passed_over(tmp_path):
    kit_folder(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "drumkit.xml").write_text("<drumkit_info><name>")
    assert [kit.name for kit in samples.find_kits([tmp_path])] == ["My Kit"]
    with pytest.raises(DataError, match="not a drum kit"):
        samples.read_kit(tmp_path / "bad" / "drumkit.xml")


@pytest.mark.parametrize("least, message", [("0,0", None), ("loud", "'loud' is no number")])
def test_loudnesses_of_a_kit(tmp_path, least, message):
    path = next(kit_folder(tmp_path).rglob("drumkit.xml"))
    text = path.read_text()
    path.write_text(re.sub(r"<min>[^<]*</min>", f"<min>{least}</min>", text))
    assert path.read_text() != text
    if message is None:
        assert samples.read_kit(path).pieces
    else:
        assert samples.find_kits([tmp_path]) == []
        with pytest.raises(DataError, match=message):
            samples.read_kit(path)


def test_a_groove_that_is_played_is_named_with_its_licence(monkeypatch):
    hits = tuple(Hit(0.1 * i, "kick", 1.0) for i in range(20))
    score = production._Score("mma waltz", list(hits), (Note(0.0, 1.0, 40.0, 0.8),) * 9, [])
    monkeypatch.setattr(production, "_score", lambda *_: score)
    used = {"drums": set(), "bass": set()}
    for seed in range(8):
        stems = produce(seed, 2.0, 8000, sources.Sources()).manifest["stems"]
        for stem in used:
            used[stem].add(stems[stem].get("mma waltz"))
    assert used["drums"] == used["bass"] == {None, sources.licence_of("mma")}


def test_voices_are_found_by_folder_and_by_letter(tmp_path):
    singing(tmp_path)
    (tmp_path / "game" / "cs").mkdir(parents=True)
    for i in range(4):
        for who in "mv":
            shutil.copy(tmp_path / "anna" / "0.wav", tmp_path / "game" / "cs" / f"level-{who}-{i}.wav")
    (tmp_path / "few").mkdir()
    shutil.copy(tmp_path / "anna" / "0.wav", tmp_path / "few" / "0.wav")
    found = {speaker.name: len(speaker.files) for speaker in speech.find_speakers([tmp_path])}
    assert found == {"anna": 4, "bert": 4, "cs-m": 4, "cs-v": 4}


def test_speech_is_sung_at_the_pitch_of_the_melody(tmp_path):
    pytest.importorskip("pyworld")
    speaker = speech.find_speakers([singing(tmp_path)])[0]
    spoken = speech.take_apart(speech.gather(speaker, 10.0, np.random.default_rng(0)))
    assert 25 < len(spoken.syllables) < 60  # 36 to 48 were spoken
    assert np.all(np.diff(spoken.syllables, axis=1) >= 0)
    singer = draw_singer(np.random.default_rng(0))._replace(vibrato_cents=0.0, unsteady=0.0, scoop_cents=0.0)
    phrases = [[Syllable(0.5, 0.9, 53.0, 0.8, "", "a", True), Syllable(1.4, 0.9, 58.0, 0.8, "", "a", False)]]
    wave = speech.render_spoken(phrases, spoken, singer, 0, 0, 3 * 44100, 44100)
    for begin_s, pitch in ((0.65, 53), (1.6, 58)):
        part = wave[int(begin_s * 44100) : int((begin_s + 0.5) * 44100)]
        ratio = np.correlate(part, part, "full")[len(part) - 1 :]
        period = np.argmax(ratio[100:600]) + 100
        assert 44100 / period == pytest.approx(440 * 2 ** ((pitch - 69) / 12), rel=0.03)
    assert np.abs(wave[int(2.75 * 44100) :]).max() < 0.01 * np.abs(wave).max()
    again = speech.render_spoken(phrases, spoken, singer, 0, 0, 3 * 44100, 44100)
    np.testing.assert_array_equal(wave, again)
    elsewhere = speech.render_spoken(phrases, spoken, singer, 0, 0, 3 * 16000, 16000)
    assert elsewhere.shape == (48000,)


def test_silence_and_noise_have_no_syllables():
    pytest.importorskip("pyworld")
    for wave in (np.zeros(44100, np.float32), 0.01 * np.random.default_rng(0).standard_normal(44100)):
        with pytest.raises(DataError, match="too few syllables"):
            speech.take_apart(wave)


def test_without_pyworld_the_message_says_what_to_install(monkeypatch, tmp_path):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(speech, "import_module", missing)
    with pytest.raises(DataError, match=r"hyperstem\[synth\]"):
        speech.take_apart(np.zeros(22050))
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"hyperstem\[synth\]"):
        sources.find_sources(voices=[singing(tmp_path)])
    assert any("hyperstem[synth]" in line for line in sources.find_sources().missing)


def test_without_programs_the_report_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = sources.find_sources()
    assert found.soundfonts == found.families == ()
    assert not found.espeak
    report = "\n".join(found.report())
    assert "not used: SoundFonts" in report
    assert "fluidsynth" in report
    assert "mma" in report
    (tmp_path / "x.sf2").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="fluidsynth, which is not installed"):
        sources.find_sources(soundfonts=[tmp_path])
    with pytest.raises(DataError, match="fluidsynth cannot be run"):
        soundfont.render_tracks([Track("x", 0, 0, notes(lambda i: 60))], tmp_path / "x.sf2", 100, 8000)
    with pytest.raises(DataError, match="mma cannot be run"):
        accompany.play(compose(0, 4), accompany.Family(tmp_path, 4, ("A",), (), ()), np.random.default_rng(0))
    with pytest.raises(DataError, match="espeak-ng cannot be run"):
        speech.speak(1.0, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["soundfonts", "voices", "kits"])
def test_folders_that_hold_nothing_are_errors_when_asked_for(kind, tmp_path):
    with pytest.raises(DataError, match="no "):
        sources.find_sources(**{kind: [tmp_path]})
    with pytest.raises(DataError, match="not a folder"):
        sources.find_sources(**{kind: [tmp_path / "none"]})


def test_a_song_says_what_it_was_made_of(tmp_path):
    pytest.importorskip("pyworld")
    (tmp_path / "voices").mkdir()
    (tmp_path / "kits").mkdir()
    found = sources.Sources(
        kits=tuple(samples.find_kits([kit_folder(tmp_path / "kits")])),
        speakers=tuple(speech.find_speakers([singing(tmp_path / "voices")])),
    )
    used = {"drums": set(), "vocals": set()}
    for seed in range(5):
        song = produce(seed, 4.0, 8000, found)
        assert all(np.isfinite(wave).all() and wave.any() for wave in song.stems.values())
        assert set(song.manifest["stems"]) == {"drums", "bass", "other", "vocals"}
        for stem in used:
            used[stem] |= set(song.manifest["stems"][stem].items())
    assert {("kit My Kit", "CC0"), ("built-in", sources.licence_of("built-in"))} <= used["drums"]
    assert any(name.startswith("speech ") for name, _ in used["vocals"])


def test_absent_stems_are_not_played(tmp_path):
    song = produce(1, 3.0, 8000, sources.Sources(), ("vocals",))
    assert not song.stems["vocals"].any()
    assert "vocals" not in song.manifest["stems"]


needs_fluidsynth = pytest.mark.skipif(
    not (shutil.which("fluidsynth") and soundfont.find_soundfonts([f for f in soundfont.FOLDERS if f.is_dir()])),
    reason="needs fluidsynth and a SoundFont",
)


@needs_fluidsynth
def test_a_soundfont_plays_what_is_written():
    font = min(soundfont.find_soundfonts(), key=lambda path: path.stat().st_size)
    track = Track("Bass", 33, 0, (Note(0.5, 1.0, 45.0, 0.9),))
    wave = soundfont.render_tracks([track], font, 2 * 44100, 44100)
    again = soundfont.render_tracks([track], font, 2 * 44100, 44100)
    np.testing.assert_array_equal(wave, again)
    assert wave.shape == (2, 88200)
    assert np.abs(wave[:, : int(0.48 * 44100)]).max() < 0.01 * np.abs(wave).max()
    part = wave[0, int(0.6 * 44100) : int(1.4 * 44100)]
    ratio = np.correlate(part, part, "full")[len(part) - 1 :]
    period = np.argmax(ratio[200:1000]) + 200
    assert 44100 / period == pytest.approx(110, rel=0.02)


@needs_fluidsynth
def test_drums_play_on_their_own_channel():
    font = min(soundfont.find_soundfonts(), key=lambda path: path.stat().st_size)
    track = soundfont.drum_track([Hit(0.1, "kick", 0.9)], 0, np.random.default_rng(0))
    assert track.channel == DRUM_CHANNEL
    wave = soundfont.render_tracks([track], font, 22050, 44100).mean(axis=0)
    power = np.abs(np.fft.rfft(wave)) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / 44100)
    assert power[frequency < 250].sum() > 0.4 * power.sum()


@needs_fluidsynth
def test_a_file_that_is_no_soundfont_is_named(tmp_path):
    (tmp_path / "x.sf2").write_text("text")
    with pytest.raises(DataError, match=r"x\.sf2"):
        soundfont.render_tracks([Track("x", 0, 0, notes(lambda i: 60))], tmp_path / "x.sf2", 4410, 44100)


@pytest.mark.skipif(not shutil.which("mma"), reason="needs the program mma")
def test_mma_plays_the_song_in_time_and_the_same_again():
    library = next(path for path in accompany.LIBRARIES if path.is_dir())
    family = next(family for family in accompany.find_families(library) if family.file.stem == "basicrock")
    song = compose(8, 20, beats=4)
    parts = accompany.play(song, family, np.random.default_rng(0))
    assert parts == accompany.play(song, family, np.random.default_rng(0))
    assert parts["drums"]
    assert parts["bass"]
    assert parts["other"]
    assert all(track.channel == DRUM_CHANNEL for track in parts["drums"])
    beats = np.array([note.start_s for track in parts["bass"] for note in track.notes]) * song.bpm / 60 * 2
    assert np.median(np.abs(beats - np.round(beats))) < 0.1
    end_s = song.seconds(sum(section.bars for section in song.sections) * 4)
    assert 0.8 * end_s < max(note.start_s for track in parts["drums"] for note in track.notes) < end_s + 1


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs the program espeak-ng")
def test_espeak_speaks_syllables():
    pytest.importorskip("pyworld")
    name, wave = speech.speak(8.0, np.random.default_rng(5))
    assert "+" in name
    assert len(speech.take_apart(wave).syllables) > 10


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**40))
def test_sung_lines_of_any_seed_are_finite(seed):
    phrases = [[Syllable(0.3, 0.1, 40.0 + seed % 40, 1.0, "t", "i", True)]]
    singer = draw_singer(np.random.default_rng(seed))
    assert np.isfinite(render_voice(phrases, singer, seed, 0, 8000, 8000)).all()
