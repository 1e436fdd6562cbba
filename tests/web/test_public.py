"""The studio as others reach it: under a public URL, behind a proxy, by the names of a home network."""

import asyncio

import pytest

pytest.importorskip("fastapi")

from hyperstem.errors import ConfigError
from hyperstem.web.guard import host_is_allowed, origin_is_allowed
from hyperstem.web.server import page_url
from hyperstem.web.settings import StudioSettings
from web_studio import studio_inside, write_song

TOKEN = "a-long-enough-token"
LOCAL = StudioSettings(folder=None)
CLOSED = StudioSettings(folder=None, token=TOKEN)
OPEN = StudioSettings(folder=None, host="0.0.0.0", token=TOKEN)
PUBLIC = StudioSettings(folder=None, token=TOKEN, public_url="https://stems.example.org/stems/")
PORT = StudioSettings(folder=None, token=TOKEN, public_url="http://stems.example.org:8080")


@pytest.mark.parametrize("host", ["stems.example.org", "stems.example.org:443", "STEMS.example.org", "127.0.0.1:8017"])
def test_the_public_name_passes(host):
    assert host_is_allowed(host, PUBLIC)


@pytest.mark.parametrize(
    "host", ["example.org", "a.stems.example.org", "stems.example.org:80", "stems.example.org.evil.example"]
)
def test_names_like_the_public_one_do_not(host):
    assert not host_is_allowed(host, PUBLIC)


def test_the_public_port_counts():
    assert host_is_allowed("stems.example.org:8080", PORT) and not host_is_allowed("stems.example.org", PORT)


@pytest.mark.parametrize(
    "origin, allowed",
    [
        ("https://stems.example.org", True),
        ("https://stems.example.org:443", True),
        ("http://stems.example.org", False),
        ("https://example.org", False),
        ("https://evil.example", False),
        ("null", False),
        ("http://127.0.0.1:8017", True),
    ],
)
def test_origins_behind_a_proxy_that_changes_the_host(origin, allowed):
    assert origin_is_allowed(origin, "127.0.0.1:8017", PUBLIC) == allowed


@pytest.mark.parametrize(
    "name", ["studio.local", "nas.fritz.box", "nas.lan", "nas.home.arpa", "nas", "nas.speedport.ip:8017"]
)
def test_names_of_a_home_network_need_a_token(name):
    assert host_is_allowed(name, CLOSED) and host_is_allowed(name, OPEN) and not host_is_allowed(name, LOCAL)


@pytest.mark.parametrize(
    "name", ["evil.example", "local.evil.example", "nas.local.evil.example", "fritz.box.evil.example"]
)
def test_other_names_do_not_pass_with_one(name):
    assert not host_is_allowed(name, CLOSED) and not host_is_allowed(name, OPEN)


@pytest.mark.parametrize(
    "url",
    [
        "stems.example.org",
        "ftp://stems.example.org/",
        "https://",
        "https:///stems",
        "https://u:p@stems.example.org/",
        "https://stems.example.org/?a=b",
        "https://stems.example.org/#a",
        "https://stems.example.org/a b/",
        "https://stems.example.org/a//b/",
        "https://stems.example.org/../a/",
        "https://stems.example.org/%2e/",
        "https://stems.example.org:x/",
        "https://stéms.example.org/",
        "",
    ],
)
def test_public_urls_that_are_none(url):
    with pytest.raises(ConfigError, match="public URL"):
        StudioSettings(folder=None, token=TOKEN, public_url=url)


def test_a_public_studio_needs_a_token():
    with pytest.raises(ConfigError, match="token"):
        StudioSettings(folder=None, public_url="https://stems.example.org/")


def test_the_address_to_open():
    assert page_url(PUBLIC, 8017) == f"https://stems.example.org/stems/?token={TOKEN}"
    assert page_url(PORT, 8017) == f"http://stems.example.org:8080/?token={TOKEN}"
    assert page_url(LOCAL, 8017) == "http://127.0.0.1:8017/"


@pytest.mark.parametrize("prefix", ["/stems", ""], ids=["passed on", "taken off"])
@pytest.mark.parametrize("host", ["stems.example.org", "127.0.0.1:8017"])
def test_under_a_sub_path(tmp_path, prefix, host):
    path = write_song(tmp_path / "a.wav", 0.1)
    origin = {"host": host, "origin": "https://stems.example.org", "sec-fetch-site": "same-origin"}

    async def run():
        async with studio_inside(tmp_path / "s", token=TOKEN, public_url=PUBLIC.public_url) as (client, _):
            assert (await client.get(f"{prefix}/static/js/main.js", headers=origin)).status_code == 200
            assert (await client.get(f"{prefix}/api/v1/jobs", headers=origin)).status_code == 401
            answer = await client.get(f"{prefix}/", params={"token": TOKEN}, headers=origin)
            assert answer.status_code == 303 and answer.headers["location"] == "/stems/"
            cookie = answer.headers["set-cookie"]
            assert "Path=/stems/" in cookie and ("Secure" in cookie) == (host == "stems.example.org")
            asked = {**origin, "cookie": cookie.partition(";")[0]}
            page = await client.get(f"{prefix}/", headers=asked)
            assert page.status_code == 200 and 'src="static/' in page.text
            answer = await client.post(f"{prefix}/api/v1/jobs", files={"file": path.read_bytes()}, headers=asked)
            assert answer.status_code == 201, answer.text
            assert answer.headers["location"] == f"/stems/api/v1/jobs/{answer.json()['id']}"
            described = (await client.get(f"{prefix}/api/v1/openapi.json", headers=asked)).json()
            assert described["servers"] == [{"url": "/stems"}]
            if prefix:
                answer = await client.get(prefix, headers=origin)
                assert answer.status_code == 308 and answer.headers["location"] == "/stems/"
            for stranger in ("/stemsapi/v1/jobs", "/stems2/", "/other/"):
                assert (await client.get(stranger, headers=origin)).status_code == 404

    asyncio.run(run())
