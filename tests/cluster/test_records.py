import json

import pytest

from hyperstem.cluster import objects, records
from hyperstem.cluster.records import Records, earlier
from s3_server import serving

pytest.importorskip("pyarrow")

DONE = {
    "file": "/ü/\udcff.mp3",
    "status": "done",
    "stems": {"drums": "/out/drums.wav"},
    "seconds": 1.5,
    "rate_hz": 8000,
    "warnings": ["loud"],
    "source_sha256": "ab",
    "stamp": "1-2",
    "tries": 1,
}
FAILED = {"file": "/b.mp3", "status": "failed", "error": "b: gone", "reason": "missing"}


@pytest.fixture(params=["folder", "store"])
def destination(request, tmp_path):
    if request.param == "folder":
        yield str(tmp_path / "out")
        return
    pytest.importorskip("obstore")
    objects._store.cache_clear()
    with serving("bucket"):
        yield "s3://bucket/out"
    objects._store.cache_clear()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_records_are_read_again(destination, kind, monkeypatch):
    monkeypatch.setattr(records, "PART_RECORDS", 2)
    assert list(earlier(destination)) == []
    kept = Records(destination, kind)
    for record in (DONE, FAILED, FAILED):
        kept.add(record)
    assert len(list(earlier(destination))) == 2  # the third waits for its part
    kept.flush()
    found = list(earlier(destination))
    assert [row["status"] for row in found] == ["done", "failed", "failed"]
    assert (found[0]["source_sha256"], found[0]["stamp"]) == ("ab", "1-2")
    another = Records(destination, kind)
    another.add(DONE)
    another.flush()
    assert len(list(earlier(destination))) == 4


def test_a_part_grows_until_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_EVERY_S", 0.0)
    kept = Records(str(tmp_path))
    for number in range(3):
        kept.add(DONE | {"tries": number})
    (part,) = (tmp_path / records.FOLDER).iterdir()
    assert [json.loads(line)["tries"] for line in part.read_text().splitlines()] == [0, 1, 2]


def test_parts_that_are_damaged_are_passed_over(tmp_path):
    folder = tmp_path / records.FOLDER
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b'{"file": "x"\n\xff\n[]\n{"file": "/a"}')
    (folder / "b.parquet").write_bytes(b"PAR1")
    assert list(earlier(str(tmp_path))) == [{"file": "/a"}]


def test_parquet_holds_all_of_a_record(tmp_path):
    from pyarrow import parquet

    kept = Records(str(tmp_path), "parquet")
    kept.add(DONE)
    kept.add(FAILED)
    kept.flush()
    (part,) = (tmp_path / records.FOLDER).iterdir()
    done, failed = parquet.read_table(part).to_pylist()
    assert done["stems"] == [("drums", "/out/drums.wav")]
    assert (done["warnings"], done["rate_hz"], done["seconds"]) == (["loud"], 8000, 1.5)
    assert (failed["error"], failed["reason"], failed["stems"]) == ("b: gone", "missing", None)
