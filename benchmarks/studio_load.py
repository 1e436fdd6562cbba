"""Many people at one studio: ``python benchmarks/studio_load.py [--people 50] [--minutes 10] [--song-s 10]``.

Starts `hyperstem studio` on the loopback address in a temporary folder. Each of the people opens the page and its
events, uploads a song, listens to what can be heard of it second by second, fetches a stem and an mp3, removes the song
and begins again. Meanwhile the page is asked for four times a second, and the memory of the studio's own process is
read. Tells what the answers were, how long the page took, and how memory went. `--write` keeps the figures in
RESULTS.md.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import soundfile
from _results import machine, write_section

ALLOWED = {200, 201, 204, 206, 429, 507}
CHUNK_FRAMES = 131_072
TITLE = "A studio under load"


class Watch:
    """What was seen."""

    def __init__(self):
        self.statuses = collections.Counter()
        self.strange = collections.Counter()
        self.page_s, self.memory_mb, self.done, self.cpu_s = [], [], 0, 0.0

    def took(self, answer):
        self.statuses[answer.status_code] += 1
        if answer.status_code not in ALLOWED:
            self.strange[f"{answer.status_code} {answer.request.method} {answer.request.url.path[:60]}"] += 1
        return answer


class Person:
    def __init__(self, client, watch, song, rng):
        self.client, self.watch, self.song, self.rng = client, watch, song, rng
        self.jobs = {}

    async def get(self, path, **options):
        return self.watch.took(await self.client.get(path, **options))

    async def follow(self):
        """Holds the page's event stream open."""
        while True:
            try:
                async with self.client.stream("GET", "/api/v1/events", timeout=None) as stream:
                    self.watch.took(stream)
                    async for line in stream.aiter_lines():
                        if line.startswith("data: {"):
                            job = json.loads(line[6:])
                            self.jobs[job["id"]] = job
            except httpx.HTTPError:
                await asyncio.sleep(1)

    async def live(self):
        await asyncio.sleep(self.rng.uniform(0, 5))
        following = asyncio.create_task(self.follow())
        try:
            while True:
                await self.get("/")
                await self.one_song()
                await asyncio.sleep(self.rng.uniform(1, 4))
        finally:
            following.cancel()

    async def one_song(self):
        answer = await self.client.post("/api/v1/jobs", files={"file": ("song.flac", self.song)})
        self.watch.took(answer)
        if answer.status_code != 201:
            await asyncio.sleep(5)
            return
        base, job_id = f"/api/v1/jobs/{answer.json()['id']}", answer.json()["id"]
        await self.listen(base, job_id)
        if self.jobs[job_id]["state"] == "done":
            self.watch.done += 1
            await self.get(f"{base}/stems/drums.wav")
            if self.rng.random() < 0.2:
                await self.get(f"{base}/mix.mp3", params={"lane": ["drums:1:0", "bass:0.5:0.2"]})
        self.watch.took(await self.client.delete(base))

    async def listen(self, base, job_id):
        place = 0
        while (job := self.jobs.get(job_id)) is None or job["state"] in ("queued", "running"):
            if job and job["takes"]:
                take = list(job["takes"])[-1]
                for lane in ["original"] if take == "original" else job["stems"]:
                    query = {"take": take, "start": place, "frames": CHUNK_FRAMES}
                    answer = await self.client.get(f"{base}/audio/{lane}", params=query)
                    if answer.status_code != 404:  # the take was replaced meanwhile, as a page finds too
                        self.watch.took(answer)
                place = (place + CHUNK_FRAMES) % max(1, job["frames"] or 1)
            await asyncio.sleep(self.rng.uniform(0.5, 1.5))


async def look(client, watch):
    """Asks for the page four times a second."""
    while True:
        begun = time.perf_counter()
        watch.took(await client.get("/"))
        watch.page_s.append(time.perf_counter() - begun)
        await asyncio.sleep(0.25)


async def weigh(pid, watch):
    status = Path(f"/proc/{pid}/status")
    while True:
        watch.memory_mb.append(int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1]) / 1024)
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        watch.cpu_s = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        await asyncio.sleep(1)


async def load(url, pid, people, seconds, song):
    watch = Watch()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        tasks = [asyncio.create_task(Person(client, watch, song, random.Random(n)).live()) for n in range(people)]
        tasks += [asyncio.create_task(look(client, watch)), asyncio.create_task(weigh(pid, watch))]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
    return watch


def song_bytes(folder, seconds):
    rng, time_s = np.random.default_rng(0), np.arange(int(seconds * 44100)) / 44100
    noise = rng.standard_normal((len(time_s), 2)) * np.exp(-(time_s % 0.5) * 12)[:, None] * 0.15
    path = folder / "song.flac"
    soundfile.write(path, noise + 0.3 * np.sin(2 * np.pi * 110 * time_s)[:, None], 44100)
    return path.read_bytes()


def report(watch, people, seconds, song_s):
    page = sorted(watch.page_s)
    share = sum(one <= 0.2 for one in page) / len(page)
    memory, quarter = watch.memory_mb, max(1, len(watch.memory_mb) // 4)
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(watch.statuses.items()))
    before, after = (f"{statistics.mean(part):.0f}" for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    return {
        "people, minutes, seconds of a song": f"{people}, {seconds / 60:.1f}, {song_s:g}",
        "songs separated": watch.done,
        "answers": answers,
        "answers that should not be": ", ".join(map(str, watch.strange.items())) or "none",
        "page, median / 95 % / slowest": f"{statistics.median(page) * 1000:.0f} / "
        f"{page[int(len(page) * 0.95)] * 1000:.0f} / {page[-1] * 1000:.0f} ms",
        "page within 200 ms": f"{share:.1%} of {len(page)}",
        "memory of the studio's process, second and last quarter": f"{before}, {after} MB",
        "processor time of the studio's process": f"{watch.cpu_s:.0f} s, {watch.cpu_s / seconds:.0%} of one core",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--song-s", type=float, default=10.0)
    parser.add_argument("--model", default="default")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        song = song_bytes(Path(folder), args.song_s)
        command = [sys.executable, "-m", "hyperstem", "studio", "--no-browser", "--port", str(port)]
        command += ["--folder", f"{folder}/studio", "--model", args.model, "--waiting", "40", "--quota-gb", "2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio:
            try:
                url = studio.stdout.readline().split()[2]
                watch = asyncio.run(load(url, studio.pid, args.people, args.minutes * 60, song))
            finally:
                studio.terminate()
    rows = report(watch, args.people, args.minutes * 60, args.song_s)
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    print(table)
    if args.write:
        write_section(TITLE, f"`python benchmarks/studio_load.py`, {machine()}.\n\n{table}")
    return 1 if watch.strange else 0


if __name__ == "__main__":
    sys.exit(main())
