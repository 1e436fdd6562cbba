from itertools import chain
from pathlib import Path

import pytest

from hyperstem import audio
from hyperstem.cluster.catalogue import Listed, Unlisted
from hyperstem.cluster.register import Register
from hyperstem.errors import ConfigError
from hyperstem.separation.output import OutputSettings
from hyperstem.separation.sharding import WHOLE, Shard
from hyperstem.separation.tasks import BatchSettings

STEMS = ("drums", "bass", "other", "vocals")


def register(**settings) -> Register:
    return Register(BatchSettings(Path("out"), OutputSettings(audio.named_format("wav")), **settings), STEMS)


def named(listing, shard: Shard = WHOLE, **settings) -> list[tuple[str, str]]:
    with register(**settings) as names:
        return [(song.folder, song.track) for song in names.named(listing, shard)]


def test_each_song_once_and_names_apart():
    listing = [
        Listed("/a/x.mp3", "a"),
        Listed("/a/x.wav", "a"),
        Listed("/a/X.flac", "a"),
        Listed("/a/x-2.mp3", "a"),
        Listed("/b/x.mp3", "b"),
        Listed("/a/x.mp3", "a"),
        Listed("s3://b/q/x.mp3?y", ""),
    ]
    assert named(listing) == [("a", "x"), ("a", "x-2"), ("a", "X-3"), ("a", "x-2-2"), ("b", "x"), ("", "x")]


def test_many_songs_of_one_name_take_no_time():
    listing = [Listed(f"/{number}/track.mp3") for number in range(20_000)]
    tracks = [track for _, track in named(listing)]
    assert len(set(tracks)) == len(tracks)
    assert tracks[-1] == "track-20000"


def test_parts_agree_on_names_and_share_the_songs():
    listing = [Listed(f"/{number % 7}/track.mp3") for number in range(7)] + [Listed(f"/{n}.wav") for n in range(50)]
    whole = named(listing)
    parts = [named(listing, Shard(index, 3)) for index in (1, 2, 3)]
    assert sorted(chain(*parts)) == sorted(whole)
    assert all(part for part in parts)


def test_earlier_runs_are_remembered():
    records = [
        {"file": "/a.mp3", "status": "done", "stamp": "1-2", "source_sha256": "ab"},
        {"file": "/b.mp3", "status": "failed", "error": "x"},
        {"file": 3, "stamp": ["x"], "source_sha256": {}},
        {"file": "/\udcff.mp3", "status": "skipped", "stamp": "3", "source_sha256": "cd"},
    ]
    with register() as names:
        names.remember(records)
        songs = names.named([Listed("/a.mp3"), Listed("/b.mp3"), Listed("/\udcff.mp3"), Unlisted("/c", "c")], WHOLE)
        found = [(song.stamp, song.sha256) for song in songs if not isinstance(song, Unlisted)]
    assert found == [("1-2", "ab"), ("", ""), ("3", "cd")]


def test_a_template_names_every_song():
    with pytest.raises(ConfigError, match=r"no \{track\}"):
        register(template="{stem}.{ext}")
