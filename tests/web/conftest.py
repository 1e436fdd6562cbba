"""Fixtures of the tests of the page in a real browser."""

from pathlib import Path

import pytest

from web_browser import ARGUMENTS, CHROMIUM, open_page


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def studio(folder):
    from web_studio import Studio, write_song

    with Studio(folder / "studio", max_upload_bytes=8 << 20) as studio:
        studio.song = write_song(folder / "My Söng.wav", 20.0)
        yield studio


@pytest.fixture
def page(browser, studio):
    page = open_page(browser, studio.url)
    yield page
    page.context.close()
    assert page.complaints == []
