import json
import os
from itertools import islice
from pathlib import Path

import pytest

from hyperstem.cluster import catalogue, objects
from hyperstem.cluster.catalogue import Listed, Unlisted, songs
from hyperstem.errors import ConfigError

pytest.importorskip("obstore")
pytest.importorskip("pyarrow")


def make(folder: Path, *names: str, size: int = 10) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)


def places(items, top: Path) -> list[tuple[str, str]]:
    return [(os.path.relpath(item.place, top), item.folder) for item in items]


def test_folders_are_listed_in_order_with_their_folders(tmp_path):
    make(tmp_path, "b.mp3", "a/2.FLAC", "a/1.wav", ".hidden.mp3", ".git/x.mp3", "notes.txt", "out/song/bass.wav")
    make(tmp_path, "done/drums.wav", "flat/a drums.wav", "flat/b.wav")
    (tmp_path / "done/manifest.json").write_text('{"hyperstem": "1"}')
    (tmp_path / "flat/a.manifest.json").write_text('{"hyperstem": "1", "stems": {"drums": "a drums.wav"}}')
    found = list(songs([str(tmp_path)], skip=str(tmp_path / "out")))
    assert places(found, tmp_path) == [("a/1.wav", "a"), ("a/2.FLAC", "a"), ("b.mp3", ""), ("flat/b.wav", "flat")]
    assert places(songs([str(tmp_path / "a")], root=str(tmp_path)), tmp_path)[0] == ("a/1.wav", "a")


def test_relative_places_become_absolute(tmp_path, monkeypatch):
    make(tmp_path, "a.mp3")
    monkeypatch.chdir(tmp_path)
    assert [item.place for item in songs(["a.mp3", "./x/../a.mp3"])] == [str(tmp_path / "a.mp3")] * 2


def test_the_longest_is_known_by_size_and_kind(tmp_path):
    make(tmp_path, "short.wav", size=600_000)
    make(tmp_path, "long.mp3", size=400_000)
    long, short = songs([str(tmp_path)])
    assert long.seconds > short.seconds


def test_what_is_not_there_is_told_and_the_rest_goes_on(tmp_path):
    make(tmp_path, "a.mp3")
    found = list(songs([str(tmp_path / "none"), "ftp://x/a.mp3", str(tmp_path / "a.mp3")]))
    assert [type(item) for item in found] == [Unlisted, Unlisted, Listed]
    assert [item.reason for item in found[:2]] == ["missing", "not listed"]
    assert "allowed are paths and s3://" in found[1].error


def rows(tmp_path: Path, ending: str, values: list[dict]) -> str:
    path = tmp_path / f"list{ending}"
    if ending == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(values), path)
    else:
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return str(path)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_manifests(tmp_path, ending):
    values = [
        {"file": "in/a.mp3", "seconds": 200.0, "folder": None, "other": 1},
        {"file": "/elsewhere/b/c.mp3", "seconds": None, "folder": None, "other": 2},
        {"file": "s3://bucket/x/y z.mp3", "seconds": 5.5, "folder": "mine/./here", "other": 3},
        {"file": "s3://bucket/x/y z.mp3", "seconds": 5.5, "folder": "../out", "other": 3},
        {"file": None, "seconds": 5.5, "folder": "x", "other": 3},
    ]
    found = list(songs([rows(tmp_path, ending, values)]))
    assert found[0] == Listed(str(tmp_path / "in/a.mp3"), "in", 200.0)
    assert (found[1].place, found[1].folder) == ("/elsewhere/b/c.mp3", "elsewhere/b")
    assert (found[2].place, found[2].folder) == ("s3://bucket/x/y z.mp3", "mine/here")
    assert [type(item) for item in found[3:]] == [Unlisted, Unlisted]
    assert "row 4: folder '../out' leads out" in found[3].error
    assert "row 5: no song" in found[4].error


def test_a_long_manifest_is_read_as_it_is_needed(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"file": "s3://b/{number}.mp3"}}\n' for number in range(200_000))
    assert [item.place for item in islice(songs([str(path)]), 2)] == ["s3://b/0.mp3", "s3://b/1.mp3"]
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    writer = os.fdopen(os.open(path, os.O_RDWR), "w")
    writer.write('{"file": "/a.mp3"}\n')
    writer.flush()
    assert next(songs([str(path)])).place == "/a.mp3"
    writer.close()


def test_manifests_that_are_none(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR0")
    (tmp_path / "a.jsonl").write_text('not json\n[1]\n{"file": 3}\n\n{"file": ""}\n')
    (parquet,) = songs([str(tmp_path / "a.parquet")])
    assert "no Parquet file" in parquet.error
    found = list(songs([str(tmp_path / "a.jsonl")]))
    assert [item.error.partition(": ")[2][:7] for item in found] == ["no song"] * 4


def test_folders_of_urls(monkeypatch):
    entries = [objects.Entry(f"s3://b/top/{name}", 10, "") for name in ("a/1.mp3", "2.mp3", "x.txt", "out/3.wav")]
    monkeypatch.setattr(objects, "entries", lambda url: iter(entries if url.startswith("s3://b/top") else []))
    found = list(songs(["s3://b/top"], skip="s3://b/top/out"))
    assert [(item.place, item.folder) for item in found] == [("s3://b/top/a/1.mp3", "a"), ("s3://b/top/2.mp3", "")]
    assert next(iter(songs(["s3://b/top"], root="s3://b"))).folder == "top/a"


def test_folders_do_not_lead_out():
    with pytest.raises(ConfigError, match="leads out"):
        catalogue._clean("a/../../b")
