import http.server
import os
import threading
from functools import partial

import pytest

from hyperstem.cluster import objects
from hyperstem.errors import ClusterError, ConfigError

pytest.importorskip("obstore")
from s3_server import serving


@pytest.fixture(scope="module")
def store():
    """A bucket of a real S3 server."""
    objects._store.cache_clear()
    with serving("songs"):
        yield "s3://songs"
    objects._store.cache_clear()


NAMES = ("a b.mp3", "été#1%20[x]?.mp3", "deep/er/~q+.wav", "back\\slash.flac", "日本.ogg")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_goes_to_the_store_and_back(store, tmp_path, name):
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(os.urandom(1 << 12))
    url = objects.join(store, "names", name)
    objects.upload(here, url)
    assert objects.exists(url)
    objects.download(url, back)
    assert back.read_bytes() == here.read_bytes() == objects.read(url)
    assert [entry.url for entry in objects.entries(url)] == [url]
    objects.delete(url)
    objects.delete(url)
    assert not objects.exists(url)
    assert objects.read(url) is None


def test_a_file_larger_than_one_part_arrives_whole(store, tmp_path):
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(os.urandom(12 << 20))
    objects.upload(here, f"{store}/large")
    objects.download(f"{store}/large", back)
    assert back.read_bytes() == here.read_bytes()


def test_entries_below_a_prefix_have_sizes_and_stamps_that_change(store):
    urls = [f"{store}/many/{number:04}.mp3" for number in range(3)]
    for url in urls:
        objects.write(b"x" * 5, url)
    first = list(objects.entries(f"{store}/many"))
    assert [entry.url for entry in first] == urls
    assert {entry.size for entry in first} == {5}
    assert list(objects.entries(f"{store}/many/")) == first
    objects.write(b"yyyyy", urls[1])
    second = list(objects.entries(f"{store}/many"))
    assert [a.stamp == b.stamp for a, b in zip(first, second, strict=True)] == [True, False, True]


def test_what_is_not_there_is_an_error_of_one_line(store, tmp_path):
    for call in (
        lambda: list(objects.entries(f"{store}/none")),
        lambda: objects.download(f"{store}/none", tmp_path / "x"),
        lambda: list(objects.entries("s3://no-such-bucket-here/a")),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert "\n" not in str(caught.value.strerror)
    with pytest.raises(ClusterError, match=r"a//b"):
        objects.write(b"", f"{store}/a//b")


@pytest.mark.parametrize(
    ("place", "writable", "message"),
    [
        ("ftp://host/a.mp3", False, "allowed are paths and s3://, gs://, az://, http://, https://"),
        ("https://host/a", True, "cannot be written; allowed are paths and s3://, gs://, az://"),
        ("s3://", False, "names no bucket"),
        ("s3:///a.mp3", False, "names no bucket"),
    ],
)
def test_urls_that_nothing_reads(place, writable, message):
    with pytest.raises(ConfigError, match=message):
        objects.check(place, writable)


@pytest.mark.parametrize("place", ["/a/b.mp3", "a.mp3", "C:/a.mp3", "odd:name.mp3", "://x", "a b://x"])
def test_paths_are_no_urls(place):
    assert not objects.is_url(place)


class _Cut(http.server.SimpleHTTPRequestHandler):
    """Serves files, one of them cut off."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        if not self.path.startswith("/cut"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 40)
        return None


@pytest.fixture
def web(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Cut, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_songs_from_the_web_with_signed_addresses(web, tmp_path):
    (tmp_path / "a song.mp3").write_bytes(b"123")
    url = f"{web}/a%20song.mp3?signature=a%2Fb"
    (entry,) = objects.entries(url)
    assert objects.file_name(entry.url) == "a song.mp3"
    objects.download(entry.url, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"123"
    with pytest.raises(FileNotFoundError):
        objects.download(f"{web}/none.mp3", tmp_path / "got")


def test_a_download_cut_off_is_an_error(web, tmp_path):
    with pytest.raises(OSError, match="40 of 100 bytes"):
        objects.download(f"{web}/cut.mp3", tmp_path / "got")


def test_a_server_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(OSError, match="refused"):
        objects.download("http://127.0.0.1:9/x.mp3", tmp_path / "got")
