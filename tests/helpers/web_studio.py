"""A studio in a process of its own for the tests, and songs to send to it.

Run as a program: ``python web_studio.py FOLDER PORT SETTINGS_AS_JSON``.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import soundfile

HERE = Path(__file__).parent
STAND_IN = (sys.executable, str(HERE / "web_worker.py"))
RATE_HZ = 22050


def song(seconds: float = 2.0, channels: int = 2, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """Noise bursts over a tone: float32 (time, channel)."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    rng = np.random.default_rng(seed)
    bursts = rng.standard_normal((len(time_s), channels)) * np.exp(-(time_s % 0.5) * 12)[:, None] * 0.15
    return (bursts + 0.3 * np.sin(2 * np.pi * 220 * time_s)[:, None]).astype(np.float32)


def write_song(path: Path, seconds: float = 2.0, **options) -> Path:
    rate_hz = options.get("rate_hz", RATE_HZ)
    soundfile.write(path, song(seconds, **options), rate_hz)
    return path


@contextlib.asynccontextmanager
async def studio_inside(folder: Path, worker=STAND_IN, **settings):
    """A studio in this process: a client that asks it, and its runner."""
    from hyperstem.web.app import create_app
    from hyperstem.web.settings import StudioSettings

    app = create_app(StudioSettings(folder=folder, worker=worker, **settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            yield client, app.state.runner


class Studio:
    """A running studio."""

    def __init__(self, folder: Path, worker=STAND_IN, environment=None, port: int = 0, **settings) -> None:
        self.folder = folder
        settings = {"worker": list(worker), **settings}
        self.log = (folder.parent / f"{folder.name}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(port), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        line = self.process.stdout.readline()
        assert line.startswith("hyperstem studio: "), (line, Path(self.log.name).read_text())
        self.page = line.split()[2]
        self.url = self.page.partition("?")[0].rstrip("/")
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def upload(self, path: Path, name: str | None = None, **fields) -> httpx.Response:
        with path.open("rb") as file:
            return self.client.post("/api/jobs", files={"file": (name or path.name, file)}, data=fields)

    def job(self, job_id: str) -> dict:
        answer = self.client.get(f"/api/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job_id: str, states=("done", "failed", "cancelled"), limit_s: float = 60) -> dict:
        return self.wait_for(job_id, lambda job: job["state"] in states, limit_s)

    def wait_for(self, job_id: str, condition, limit_s: float = 60) -> dict:
        end = time.monotonic() + limit_s
        while True:
            job = self.job(job_id)
            if condition(job):
                return job
            assert time.monotonic() < end, job
            time.sleep(0.1)

    def until(self, condition, limit_s: float = 20) -> None:
        """Waits until `condition()` holds."""
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def separate(self, path: Path, **fields) -> dict:
        answer = self.upload(path, **fields)
        assert answer.status_code == 201, answer.text
        return self.wait(answer.json()["id"])

    def kill(self) -> None:
        self.process.kill()
        self._gone()

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self._gone()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def _gone(self) -> None:
        self.process.wait(20)
        self.client.close()
        self.process.stdout.close()
        self.log.close()

    def __enter__(self) -> "Studio":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.close()


def main() -> int:
    from hyperstem.web.server import serve
    from hyperstem.web.settings import StudioSettings

    folder, port, settings = sys.argv[1:]
    values = json.loads(settings)
    values["worker"] = tuple(values["worker"])
    return serve(StudioSettings(folder=Path(folder), **values), (int(port),), open_browser=False)


if __name__ == "__main__":
    sys.exit(main())
