"""What a song's process takes on before it touches the song, how it is told to work, and how its end is explained."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from hyperstem.errors import AudioError
from hyperstem.web.jobs import disk, process
from hyperstem.web.jobs.store import Job
from hyperstem.web.settings import StudioSettings
from hyperstem.web.worker.limits import describe_exit, time_limit_message

MIB = 1 << 20


def settings_with(script, tmp_path, **values):
    path = tmp_path / "worker.py"
    path.write_text(script)
    return StudioSettings(folder=tmp_path, worker=(sys.executable, str(path)), **values)


def work(settings, tmp_path, take=None, request=None):
    seen = []

    async def keep(message):
        seen.append(message)

    asyncio.run(process.run_worker(settings, request or {"a": 1}, tmp_path / "log.txt", take or keep))
    return seen


REPORTS = "import json, sys; sys.stdin.readline(); print(json.dumps({'event': 'progress'}), flush=True); "


def test_reports_are_handed_on_until_all_is_done(tmp_path):
    script = REPORTS + "print(json.dumps({'event': 'done'}), flush=True); import time; time.sleep(60)"
    begun = time.monotonic()
    assert work(settings_with(script, tmp_path), tmp_path) == [{"event": "progress"}, {"event": "done"}]
    assert time.monotonic() - begun < 30  # it is not waited for


def test_the_request_carries_the_limits(tmp_path):
    script = "import json, sys; print(json.dumps({'event': 'done', 'asked': json.loads(sys.stdin.readline())}))"
    settings = settings_with(script, tmp_path, memory_bytes=5 * MIB, time_limit_s=30)
    (message,) = work(settings, tmp_path)
    limits = {"max_length_s": 7200.0, "memory_bytes": 5 * MIB, "time_limit_s": 30.0, "file_bytes": 20 << 30}
    assert message["asked"] == {"a": 1, **limits}


@pytest.mark.parametrize(
    "script, error, words",
    [
        (REPORTS + "print(json.dumps({'event': 'failed', 'error': 'for a reason'}))", AudioError, "for a reason"),
        (REPORTS + "sys.exit(7)", AudioError, "status 7"),
        (REPORTS + "import os; os.kill(os.getpid(), 9)", AudioError, "SIGKILL"),
        (REPORTS + "import time; time.sleep(60)", AudioError, "longer"),
        (REPORTS + "print('no JSON')", ValueError, None),
        (REPORTS + "print('x' * (3 << 20))", ValueError, None),
    ],
)
def test_every_other_end_is_an_error_and_leaves_no_process(tmp_path, script, error, words):
    settings = settings_with(script, tmp_path, time_limit_s=3)
    with pytest.raises(error, match=words):
        work(settings, tmp_path)
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if path.exists():
        commands = [Path(f"/proc/{pid}/cmdline") for pid in path.read_text().split()]
        assert not [one for one in commands if one.exists() and str(tmp_path) in one.read_text()]


def test_what_a_report_is_refused_for_ends_the_process(tmp_path):
    async def refuse(message):
        raise AudioError("no room")

    begun = time.monotonic()
    with pytest.raises(AudioError, match="no room"):
        work(settings_with(REPORTS + "import time; time.sleep(60)", tmp_path), tmp_path, refuse)
    assert time.monotonic() - begun < 30


def test_a_worker_that_is_not_there(tmp_path):
    settings = StudioSettings(folder=tmp_path, worker=(str(tmp_path / "nothing"),))
    with pytest.raises(OSError):
        work(settings, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits")
def test_limits_are_taken_on(tmp_path):
    code = """
import json, os, resource
from hyperstem.web.worker.limits import limit_process
before = os.nice(0)
limit_process(2 << 30, 10.0, 5 << 20)
names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE")
print(json.dumps([os.nice(0) - before, *(resource.getrlimit(getattr(resource, name)) for name in names)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    nice, *limits = json.loads(done.stdout)
    cores = os.cpu_count() or 1
    assert limits == [[2 << 30] * 2, [10 * cores + 1] * 2, [5 << 20] * 2, [0, 0], [512, 512]]
    assert nice == min(5, 19 - os.nice(0))


def test_causes_are_told_in_words(tmp_path):
    settings = StudioSettings(folder=tmp_path, time_limit_s=600)
    assert describe_exit(-signal.SIGXCPU, settings) == time_limit_message(
        settings
    ) and "10 minutes" in time_limit_message(settings)
    assert "quota" in describe_exit(-signal.SIGXFSZ, settings)
    assert "SIGSEGV" in describe_exit(-signal.SIGSEGV, settings) and "memory" in describe_exit(
        -signal.SIGKILL, settings
    )
    assert "status 3" in describe_exit(3, settings)


def test_what_a_song_takes_on_disk(tmp_path):
    job = Job(id="0" * 16, name="a", suffix=".wav", frames=1000, channels=2)
    (tmp_path / "source.wav").write_bytes(bytes(500))
    assert disk.needed_bytes(job, tmp_path, 10**6) == 500 + 1000 * 2 * 2 * 13
    job.stems = list("abcdef")
    assert disk.needed_bytes(job, tmp_path, 10**6) == 500 + 1000 * 2 * 2 * 19
    with pytest.raises(AudioError, match="quota"):
        disk.needed_bytes(job, tmp_path, 1000 * 2 * 2 * 19 - 1)
    (tmp_path / "more").write_bytes(bytes(200_000))
    assert disk.needed_bytes(job, tmp_path, 10**6) == 200_500
    assert disk.needed_bytes(Job(id="0" * 16, name="a"), tmp_path / "nowhere", 10**6) == 0


def test_only_named_files_are_deleted(tmp_path):
    job = Job(id="0" * 16, name="a", suffix=".mp3", stems=["bass", "[odd] *"])
    ours = [
        "source.mp3",
        "upload",
        "log.txt",
        "job.json",
        "takes/original/original.s16",
        "takes/full/bass.peaks",
        "takes/preview/[odd] *.s16",
        "stems/bass.wav",
        "stems/[odd] *.wav",
        "stems/manifest.json",
        "stems.part/bass.wav",
        "stems.part/.hyperstem-0123456789ab.part",
        "mixes/0123456789abcdef/bass.mp3",
    ]
    theirs = ["source.txt", "stems/odd.wav", "takes/full/notes", "mixes/mine/a.mp3", "takes/mine/bass.s16", "x"]
    for name in [*ours, *theirs]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(name))
    disk.delete_takes(job, tmp_path, ["preview"])
    assert not (tmp_path / "takes" / "preview").exists() and (tmp_path / "takes/full/bass.peaks").exists()
    disk.delete_job(job, tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(theirs)
