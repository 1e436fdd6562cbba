import errno
import signal
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from hyperstem import audio
from hyperstem.errors import ConfigError
from hyperstem.separation import batch
from hyperstem.separation.batch import BatchSettings, find_sources, plan
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.separator import Cancelled
from separation_standin import noise, separator

STEMS = ("drums", "bass", "other", "vocals")


def settings(folder: Path, name: str = "wav", **chosen) -> BatchSettings:
    return BatchSettings(folder, OutputSettings(audio.named_format(name)), **chosen)


def test_inputs_of_one_name_are_kept_apart(tmp_path):
    sources = [Path("a/song.mp3"), Path("b/song.wav"), Path("c/SONG.mp3"), Path("song-2.mp3")]
    tasks = plan(sources, settings(tmp_path), STEMS)
    folders = [task.manifest.parent.name for task in tasks]
    assert folders == ["song", "song-2", "SONG-3", "song-2-2"]
    paths = [path for task in tasks for path in task.paths.values()]
    assert len({str(path).casefold() for path in paths}) == len(paths)


def test_a_flat_template_keeps_manifests_apart(tmp_path):
    tasks = plan([Path("a.mp3"), Path("b.mp3")], settings(tmp_path, template="{track} {stem}.{ext}"), STEMS)
    assert [task.manifest.name for task in tasks] == ["a.manifest.json", "b.manifest.json"]
    assert tasks[0].paths["bass"] == tmp_path / "a bass.wav"


def test_stem_files_lose_both_endings(tmp_path):
    (task,) = plan([Path("Song.stem.mp4")], settings(tmp_path, "stem.mp4"), STEMS)
    assert task.paths == {"stems": tmp_path / "Song" / "Song.stem.mp4"}


def test_every_file_once_and_folders_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp3", "a.wav", "sub/c.FLAC", ".hidden.mp3", "sub/notes.txt", ".git/d.mp3"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x")
    found = find_sources([Path("b.mp3"), Path(), tmp_path / "a.wav"])
    assert [str(path) for path in found.sources] == ["b.mp3", "a.wav", "sub/c.FLAC"]
    assert found.failures == []
    assert [result.error for result in find_sources([Path(".git/..", ".git")]).failures] == []


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{track}", "no {stem}"),
        ("{title}/{stem}", "allowed are track, stem, ext"),
        ("/abs/{stem}", "leads out"),
        ("x/../../{stem}", "leads out"),
        ("{stem", "template"),
        ("{stem:.1}", "has {stem:.1}"),
        ("{stem!r}", "has {stem!r}"),
        ("{stem}/manifest.json", "written beside"),
        ("{stem:{track}}", "has {stem:{track}}"),
    ],
)
def test_templates_that_cannot_work(tmp_path, template, message):
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, template=template)


def test_several_songs_need_names_of_their_own(tmp_path):
    flat = settings(tmp_path, template="{stem}.{ext}")
    assert len(plan([Path("a.mp3")], flat, STEMS)) == 1
    with pytest.raises(ConfigError, match=r"no \{track\}; 2 songs"):
        plan([Path("a.mp3"), Path("b.mp3")], flat, STEMS)
    tasks = plan([Path("a.mp3"), Path("b.mp3")], settings(tmp_path, "stem.mp4", template="{stem}.{ext}"), STEMS)
    assert [task.paths["stems"].name for task in tasks] == ["a.stem.mp4", "b.stem.mp4"]


@pytest.mark.parametrize("name", ("..wav", "...wav", "...mp3"))
def test_names_of_dots_stay_in_the_output_folder(tmp_path, name):
    (task,) = plan([Path(name)], settings(tmp_path), STEMS)
    assert task.manifest.parent == tmp_path / name


def test_a_mistake_in_one_song_leaves_the_others_their_turn(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERSTEM_DEBUG", raising=False)
    for name in ("a.wav", "b.wav"):
        audio.write(tmp_path / name, noise(1, 8000), 8000)
    digest = batch.Digest
    monkeypatch.setattr(batch, "Digest", lambda path: None if path.name == "a.wav" else digest(path))
    chosen = settings(tmp_path / "out")
    tasks = plan([tmp_path / "a.wav", tmp_path / "b.wav"], chosen, STEMS)
    results = batch.run(separator(), tasks, chosen, lambda _: None)
    assert [result.status for result in results] == ["failed", "done"]
    assert "internal error: TypeError" in results[0].error


def test_failures_are_one_line_that_begins_with_the_name(tmp_path):
    chosen = settings(tmp_path / "out")
    for name in ("two  spaces.mp3", "two\nlines.mp3"):
        (tmp_path / name).write_text("no music")
        (result,) = batch.run(separator(), plan([tmp_path / name], chosen, STEMS), chosen, lambda _: None)
        shown = str(tmp_path / name).replace("\n", " ")
        assert result.error.startswith(shown)
        assert result.error.count(shown) == len(result.error.splitlines()) == 1


def test_inputs_are_never_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bass.wav", "b.wav"):
        audio.write(tmp_path / name, noise(1, 8000), 8000)
    before = Path("bass.wav").read_bytes()
    chosen = settings(Path(), template="{stem}.{ext}", existing="overwrite")
    (result,) = batch.run(separator(), plan([tmp_path / "bass.wav"], chosen, STEMS), chosen, lambda _: None)
    assert result.status == "failed"
    assert result.error.endswith("would replace bass.wav, which is an input")
    chosen = settings(Path(), template="{stem}.{ext}", existing="overwrite")
    tasks = [plan([Path(name)], chosen, STEMS)[0] for name in ("b.wav", "bass.wav")]
    assert {result.status for result in batch.run(separator(), tasks, chosen, lambda _: None)} == {"failed"}
    assert Path("bass.wav").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.wav", "bass.wav"]


def test_a_manifest_of_someone_else_is_kept(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 8000), 8000)
    manifest = tmp_path / "out" / "a" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"mine": 1}')
    for existing, status in (("fail", "failed"), ("skip", "failed"), ("overwrite", "done")):
        chosen = settings(tmp_path / "out", existing=existing)
        (result,) = batch.run(separator(), plan([tmp_path / "a.wav"], chosen, STEMS), chosen, lambda _: None)
        assert result.status == status
        assert ("mine" in manifest.read_text()) == (status == "failed")


def songs(folder: Path, count: int, seconds: int) -> list[Path]:
    paths = [folder / f"{i}.wav" for i in range(count)]
    for path in paths:
        audio.write(path, noise(1, 44_100 * seconds), 44100)
    return paths


def test_cancelling_stops_all_jobs_and_leaves_nothing(tmp_path):
    sources = songs(tmp_path, 3, seconds=60)
    chosen = settings(tmp_path / "out", jobs=2)
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    results, slow = [], separator(segment_s=0.5, delay_s=0.1)
    with pytest.raises(Cancelled):
        batch.run(slow, plan(sources, chosen, STEMS), chosen, results.append, cancel=cancel)
    assert results == []
    assert not (tmp_path / "out").exists()


def test_a_signal_that_reaches_another_thread_stops_all_jobs(tmp_path):
    sources = songs(tmp_path, 2, seconds=20)
    chosen = settings(tmp_path / "out", jobs=2)
    first = threading.Lock()

    def interrupt(*_: object) -> None:
        if first.acquire(blocking=False):
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    results, slow = [], separator(segment_s=0.5, delay_s=0.1)
    with pytest.raises(KeyboardInterrupt):
        batch.run(slow, plan(sources, chosen, STEMS), chosen, results.append, interrupt)
    assert results == []
    assert not (tmp_path / "out").exists()


def test_a_song_that_fails_leaves_the_others_their_folder(tmp_path, monkeypatch):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    audio.write(good, noise(1, 4410), 44100)
    bad.write_bytes(b"")
    chosen = settings(tmp_path / "out", template="{track}-{stem}.{ext}", jobs=2)
    failed, begun, look = threading.Event(), threading.Event(), audio.probe

    def probe(path, stream=None):
        if path == good:
            begun.set()
            failed.wait(timeout=10)
        else:
            begun.wait(timeout=10)
        return look(path, stream)

    def report(result):
        if result.source == bad:
            failed.set()

    monkeypatch.setattr(audio, "probe", probe)
    results = batch.run(separator(), plan([good, bad], chosen, STEMS), chosen, report)
    assert [result.status for result in results] == ["done", "failed"]
    assert len(list((tmp_path / "out").iterdir())) == len(STEMS) + 1


def test_peaks_of_lossy_files_are_told(tmp_path):
    audio.write(tmp_path / "a.wav", noise(2, 48_000, 1.5), 48_000, subtype="float")
    chosen = settings(tmp_path / "out", "mp3")
    (result,) = batch.run(separator(), plan([tmp_path / "a.wav"], chosen, STEMS), chosen, lambda _: None)
    assert result.output.gain == 1
    assert "some players will clip it" in result.warnings[0]
    assert result.record()["warnings"] == result.warnings


def test_a_folder_of_the_same_name_is_no_obstacle_but_a_file_is(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 1000), 8000)
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a/mine.txt").write_text("stays")
    chosen = settings(tmp_path / "out")
    (result,) = batch.run(separator(), plan([tmp_path / "a.wav"], chosen, STEMS), chosen, lambda _: None)
    assert result.status == "done"
    assert (tmp_path / "out/a/mine.txt").read_text() == "stays"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_text("in the way")
    chosen = settings(tmp_path / "other")
    (result,) = batch.run(separator(), plan([tmp_path / "a.wav"], chosen, STEMS), chosen, lambda _: None)
    assert result.status == "failed"
    assert result.error.startswith(f"{tmp_path / 'a.wav'}: ")


@pytest.mark.parametrize(
    "template", ("{track}/{stem}.{ext}", "{track} {stem}.{ext}", "{track}/{stem}/x.{ext}", "{stem}/{track}.{ext}")
)
def test_earlier_output_is_passed_over_in_folders(tmp_path, template):
    audio.write(tmp_path / "song.wav", noise(1, 8000), 8000)
    chosen = settings(tmp_path / "out", template=template)
    (done,) = batch.run(separator(), plan([tmp_path / "song.wav"], chosen, STEMS), chosen, lambda _: None)
    assert done.status == "done"
    assert find_sources([tmp_path]).sources == [tmp_path / "song.wav"]


def test_a_path_that_cannot_be_looked_at_leaves_the_others_their_turn(tmp_path, monkeypatch):
    (tmp_path / "good.wav").write_bytes(b"x")
    (tmp_path / "shut").mkdir()
    look = Path.iterdir

    def iterdir(folder):
        if folder.name == "shut":
            raise PermissionError(13, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    long = Path("a" * 300 + ".mp3")
    for given in ([tmp_path / "good.wav", long, tmp_path / "shut"], [tmp_path]):
        found = find_sources(given)
        assert found.sources[0] == tmp_path / "good.wav"
        assert found.failures[-1].error == f"{tmp_path / 'shut'}: Permission denied"


def test_without_its_manifest_no_stem_appears(tmp_path, monkeypatch):
    audio.write(tmp_path / "song.wav", noise(1, 8000), 8000)
    chosen = settings(tmp_path / "out")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(batch, "_json", full)
    (failed,) = batch.run(separator(), plan([tmp_path / "song.wav"], chosen, STEMS), chosen, lambda _: None)
    assert failed.error == f"{tmp_path / 'song.wav'}: No space left on device"
    assert not (tmp_path / "out").exists()


def test_a_picture_is_not_replaced_unasked(tmp_path):
    pytest.importorskip("matplotlib")
    audio.write(tmp_path / "song.wav", noise(1, 8000), 8000)
    picture = tmp_path / "out" / "song" / "picture.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"mine")
    for existing, status in (("fail", "failed"), ("overwrite", "done")):
        chosen = settings(tmp_path / "out", existing=existing, plot=True)
        (result,) = batch.run(separator(), plan([tmp_path / "song.wav"], chosen, STEMS), chosen, lambda _: None)
        assert result.status == status
        assert (picture.read_bytes() == b"mine") == (status == "failed")


@pytest.mark.parametrize("name", ("other.wav", "manifest.json"))
def test_a_folder_in_the_way_is_found_before_the_work(tmp_path, name):
    audio.write(tmp_path / "song.wav", noise(1, 8000), 8000)
    (tmp_path / "out" / "song" / name).mkdir(parents=True)
    chosen = settings(tmp_path / "out", existing="overwrite")
    (result,) = batch.run(separator(), plan([tmp_path / "song.wav"], chosen, STEMS), chosen, lambda _: None)
    assert f"{name} is a folder" in result.error
    assert [path.name for path in (tmp_path / "out" / "song").iterdir()] == [name]


def test_failures_have_a_kind_that_is_counted(tmp_path, monkeypatch):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    audio.write(tmp_path / "song.wav", noise(1, 1000), 8000)
    (tmp_path / "out/song").mkdir(parents=True)
    (tmp_path / "out/song/bass.wav").write_bytes(b"mine")
    sources = [tmp_path / name for name in ("none.wav", "broken.wav", "song.wav")]
    results = batch.run(
        separator(), plan(sources, settings(tmp_path / "out"), STEMS), settings(tmp_path / "out"), print
    )
    assert [result.record()["reason"] for result in results] == ["missing", "audio", "exists"]
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(batch, "_separate_into", Mock(side_effect=[full, MemoryError(), OSError(5, "I/O"), KeyError()]))
    overwrite = settings(tmp_path / "out", existing="overwrite")
    tasks = plan(sources[2:] * 4, overwrite, STEMS)
    reasons = [result.reason for result in batch.run(separator(), tasks, overwrite, print)]
    assert reasons == ["disk full", "out of memory", "system", "internal error"]
