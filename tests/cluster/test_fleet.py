"""Runs on real workers of Ray, which are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hyperstem import audio
from hyperstem.cluster import objects, ray_session
from hyperstem.errors import ClusterError
from hyperstem.separation import batch
from hyperstem.separation.separator import Separator

ray = pytest.importorskip("ray")
pytest.importorskip("torch")
import cluster_runs  # noqa: E402
from s3_server import serving  # noqa: E402

NAMES = [f"{'ab'[number % 2]}/{number}.wav" for number in range(8)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return cluster_runs.save_model(tmp_path_factory.mktemp("model"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "_records" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def alone(model: str, songs: Path, out: Path) -> dict[str, bytes]:
    """What one process makes of the songs."""
    settings = cluster_runs.job(model, out).settings
    found = batch.find_sources([songs])
    separator = Separator.load(model)
    tasks = batch.plan(found.sources, settings, separator.stems, found.folders)
    results = batch.run(separator, tasks, settings, lambda _: None)
    assert {result.status for result in results} == {"done"}
    return contents(out)


def undisturbed(ended: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in ended) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.slow
def test_a_folder_gives_what_one_process_gives_and_is_not_done_twice(model, tmp_path):
    songs = cluster_runs.save_songs(tmp_path / "in", NAMES[:4])
    (tmp_path / "in/broken.mp3").write_bytes(b"x" * 100)
    job = cluster_runs.job(model, tmp_path / "out")
    records, totals = cluster_runs.run(job, [str(tmp_path / "in"), str(tmp_path / "none.mp3")])
    assert totals.songs == {"done": 4, "failed": 2}
    assert totals.reasons == {"audio": 1, "missing": 1}
    assert totals.sound_s == pytest.approx(4, abs=0.01)
    assert totals.core_s > 0
    (tmp_path / "in/broken.mp3").unlink()
    assert contents(tmp_path / "out") == alone(model, tmp_path / "in", tmp_path / "plain")
    done = {record["file"]: record for record in records if record["status"] == "done"}
    assert sorted(done) == sorted(songs)
    assert set(done[songs[0]]["stems"]) == set(cluster_runs.STEMS)
    assert all(Path(path).is_file() for record in done.values() for path in record["stems"].values())

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    Path(done[songs[1]]["stems"]["bass"]).unlink()
    audio.write(songs[2], audio.read(songs[0])[0], 8000)
    records, totals = cluster_runs.run(job, [str(tmp_path / "in")])
    assert totals.songs == {"done": 2, "skipped": 2}
    assert {record["file"] for record in records if record["status"] == "done"} == {songs[1], songs[2]}
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    assert sum(before[path] == after[path] for path in before) == 8
    assert not ray.is_initialized()


@pytest.mark.slow
def test_workers_that_are_killed_lose_no_song(model, tmp_path):
    cluster_runs.save_songs(tmp_path / "in", NAMES, seconds=20)
    killed = []

    def kill(_) -> None:
        if not killed:
            killed.extend(cluster_runs.workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    job = cluster_runs.job(model, tmp_path / "out")
    records, totals = cluster_runs.run(job, [str(tmp_path / "in")], kill, workers=2)
    assert killed
    assert (
        totals.songs["done"] + totals.songs["skipped"] == 8
    )  # a worker may die after the last file and before it tells
    assert len({record["file"] for record in records}) == 8
    assert max(record["tries"] for record in records) == 2
    assert contents(tmp_path / "out") == alone(model, tmp_path / "in", tmp_path / "plain")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two machines of one core each, simulated, the second with a temporary folder of its own."""
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(
        ray_session, "_reach", lambda _: None
    )  # tests reach loopback alone, and Ray has this machine's address
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    (tmp_path / "second").mkdir()
    second = cluster.add_node(**small, env_vars={"TMPDIR": str(tmp_path / "second")})
    cluster.wait_for_nodes()
    yield cluster, second
    cluster.shutdown()


@pytest.mark.slow
def test_a_machine_that_is_lost_loses_no_song(model, tmp_path, cluster):
    cluster, second = cluster
    cluster_runs.save_songs(tmp_path / "in", NAMES, seconds=60)  # the lost machine must have one in progress
    seen = []

    def lose(record) -> None:
        seen.append(record)
        if len(seen) == 2:
            cluster.remove_node(second, allow_graceful=False)

    job = cluster_runs.job(model, tmp_path / "out")
    records, totals = cluster_runs.run(job, [str(tmp_path / "in")], lose, address=cluster.address)
    assert totals.songs["done"] + totals.songs["skipped"] == 8
    assert len({record["file"] for record in records}) == 8
    assert max(record["tries"] for record in records) >= 2
    assert contents(tmp_path / "out") == alone(model, tmp_path / "in", tmp_path / "plain")


@pytest.fixture
def store():
    objects._store.cache_clear()
    with serving("music"):
        yield "s3://music"
    objects._store.cache_clear()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KB where the second machine keeps what it fetches."""
    folder = tmp_path / "second"
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_stores_and_a_machine_with_a_full_disk(model, tmp_path, store, cluster, small_disk):
    cluster, _ = cluster
    paths = cluster_runs.save_songs(tmp_path / "in", NAMES, seconds=20)
    for path, name in zip(paths, NAMES, strict=True):
        objects.upload(Path(path), f"{store}/in/{name}")
    objects.write(b"no audio", f"{store}/in/broken.ogg")
    out = f"{store}/out"
    job = cluster_runs.job(model, out)
    records, totals = cluster_runs.run(job, [f"{store}/in"], address=cluster.address)
    assert totals.songs == {"done": 8, "failed": 1}
    assert totals.reasons == {"audio": 1}
    assert max(record["tries"] for record in records) > 1  # those that the second machine had no space for
    made = {}
    for entry in objects.entries(out):
        name = entry.url.removeprefix(out + "/")
        if not name.startswith("_records"):
            made[name] = objects.read(entry.url)
    assert made == alone(model, tmp_path / "in", tmp_path / "plain")
    assert list(small_disk.glob(".hyperstem*")) == []
    objects.delete(f"{out}/a/0/bass.wav")
    records, totals = cluster_runs.run(job, [f"{store}/in"], address=cluster.address)
    assert totals.songs == {"done": 1, "skipped": 7, "failed": 1}
    assert objects.read(f"{out}/a/0/bass.wav") == made["a/0/bass.wav"]


DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import cluster_runs
records, totals = cluster_runs.run(cluster_runs.job(sys.argv[2], sys.argv[4]), [sys.argv[3]])
print(json.dumps(records))
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_when_started_again(model, tmp_path):
    cluster_runs.save_songs(tmp_path / "in", NAMES, seconds=20)
    out = tmp_path / "out"
    here = str(Path(cluster_runs.__file__).parent)
    command = [sys.executable, "-c", DRIVER, here, model, str(tmp_path / "in"), str(out)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.rglob("manifest.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    running = cluster_runs.workers()
    first.kill()
    first.wait()
    assert running
    undisturbed(running)
    done = {path for path in out.rglob("manifest.json") if len(list(path.parent.glob("*.wav"))) == 4}
    stamps = {path: path.stat().st_mtime_ns for path in done}
    assert 2 <= len(done) < 8
    second = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    records = json.loads(second.stdout)
    assert sorted(record["status"] for record in records) == ["done"] * (8 - len(done)) + ["skipped"] * len(done)
    assert {path: path.stat().st_mtime_ns for path in done} == stamps
    assert contents(out) == alone(model, tmp_path / "in", tmp_path / "plain")


@pytest.mark.slow
def test_a_model_that_no_machine_has_is_told(tmp_path):
    job = cluster_runs.job(str(tmp_path / "none.onnx"), tmp_path / "out")
    cluster_runs.save_songs(tmp_path / "in", ["a.wav"])
    with pytest.raises(ClusterError, match="no worker can load the model"):
        cluster_runs.run(job, [str(tmp_path / "in")])


@pytest.mark.slow
def test_a_run_that_is_interrupted_leaves_nothing_unfinished(model, tmp_path):
    cluster_runs.save_songs(tmp_path / "in", NAMES, seconds=20)

    def interrupt(_) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster_runs.run(cluster_runs.job(model, tmp_path / "out"), [str(tmp_path / "in")], interrupt)
    undisturbed(cluster_runs.workers())
    assert not list((tmp_path / "out").rglob("*.part"))
    assert threading.active_count() < 20
    assert not ray.is_initialized()
