"""Jobs over time: kept in their folders, taken up after a crash, cancelled, cleaned, limited."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")


from hyperstem.web.jobs.progress import EtaEstimator, overall
from web_studio import HERE, Studio, write_song

SLOW = {"HYPERSTEM_TEST_DELAY_S": "0.4"}


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    return write_song(tmp_path_factory.mktemp("songs") / "song.wav", 12.0)


def children(studio):
    path = Path(f"/proc/{studio.process.pid}/task/{studio.process.pid}/children")
    if not path.exists():
        pytest.skip("needs Linux's list of child processes")
    return [int(pid) for pid in path.read_text().split()]


def gone(pid, limit_s=10):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def left_in(folder, limit_s=5):
    """What a folder holds once its folders are deleted, or after a while."""
    end = time.monotonic() + limit_s
    while any(path.is_dir() for path in folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    return {path.name for path in folder.iterdir()}


def follow(studio, job_id, seen):
    with studio.client.stream("GET", f"/api/jobs/{job_id}/events") as stream:
        seen.extend(json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))


def test_progress_covers_the_phases():
    assert overall("decoding", 0, 10) == 0
    assert overall("decoding", 10, 10) == overall("preview", 0, 10)
    assert overall("preview", 10, 10) == overall("separating", 0, 10)
    assert overall("separating", 11, 10) == overall("finishing", 0, None) < 1
    assert overall("separating", 5, None) == overall("separating", 0, 1)
    assert EtaEstimator().remaining_s(0.5) is None


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(tmp_path, wav):
    studio = Studio(tmp_path / "s", environment=SLOW)
    first = studio.upload(wav).json()["id"]
    waiting = [studio.upload(wav, name=f"{i}.wav").json()["id"] for i in range(2)]
    studio.wait_for(first, lambda job: job["state"] == "running" and job["takes"].get("full", 0) > 0)
    assert studio.job(waiting[0])["state"] == "queued"
    (process,) = children(studio)
    studio.kill()
    assert gone(process), "the song's process outlives the studio"
    with Studio(tmp_path / "s") as studio:
        assert [job["id"] for job in studio.client.get("/api/jobs").json()] == [first, *waiting]
        for job_id in (first, *waiting):
            job = studio.wait(job_id)
            assert job["state"] == "done" and job["error"] is None
            assert studio.client.get(f"/api/jobs/{job_id}/stems/bass.wav").status_code == 200
    with Studio(tmp_path / "s") as studio:  # what was done stays done
        assert studio.job(first)["state"] == "done"
        assert studio.client.get(f"/api/jobs/{first}/karaoke.wav").status_code == 200


@pytest.mark.slow
def test_a_song_that_ends_the_studio_every_time_is_given_up(tmp_path, wav):
    for _ in range(3):
        studio = Studio(tmp_path / "s", environment=SLOW)
        job_id = studio.client.get("/api/jobs").json()[0]["id"] if _ else studio.upload(wav).json()["id"]
        studio.wait_for(job_id, lambda job: job["state"] == "running")
        studio.kill()
    with Studio(tmp_path / "s") as studio:
        job = studio.job(job_id)
        assert job["state"] == "failed" and "3 times" in job["error"]


def test_orderly_stop_keeps_the_queue(tmp_path, wav):
    with Studio(tmp_path / "s", environment=SLOW) as studio:
        job_id = studio.upload(wav).json()["id"]
        studio.wait_for(job_id, lambda job: job["state"] == "running")
        (process,) = children(studio)
    assert studio.process.returncode == 0 and gone(process)
    with Studio(tmp_path / "s") as studio:
        assert studio.wait(job_id)["state"] == "done"


def test_heard_before_it_is_done_and_cancelled(tmp_path, wav):
    with Studio(tmp_path / "s", environment=SLOW) as studio:
        running, queued = (studio.upload(wav).json()["id"] for _ in range(2))
        seen = []
        listener = threading.Thread(target=follow, args=(studio, running, seen))
        listener.start()
        job = studio.wait_for(running, lambda job: 0 < job["takes"].get("full", 0) < 12 * 22050)
        assert job["state"] == "running" and 0 < job["progress"] < 1
        assert job["takes"]["original"] == job["takes"]["preview"] == 12 * 22050
        for take in ("original", "preview", "full"):
            lane = "original" if take == "original" else "drums"
            sound = studio.client.get(f"/api/jobs/{running}/audio/{lane}?take={take}&start=0&frames=20000")
            assert len(sound.content) == 20000 * 4, take
        assert studio.client.get(f"/api/jobs/{running}/stems/drums.wav").status_code == 409
        assert studio.wait_for(running, lambda job: job["eta_s"] is not None)["eta_s"] < 60
        (process,) = children(studio)
        for job_id in (queued, running):
            answer = studio.client.delete(f"/api/jobs/{job_id}")
            assert answer.status_code == 200 and answer.json()["state"] == "cancelled"
        assert gone(process)
        assert not (tmp_path / "s" / "jobs" / running / "takes").exists()
        listener.join(10)
        assert len(seen) >= 4 and seen[-1]["state"] == "cancelled"
        heard = [one["takes"].get("full", 0) for one in seen if one["state"] == "running"]
        assert heard == sorted(heard) and 0 < heard[-1] < 12 * 22050
        again = studio.client.post(f"/api/jobs/{running}/restart").json()
        assert again["state"] in ("queued", "running")
        assert studio.client.post(f"/api/jobs/{running}/restart").status_code == 409


def test_of_a_song_that_was_cancelled_or_failed_only_the_song_stays(tmp_path, wav):
    with Studio(tmp_path / "s", environment=SLOW) as studio:
        job_id = studio.separate(wav, quality="preview")["id"]
        folder = tmp_path / "s" / "jobs" / job_id
        studio.client.post(f"/api/jobs/{job_id}/restart", params={"quality": "full"})
        studio.wait_for(job_id, lambda job: job["takes"].get("full", 0) > 0)
        studio.client.delete(f"/api/jobs/{job_id}")
        assert left_in(folder) == {"source.wav", "log.txt", "job.json"}
        studio.client.post(f"/api/jobs/{job_id}/restart")
        studio.wait_for(job_id, lambda job: job["takes"].get("full", 0) > 0)
        os.kill(children(studio)[0], 9)
        assert studio.wait(job_id)["state"] == "failed"
        assert left_in(folder) == {"source.wav", "log.txt", "job.json"}


def test_a_client_that_goes_away_leaves_nothing(tmp_path):
    import socket

    with Studio(tmp_path / "s") as studio:
        host, port = studio.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disp"
            )
            time.sleep(0.3)
        end = time.monotonic() + 5
        while any((tmp_path / "s" / "jobs").iterdir()) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any((tmp_path / "s" / "jobs").iterdir())
        assert studio.client.get("/api/jobs").json() == []


@pytest.mark.slow
def test_hostile_songs_are_contained(tmp_path, wav):
    mode = tmp_path / "mode"
    worker = (sys.executable, str(HERE / "web_hostile.py"), str(mode))
    expected = {
        "memory": "memory",
        "sleep": "longer",
        "spin": "longer",
        "die": "SIGKILL",
        "crash": "unexpectedly",
        "babble": "unexpectedly",
        "liar": "could not run",
    }
    with Studio(tmp_path / "s", worker=worker, memory_bytes=2 << 30, time_limit_s=5.0) as studio:
        for how, words in expected.items():
            mode.write_text(how)
            job = studio.separate(wav)
            assert job["state"] == "failed" and words in job["error"], (how, job)
            assert all(gone(process) for process in children(studio)), how
        assert len(studio.client.get("/api/jobs").json()) == len(expected)


def test_a_song_s_process_ends_with_the_studio_even_when_it_says_nothing(tmp_path, wav):
    (tmp_path / "mode").write_text("sleep")
    studio = Studio(tmp_path / "s", worker=(sys.executable, str(HERE / "web_hostile.py"), str(tmp_path / "mode")))
    job_id = studio.upload(wav).json()["id"]
    studio.wait_for(job_id, lambda job: job["takes"].get("original", 0) == 12 * 22050)
    (process,) = children(studio)
    studio.kill()
    assert gone(process)


@pytest.mark.slow
def test_old_jobs_and_the_disk_quota(tmp_path):
    wav = write_song(tmp_path / "short.wav", 2.0)
    size = wav.stat().st_size  # a done job keeps its upload, the original and four stems: about six of it
    with Studio(tmp_path / "s", quota_bytes=24 * size) as studio:
        ids = [studio.separate(wav)["id"] for _ in range(3)]
        assert [job["id"] for job in studio.client.get("/api/jobs").json()] == ids[1:]
        studio.until(lambda: {path.name for path in (tmp_path / "s" / "jobs").iterdir()} == set(ids[1:]))
        assert studio.client.get(f"/api/jobs/{ids[0]}").status_code == 404
    with Studio(tmp_path / "s", quota_bytes=size // 2) as studio:
        answer = studio.upload(wav)
        assert answer.status_code == 507 and "quota" in answer.json()["error"]
    with Studio(tmp_path / "t", keep_days=1e-5) as studio:  # a second
        job_id = studio.separate(wav)["id"]
    time.sleep(1.2)
    with Studio(tmp_path / "t", keep_days=1e-5) as studio:
        assert studio.client.get(f"/api/jobs/{job_id}").status_code == 404


def limit_files(studio, size):
    """Stands in for a full disk: no file of the studio's grows beyond `size` bytes."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs Linux's limits of other processes")
    resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_song_that_the_disk_does_not_take_is_refused_in_words(tmp_path, wav):
    with Studio(tmp_path / "s") as studio:
        limit_files(studio, wav.stat().st_size // 2)
        answer = studio.upload(wav)
        assert answer.status_code == 507 and "File too large" in answer.json()["error"], answer.text
        assert not any((tmp_path / "s" / "jobs").iterdir())


def test_one_studio_per_folder(tmp_path):
    with Studio(tmp_path / "s"):
        second = subprocess.run(
            [sys.executable, str(HERE / "web_studio.py"), str(tmp_path / "s"), "0", '{"worker": ["x"]}'],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode != 0 and "another studio" in second.stderr


def test_many_listeners_are_bounded(tmp_path):
    with Studio(tmp_path / "s") as studio:
        streams = [studio.client.stream("GET", "/api/events") for _ in range(3)]
        opened = [stream.__enter__() for stream in streams]
        assert {answer.status_code for answer in opened} == {200}
        started = time.monotonic()
        closer = threading.Thread(target=studio.process.send_signal, args=(2,))
        closer.start()
        studio.process.wait(15)  # listeners do not keep it from stopping
        assert time.monotonic() - started < 10
        for stream in streams:
            stream.__exit__(None, None, None)


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["--model", "no-such-model"], 1, "no-such-model"),
        (["--port", "x"], 2, "--port is x"),
        (["--port", "70000"], 2, "0 to 65535"),
        (["--quota-gb", "inf"], 2, "above 0"),
        (["--time-limit", "inf"], 2, "above 0"),
        (["--jobs", "0"], 2, "--jobs is 0"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, arguments, status, words):
    command = [sys.executable, "-m", "hyperstem", "studio", "--no-browser", "--folder", str(tmp_path / "s"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == status and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_the_command_says_how_to_get_it():
    code = "import sys; sys.modules['fastapi'] = None; from hyperstem.cli import main; sys.exit(main(['studio']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'hyperstem[web]'" in done.stderr and "fastapi" in done.stderr


def test_a_song_too_large_for_the_disk_quota_fails_in_words(tmp_path):
    wav = write_song(tmp_path / "a.wav", 10.0)
    with Studio(tmp_path / "s", quota_bytes=3 * wav.stat().st_size) as studio:
        job = studio.separate(wav)
        assert job["state"] == "failed" and "quota" in job["error"]
