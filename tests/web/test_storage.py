"""What the studio keeps on disk: its own jobs and nothing else's, within the quota, gone when they were removed."""

import asyncio
import errno
import json
import os
import threading
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

from hyperstem.web.jobs import disk, storage
from hyperstem.web.jobs.store import JOB_FILE, Job, JobStore, new_id
from web_studio import Studio, studio_inside, write_song

SLOW = {"HYPERSTEM_TEST_DELAY_S": "0.4"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    return write_song(tmp_path_factory.mktemp("songs") / "song.wav", 2.0)


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def send(client, path):
    return await client.post("/api/jobs", files={"file": (path.name, path.read_bytes())})


async def until(condition, limit_s=30):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def run_to_end(client, runner, path):
    job_id = (await send(client, path)).json()["id"]
    job = runner.jobs.get(job_id)
    await until(lambda: job.ended)
    return job


# The store


def test_jobs_come_back_as_they_were(tmp_path):
    store = JobStore(tmp_path)
    jobs = [Job(id=new_id(), name=f"söng {i}", created=float(i)) for i in range(5)]
    for job in jobs:
        store.save(job)
    jobs[2].state, jobs[2].takes = "done", {"original": 5}
    store.save(jobs[2])
    jobs[3].removed = True
    store.save(jobs[3])
    disk.delete_job(jobs[4], tmp_path / jobs[4].id)
    again = JobStore(tmp_path)
    assert list(again) == jobs[:3] and len(again) == 3
    assert again.hidden() == [jobs[3]] and again.get(jobs[3].id) is None
    assert again.get_removed(jobs[3].id) == jobs[3]


def foreign_things(folder, known):
    """What people and accidents leave in a studio's folder."""
    (folder / "holiday").mkdir()
    (folder / "holiday" / "song.wav").write_bytes(b"mine")
    (folder / "notes.txt").write_text("mine")
    (folder / "0123456789abcdef").mkdir()
    (folder / "0123456789abcdef" / "mine.wav").write_bytes(b"a name like a job's")
    copy = folder / "fedcba9876543210"  # a copy of a job is not the job
    copy.mkdir()
    (copy / JOB_FILE).write_bytes((folder / known / JOB_FILE).read_bytes())
    contents = ["", "{", "[]", "null", '{"id": 5}', "9" * 5000, "[" * 100_000, "\x00", json.dumps({"id": "0" * 16})]
    for number, content in enumerate(contents):
        odd = folder / f"{number:016x}"
        odd.mkdir()
        (odd / JOB_FILE).write_text(content)
    facts = json.loads((folder / known / JOB_FILE).read_text())
    wrong = folder / "00000000000000aa"
    wrong.mkdir()
    (wrong / JOB_FILE).write_text(json.dumps({**facts, "id": wrong.name, "progress": "half"}))
    elsewhere = folder.parent / "elsewhere" / "00000000000000bb"
    elsewhere.mkdir(parents=True)
    (elsewhere / JOB_FILE).write_text(json.dumps({**facts, "id": elsewhere.name, "removed": True}))
    (folder / elsewhere.name).symlink_to(elsewhere)


def test_what_the_studio_did_not_make_stays(tmp_path, wav):
    folder = tmp_path / "s" / "jobs"
    with Studio(tmp_path / "s") as studio:
        job_id = studio.separate(wav)["id"]
    foreign_things(folder, job_id)
    before = snapshot(tmp_path / "s")
    with Studio(tmp_path / "s", keep_days=1e-9, quota_bytes=1 << 20, undo_s=0.01) as studio:
        studio.until(lambda: not (folder / job_id).exists())
        assert studio.client.get("/api/jobs").json() == []
    kept = {name: content for name, content in before.items() if not name.startswith(f"jobs/{job_id}/")}
    assert kept.items() <= snapshot(tmp_path / "s").items()


def test_the_songs_do_not_hang_on_a_list(tmp_path, wav):
    """Whatever else is lost, a job's own folder is enough."""
    with Studio(tmp_path / "s") as studio:
        job_id = studio.separate(wav)["id"]
    for path in (tmp_path / "s").iterdir():
        if path.name != "jobs":
            path.unlink()
    with Studio(tmp_path / "s") as studio:
        assert studio.job(job_id)["state"] == "done"
        assert studio.client.get(f"/api/jobs/{job_id}/stems/bass.wav").status_code == 200


def test_a_file_of_somebody_s_in_a_song_s_folder_stays(tmp_path, wav):
    async def run():
        async with studio_inside(tmp_path, undo_s=0.01) as (client, runner):
            job = await run_to_end(client, runner, wav)
            folder = runner.storage.path(job)
            mine = [folder / "notes.txt", folder / "stems" / "my remix.wav", folder / "takes" / "full" / "mine"]
            for path in mine:
                path.write_text("mine")
            await client.post(f"/api/jobs/{job.id}/restart")
            await until(lambda: job.state == "done")
            await client.delete(f"/api/jobs/{job.id}")
            await until(lambda: not (folder / JOB_FILE).exists())
            assert {path for path in folder.rglob("*") if path.is_file()} == set(mine)

    asyncio.run(run())


def test_the_studio_s_other_files_are_opened_gently(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "lock").write_text("somebody's")
    with Studio(tmp_path / "s"):
        pass
    assert (tmp_path / "s" / "lock").read_text() == "somebody's"


def test_an_upload_that_a_crash_cut_off_is_cleared_away(tmp_path):
    studio = Studio(tmp_path / "s")
    more = threading.Event()

    def slowly():
        yield HEAD + bytes(1 << 16)
        more.wait(30)

    def upload():
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{studio.url}/api/jobs", content=slowly(), headers=FORM, trust_env=False)

    sender = threading.Thread(target=upload)
    sender.start()
    studio.until(lambda: any((tmp_path / "s" / "jobs").glob("*/upload")))
    assert studio.client.get("/api/jobs").json() == []
    studio.kill()
    more.set()
    sender.join()
    with Studio(tmp_path / "s") as studio:
        studio.until(lambda: not any((tmp_path / "s" / "jobs").iterdir()))


# Removing


def test_a_removed_song_can_be_brought_back_for_a_while(tmp_path, wav):
    async def run():
        async with studio_inside(tmp_path, undo_s=0.4) as (client, runner):
            assert (await client.get("/api/studio")).json()["undo_s"] == 0.4
            job = await run_to_end(client, runner, wav)
            address = f"/api/v1/jobs/{job.id}"
            assert (await client.delete(address)).status_code == 204
            assert (await client.get("/api/jobs")).json() == []
            for answer in (await client.get(address), await client.post(f"{address}/restart")):
                assert answer.status_code == 404
            back = await client.post(f"{address}/restore")
            assert back.status_code == 200 and back.json()["state"] == "done"
            assert (await client.post(f"{address}/restore")).status_code == 200  # as it is
            await asyncio.sleep(0.6)
            assert (await client.get(f"{address}/stems/bass.wav")).status_code == 200
            await client.delete(address)
            await until(lambda: not runner.storage.path(job).exists())
            assert (await client.post(f"{address}/restore")).status_code == 404
            assert runner.storage.ledger.total == 0

    asyncio.run(run())


def test_a_removed_song_stays_removed_over_a_restart(tmp_path, wav):
    with Studio(tmp_path / "s", undo_s=600) as studio:
        job_id = studio.separate(wav)["id"]
        assert studio.client.delete(f"/api/jobs/{job_id}").status_code == 204
        assert (tmp_path / "s" / "jobs" / job_id / "stems").exists()
        studio.kill()
    with Studio(tmp_path / "s") as studio:
        assert studio.client.get("/api/jobs").json() == []
        studio.until(lambda: not (tmp_path / "s" / "jobs" / job_id).exists())


# Two requests at once


def test_restarts_and_removals_at_once_make_one_job(tmp_path, monkeypatch):
    """However requests for one job meet, one process at most is in its folder, and it is in the queue once."""
    monkeypatch.setenv("HYPERSTEM_TEST_DELAY_S", "0.2")
    wav = write_song(tmp_path / "a.wav", 12.0)

    async def run():
        async with studio_inside(tmp_path / "s", running=3) as (client, runner):
            at_work = []
            separate = runner._separate

            async def watched(job, folder):
                at_work.append(job.id)
                assert at_work.count(job.id) == 1
                try:
                    await separate(job, folder)
                finally:
                    at_work.remove(job.id)

            runner._separate = watched
            job = runner.jobs.get((await send(client, wav)).json()["id"])
            address = f"/api/jobs/{job.id}"
            await until(lambda: job.takes)
            asked = [client.post(f"{address}/cancel"), *(client.post(f"{address}/restart") for _ in range(4))]
            statuses = sorted(answer.status_code for answer in await asyncio.gather(*asked))
            assert statuses in ([200, 200, 409, 409, 409], [200, 409, 409, 409, 409]), statuses
            if job.ended:
                await client.post(f"{address}/restart")
            await until(lambda: job.takes)
            assert list(runner._waiting).count(job.id) == 0 and job.state == "running"
            answers = await asyncio.gather(
                client.delete(address),
                client.delete(address),
                client.post(f"{address}/restart"),
                client.delete(address),
            )
            assert {answer.status_code for answer in answers} <= {200, 204, 404, 409}
            await until(lambda: not at_work or job.state == "running")
            if runner.jobs.get(job.id) is None:
                assert (await client.post(f"{address}/restart")).status_code == 404
                await asyncio.sleep(0.3)
                assert runner.jobs.get(job.id) is None and not at_work

    asyncio.run(run())


def test_a_hundred_songs_at_once(tmp_path):
    """All are taken, each is there once, and the page stays alive meanwhile."""
    path = write_song(tmp_path / "a.wav", 0.1)

    async def run():
        async with studio_inside(tmp_path / "s", waiting=200) as (client, _):
            slowest = 0.0
            done = asyncio.Event()

            async def look():
                nonlocal slowest
                while not done.is_set():
                    begun = time.monotonic()
                    assert (await client.get("/api/jobs")).status_code == 200
                    slowest = max(slowest, time.monotonic() - begun)
                    await asyncio.sleep(0.02)

            looking = asyncio.create_task(look())
            answers = await asyncio.gather(*(send(client, path) for _ in range(100)))
            done.set()
            await looking
            assert {answer.status_code for answer in answers} == {201}
            jobs = (await client.get("/api/jobs")).json()
            assert len({job["id"] for job in jobs}) == 100
            places = [job["position"] for job in jobs if job["position"]]
            assert sorted(places) == list(range(1, len(places) + 1)) and slowest < 5

    asyncio.run(run())


# The quota


def test_uploads_at_once_keep_the_quota(tmp_path):
    """Six of 0.8 MB into 1 MB: one is taken, or none where none says its length beforehand and all grow alike."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + bytes(800_000))

    async def chunks():
        yield HEAD
        for _ in range(50):
            yield bytes(16_000)
            await asyncio.sleep(0.001)
        yield b"\r\n--b--\r\n"

    async def run(send_one, taken):
        async with studio_inside(tmp_path / new_id(), quota_bytes=1 << 20, waiting=100) as (client, runner):
            runner.storage.clean = lambda: None
            watch = asyncio.create_task(_greatest(runner))
            answers = await asyncio.gather(*(send_one(client) for _ in range(6)))
            statuses = [answer.status_code for answer in answers]
            assert set(statuses) <= {201, 507} and statuses.count(201) in taken, statuses
            assert "quota" in next(answer for answer in answers if answer.status_code == 507).json()["error"]
            watch.cancel()
            assert max((await asyncio.gather(watch, return_exceptions=True))[0].args[0]) <= 1 << 20

    async def _greatest(runner):
        sizes = [0]
        try:
            while True:
                sizes.append(disk.used_bytes(runner.jobs.folder) - 4096)
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            return RuntimeError(sizes)

    asyncio.run(run(lambda client: send(client, path), {1}))
    asyncio.run(run(lambda client: client.post("/api/jobs", content=chunks(), headers=FORM), {0, 1}))


def test_no_song_goes_for_one_that_does_not_fit_anyway(tmp_path, wav):
    async def run():
        async with studio_inside(tmp_path, quota_bytes=20 * wav.stat().st_size) as (client, runner):
            job = await run_to_end(client, runner, wav)
            await until(lambda: not runner._running)
            assert not await runner.storage.claim(Job(id=new_id(), name=""), 21 * wav.stat().st_size)
            assert runner.jobs.get(job.id) is job
            assert await runner.storage.claim(Job(id=new_id(), name=""), 20 * wav.stat().st_size)
            assert runner.jobs.get(job.id) is None and not runner.storage.path(job).exists()

    asyncio.run(run())


def test_the_ledger_adds_up():
    ledger = disk.Ledger(100)
    ledger.set("a", 40)
    ledger.set("b", 50)
    ledger.set("a", 30)
    assert ledger.total == 80 and ledger.get("a") == 30 and ledger.excess("b", 80) == 10 and ledger.excess("c", 20) == 0
    ledger.set("b", 0)
    ledger.set("z", 0)
    assert ledger.total == 30


# What vanishes, and what is slow


def test_folders_that_vanish_while_they_are_counted(tmp_path, monkeypatch):
    for i in range(30):
        (tmp_path / str(i) / "takes").mkdir(parents=True)
        (tmp_path / str(i) / "takes" / "x").write_bytes(bytes(10))
    assert disk.used_bytes(tmp_path) == 300
    real = os.scandir

    def vanishing(path):
        if Path(path).name.isdecimal() and int(Path(path).name) % 2:
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert disk.used_bytes(tmp_path) == 150
    assert disk.used_bytes(tmp_path / "never there") == 0


def test_a_song_whose_folder_vanished_leaves_the_list(tmp_path, wav):
    async def run():
        async with studio_inside(tmp_path) as (client, runner):
            job = await run_to_end(client, runner, wav)
            await until(lambda: not runner._running)
            disk.delete_job(job, runner.storage.path(job))
            for address in ("stems/bass.wav", "stems.zip", "karaoke.wav", "mix.wav?lane=bass:1:0"):
                answer = await client.get(f"/api/jobs/{job.id}/{address}")
                assert answer.status_code == 404 and "error" in answer.json(), (address, answer)
            assert (await client.post(f"/api/jobs/{job.id}/restart")).status_code == 409
            await runner.storage.measure_all()
            assert (await client.get("/api/jobs")).json() == [] and runner.storage.ledger.total == 0
            assert (await run_to_end(client, runner, wav)).state == "done"

    asyncio.run(run())


@pytest.mark.slow
def test_the_event_loop_does_not_wait_for_the_disk(tmp_path, wav, monkeypatch):
    """Counting and deleting happen beside it, however slow the disk is."""

    def slowly(function):
        def slow(*arguments):
            time.sleep(0.3)
            return function(*arguments)

        return slow

    for name in ("used_bytes", "delete_results", "delete_job", "delete_takes", "needed_bytes"):
        monkeypatch.setattr(disk, name, slowly(getattr(disk, name)))

    async def run():
        async with studio_inside(tmp_path, undo_s=0.01) as (client, runner):
            loop = asyncio.get_running_loop()
            loop.slow_callback_duration, longest = 9, 0.0

            async def tick():
                nonlocal longest
                while True:
                    begun = time.monotonic()
                    await asyncio.sleep(0.01)
                    longest = max(longest, time.monotonic() - begun)

            ticking = asyncio.create_task(tick())
            job = await run_to_end(client, runner, wav)
            await client.delete(f"/api/jobs/{job.id}")
            await until(lambda: not runner.storage.path(job).exists())
            ticking.cancel()
            assert longest < 0.29, longest

    asyncio.run(run())


def test_cleaning_goes_on_after_an_error(tmp_path, monkeypatch):
    from hyperstem.web.jobs import runner as runner_module

    monkeypatch.setattr(runner_module, "CLEAN_EVERY_S", 0.01)
    calls = []

    async def failing(self):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.EIO, "the disk is ill")

    monkeypatch.setattr(storage.Storage, "measure_all", failing)

    async def run():
        async with studio_inside(tmp_path) as (_, runner):
            await until(lambda: len(calls) > 4)
            assert runner.is_alive

    asyncio.run(run())


# A full disk


def test_a_full_disk_is_told_in_words_and_the_queue_goes_on(tmp_path, wav, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    save = JobStore.save

    def failing(self, job):
        raise full

    async def run():
        async with studio_inside(tmp_path) as (client, runner):
            monkeypatch.setattr(JobStore, "save", failing)
            answer = await send(client, wav)
            assert answer.status_code == 507 and "No space left" in answer.json()["error"]
            assert (await client.get("/api/jobs")).json() == [] and runner.storage.ledger.total == 0
            monkeypatch.setattr(JobStore, "save", save)
            job = await run_to_end(client, runner, wav)
            monkeypatch.setattr(JobStore, "save", failing)  # what is there already goes on without being written down
            await client.post(f"/api/jobs/{job.id}/restart")
            await until(lambda: job.state == "done" and not runner._running)
            assert (await client.delete(f"/api/jobs/{job.id}")).status_code == 204
            assert runner.is_alive

    asyncio.run(run())
