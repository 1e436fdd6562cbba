"""Whether a song's stems are there already is judged by its manifest, not by names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperstem import audio, files
from hyperstem.separation import batch
from hyperstem.separation.batch import BatchSettings, find_sources, plan
from hyperstem.separation.output import OutputSettings
from separation_standin import noise, separator

STEMS = ("drums", "bass", "other", "vocals")
FLAT = "{track}/{stem}.{ext}"


def song(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, noise(1, 8000, seed=seed), 8000)
    return path


def settings(folder: Path, name: str = "wav", **chosen) -> BatchSettings:
    groups = chosen.pop("groups", None)
    return BatchSettings(folder, OutputSettings(audio.named_format(name), groups=groups), existing="skip", **chosen)


def separate(given: list[Path], chosen: BatchSettings, **model) -> dict[str, str]:
    """Name of each source to its status, or its error."""
    found = find_sources(given)
    results = batch.run(separator(**model), plan(found.sources, chosen, STEMS, found.folders), chosen, lambda _: None)
    return {str(result.source.relative_to(given[0].parent)): result.error or result.status for result in results}


def made_of(folder: Path) -> dict[str, str]:
    """Folder of each manifest to the SHA-256 of the song it is of, and that the stems sum to."""
    found = {}
    for path in folder.rglob("manifest.json"):
        found[str(path.parent.relative_to(folder))] = json.loads(path.read_text())["source"]["sha256"]
    return found


@pytest.mark.parametrize("template", ("{folder}/{track}/{stem}.{ext}", FLAT))
def test_a_song_added_before_others_of_its_name_is_no_earlier_one(tmp_path, template):
    library, out = tmp_path / "lib", tmp_path / "out"
    sources = {name: song(library / name / "01.wav", seed) for seed, name in enumerate("bc")}
    chosen = settings(out, template=template)
    assert set(separate([library], chosen).values()) == {"done"}
    before = made_of(out)
    sources["a"] = song(library / "a/01.wav", 7)
    done = {"lib/a/01.wav": "done", "lib/b/01.wav": "skipped", "lib/c/01.wav": "skipped"}
    assert separate([library], chosen) == done
    after = made_of(out)
    assert before.items() <= after.items()
    assert set(after.values()) == {files.sha256(path) for path in sources.values()}
    assert set(separate([library], chosen).values()) == {"skipped"}


def test_folders_keep_their_structure(tmp_path):
    for name in ("b/01.wav", "c/01.wav", "top.wav"):
        song(tmp_path / "lib" / name)
    separate([tmp_path / "lib"], settings(tmp_path / "out"))
    assert set(made_of(tmp_path / "out")) == {"b/01", "c/01", "top"}
    assert (tmp_path / "out/b/01/drums.wav").is_file()


def test_songs_below_a_root_keep_their_folders(tmp_path):
    one, other = song(tmp_path / "lib/b/01.wav"), song(tmp_path / "elsewhere/02.wav")
    found = find_sources([one, other], root=tmp_path / "lib")
    assert found.folders == {one: "b", other: ""}
    tasks = plan(found.sources, settings(tmp_path / "out"), STEMS, found.folders)
    assert [task.manifest.parent for task in tasks] == [tmp_path / "out/b/01", tmp_path / "out/02"]


def test_a_replaced_song_is_separated_again(tmp_path):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    assert separate([source], chosen) == {"song.wav": "done"}
    song(source, seed=5)
    assert separate([source], chosen) == {"song.wav": "done"}
    assert made_of(tmp_path / "out") == {"song": files.sha256(source)}
    assert separate([source], chosen) == {"song.wav": "skipped"}


def test_what_is_replaced_is_told(tmp_path):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    separate([source], chosen)
    song(source, seed=5)
    (result,) = batch.run(separator(), plan([source], chosen, STEMS), chosen, lambda _: None)
    assert "and was replaced" in result.warnings[0]


@pytest.mark.parametrize("change", ({"quality": "preview"}, {"overlap": 0.2}, {"segment_s": 0.5}))
def test_another_model_setting_is_other_work(tmp_path, change):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    separate([source], chosen)
    assert separate([source], chosen, **change) == {"song.wav": "done"}
    assert separate([source], chosen, **change) == {"song.wav": "skipped"}
    assert separate([source], chosen) == {"song.wav": "done"}


def test_another_model_is_other_work(tmp_path):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    separate([source], chosen)
    other = separator()
    other.model_sha256 = "1" * 64
    (result,) = batch.run(other, plan([source], chosen, STEMS), chosen, lambda _: None)
    assert result.status == "done"


@pytest.mark.parametrize(
    "change",
    (
        {"start_s": 0.1},
        {"duration_s": 0.5},
        {"groups": (("vocals", ("vocals",)), ("rest", STEMS[:3]))},
        {"name": "flac"},
    ),
)
def test_another_output_setting_is_other_work(tmp_path, change):
    source = song(tmp_path / "song.wav")
    separate([source], settings(tmp_path / "out"))
    assert separate([source], settings(tmp_path / "out", **change)) == {"song.wav": "done"}
    assert separate([source], settings(tmp_path / "out", **change)) == {"song.wav": "skipped"}


def test_a_missing_stem_is_made_again(tmp_path):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    separate([source], chosen)
    (tmp_path / "out/song/bass.wav").unlink()
    assert separate([source], chosen) == {"song.wav": "done"}
    assert (tmp_path / "out/song/bass.wav").exists()


def test_files_that_no_manifest_explains_are_neither_done_nor_replaced(tmp_path):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    for stem in STEMS:
        (tmp_path / "out/song").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"out/song/{stem}.wav").write_bytes(b"mine")
    assert "no manifest says what it was made of" in separate([source], chosen)["song.wav"]
    assert (tmp_path / "out/song/bass.wav").read_bytes() == b"mine"


def test_a_manifest_without_settings_that_came_later_still_counts(tmp_path):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    separate([source], chosen)
    path = tmp_path / "out/song/manifest.json"
    contents = json.loads(path.read_text())
    contents["settings"] = {name: value for name, value in contents["settings"].items() if value is not None}
    path.write_text(json.dumps(contents))
    assert separate([source], chosen) == {"song.wav": "skipped"}


@pytest.mark.parametrize(
    "damage", ("[]", "{", '{"hyperstem": 1}', '{"hyperstem": 1, "model": 3, "stems": [], "source": 1}')
)
def test_a_damaged_manifest_is_no_proof(tmp_path, damage):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    separate([source], chosen)
    (tmp_path / "out/song/manifest.json").write_text(damage)
    assert separate([source], chosen)["song.wav"] != "skipped"


STOPPED = """
import os, signal, sys
from pathlib import Path
from hyperstem.audio.writing import Writer
from hyperstem.separation import batch
from hyperstem.separation.output import OutputSettings
from hyperstem import audio
sys.path.insert(0, sys.argv[1])
from separation_standin import separator
here, closes, close = Path(sys.argv[2]), int(sys.argv[3]), Writer.close
def dying(writer):
    global closes
    if closes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    closes -= 1
    close(writer)
Writer.close = dying
chosen = batch.BatchSettings(here / "out", OutputSettings(audio.named_format("wav")), existing=sys.argv[4])
model = separator()
batch.run(model, batch.plan([here / "song.wav"], chosen, model.stems), chosen, print)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that cannot be caught")
@pytest.mark.parametrize("closed", (0, 2))
@pytest.mark.parametrize("existing", ("skip", "overwrite"))
def test_a_song_killed_at_its_end_is_made_again_and_leaves_no_parts(tmp_path, closed, existing):
    source, chosen = song(tmp_path / "song.wav"), settings(tmp_path / "out")
    if existing == "overwrite":
        separate([source], chosen)
    helpers = str(Path(sys.modules["separation_standin"].__file__).parent)
    command = [sys.executable, "-c", STOPPED, helpers, str(tmp_path), str(closed), existing]
    assert subprocess.run(command, timeout=120).returncode == -9
    assert list(tmp_path.rglob(files.TEMPORARY))
    assert separate([source], chosen) == {"song.wav": "done"}
    assert not list(tmp_path.rglob(files.TEMPORARY))
    assert made_of(tmp_path / "out") == {"song": files.sha256(source)}


def test_parts_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    command = "import sys; from pathlib import Path; from hyperstem.files import temporary_beside as t; "
    ended = subprocess.run(
        [sys.executable, "-c", command + "print(t(Path('x')))"], capture_output=True, text=True, check=True, timeout=60
    )
    folder = tmp_path / "out/b/song"
    folder.mkdir(parents=True)
    dead, living = folder / ended.stdout.strip(), files.temporary_beside(folder / "x")
    elsewhere = folder / ".hyperstem-00000000-1-1-aaaa.part"
    nameless = folder / ".hyperstem-abcdef.part"
    for path in (dead, living, elsewhere, nameless, folder / ".hyperstem-mine.txt"):
        path.write_bytes(b"x")
    files.remove_leftovers_below(tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        living.name,
        elsewhere.name,
        nameless.name,
        ".hyperstem-mine.txt",
    }
    for path in (living, elsewhere, nameless):
        os.utime(path, (0, 0))
    files.remove_leftovers(folder)
    assert {path.name for path in folder.iterdir()} == {living.name, ".hyperstem-mine.txt"}


def test_a_later_process_of_the_same_number_is_another(tmp_path):
    if not files._started(os.getpid()):
        pytest.skip("this system does not tell when processes started")
    living = files.temporary_beside(tmp_path / "x")
    machine, pid, started, token = living.name.removeprefix(".hyperstem-").removesuffix(".part").split("-")
    earlier = tmp_path / f".hyperstem-{machine}-{pid}-{int(started) - 1}-{token}.part"
    for path in (living, earlier):
        path.touch()
    files.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [living]


def test_a_run_takes_away_what_a_killed_one_left_beside_other_songs(tmp_path):
    left = tmp_path / "out/gone/.hyperstem-00000000-1-1-aaaa.part"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (0, 0))
    separate([song(tmp_path / "song.wav")], settings(tmp_path / "out"))
    assert not left.exists()
