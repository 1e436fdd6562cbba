"""A real nginx or Caddy in front, as the documentation says: with and without a sub path, passed on and taken off."""

import json
import threading
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

from web_proxy import CADDY, NGINX, caddy, caddyfile_in_docs, free_port, location_in_docs, nginx
from web_studio import Studio, write_song

pytestmark = pytest.mark.slow
TOKEN = "a-long-enough-token"
CHROMIUM = "/usr/bin/chromium"


def proxy_for(how, folder, path, port, proxy):
    """The proxy that stands on the port `proxy` before the studio on `port`."""
    target = f"127.0.0.1:{port}"
    if how == "caddy":
        if CADDY is None:
            pytest.skip("needs caddy")
        return caddy(folder, proxy, caddyfile_in_docs(f"http://127.0.0.1:{proxy}", target))
    if NGINX is None:
        pytest.skip("needs nginx")
    location = location_in_docs(path, f"http://{target}")
    if how == "taken off":
        location = location.replace(f"http://{target};", f"http://{target}/;")
    if how == "other host":
        location = location.replace("proxy_set_header Host $http_host;", "")
    return nginx(folder, proxy, location)


@pytest.fixture(scope="module", params=["/stems/", "/", "/stems/ taken off", "/stems/ other host", "/stems/ caddy"])
def site(request, tmp_path_factory):
    """A studio behind a proxy, and a client of the proxy."""
    folder = tmp_path_factory.mktemp("proxy")
    path, _, how = request.param.partition(" ")
    port, proxy = free_port(), free_port()
    public = f"http://127.0.0.1:{proxy}{path}"
    front = proxy_for(how, folder / "front", path, port, proxy)
    with (
        Studio(
            folder / "s", port=port, token=TOKEN, public_url=public, environment={"HYPERSTEM_TEST_DELAY_S": "0.3"}
        ) as studio,
        front,
        httpx.Client(base_url=public, trust_env=False, timeout=60) as client,
    ):
        studio.site, studio.public, studio.sub = client, public, path.rstrip("/")
        studio.song = write_song(folder / "a.wav", 12.0)
        yield studio


def test_the_page_opens_and_keeps_the_token(site):
    assert site.page == f"{site.public}?token={TOKEN}"
    assert site.site.get("api/v1/jobs").status_code == 401
    opened = site.site.get("", params={"token": TOKEN})
    assert opened.status_code == 303 and opened.headers["location"] == f"{site.sub}/"
    page = site.site.get("")
    assert page.status_code == 200 and "hyperstem studio" in page.text
    for address in ("static/js/main.js", "static/css/base.css", "docs", "api/v1/openapi.json", "healthz"):
        assert site.site.get(address).status_code == 200, address
    if site.sub:
        bare = httpx.get(site.public.rstrip("/"), trust_env=False)
        assert bare.status_code in (301, 302, 308) and bare.headers["location"].endswith("/stems/")


def test_a_song_goes_through(site):
    site.site.get("", params={"token": TOKEN})
    origin = site.public.split("/", 3)
    headers = {"origin": "/".join(origin[:3]), "sec-fetch-site": "same-origin"}
    with site.song.open("rb") as file:
        answer = site.site.post("api/v1/jobs", files={"file": ("a.wav", file)}, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{site.sub}/api/v1/jobs/{answer.json()['id']}"
    base, came = f"api/v1/jobs/{answer.json()['id']}", []
    with site.site.stream("GET", f"{base}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                came.append((time.monotonic(), json.loads(line[6:])["state"]))
    assert came[-1][1] == "done" and len(came) > 3
    assert came[-1][0] - came[0][0] > 0.3, "events came all at once: the proxy collected them"
    for address in ("stems/bass.wav", "stems.zip", "stems/bass.mp3", "karaoke.wav"):
        assert site.site.get(f"{base}/{address}").status_code == 200, address
    part = site.site.get(f"{base}/stems/bass.wav", headers={"range": "bytes=100-199"})
    assert part.status_code == 206 and len(part.content) == 100
    assert site.site.head(f"{base}/stems/bass.wav").status_code == 200
    foreign = {"origin": "https://evil.example"}
    assert site.site.delete(base, headers=foreign).status_code == 403
    assert site.site.get(base, headers={"host": "evil.example"}).status_code in (200, 403)
    assert site.site.delete(base, headers=headers).status_code == 204
    assert site.site.post(f"{base}/restore", headers=headers).status_code == 200


def test_others_do_not_wait_for_a_slow_upload(site):
    site.site.get("", params={"token": TOKEN})
    go_on = threading.Event()

    def slowly():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
        go_on.wait(20)

    headers = {"content-type": "multipart/form-data; boundary=b", "cookie": _cookie(site)}
    sender = threading.Thread(
        target=lambda: httpx.post(f"{site.public}api/v1/jobs", content=slowly(), headers=headers, trust_env=False)
    )
    sender.start()
    time.sleep(0.3)
    assert site.site.get("api/v1/jobs").elapsed.total_seconds() < 5
    go_on.set()
    sender.join()


def _cookie(site):
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in site.site.cookies.jar)


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"needs {CHROMIUM}")
def test_the_page_works_in_a_browser(site):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page, errors = browser.new_page(), []
        page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
        page.goto(site.page)
        page.wait_for_selector("html[data-ready=true]")
        page.set_input_files("#file-input", site.song)
        page.wait_for_selector("#mixer:not([hidden]) .lane", timeout=60_000)
        page.wait_for_function("document.querySelectorAll('.lane').length >= 4", timeout=60_000)
        assert not [url for url in errors if "favicon" not in url], errors
        assert page.url.startswith(site.public) and TOKEN not in page.url
        browser.close()
