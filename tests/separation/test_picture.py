import sys

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.cli import main
from hyperstem.errors import HyperstemError
from hyperstem.models import engines
from hyperstem.separation import picture as module
from separation_standin import StandIn, loaded, noise


def test_a_picture_has_a_waveform_and_a_spectrogram_per_row(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    picture = module.Picture(44100, ("mixture", "drums"))
    time_s = np.arange(44100 * 2) / 44100
    tone = np.sin(2 * np.pi * 1000 * time_s, dtype=np.float32)[None]
    for at in range(0, 44100 * 2, 10_007):
        picture.add(tone[:, at : at + 10_007], tone[:, at : at + 10_007] * 0)
    picture.save(tmp_path / "picture.png", "A $ong")
    pixels = image.imread(tmp_path / "picture.png")
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 1000
    half = pixels[: pixels.shape[0] // 2, pixels.shape[1] // 2 :, :3]
    assert half.max() > 0.9  # the tone's bright line on black
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("title", ["A $ong", "caf\udce9.wav", "two\nlines"])
def test_any_name_does_for_a_title(tmp_path, title):
    pytest.importorskip("matplotlib")
    picture = module.Picture(8000, ("mixture",))
    picture.add(noise(1, 100))
    picture.save(tmp_path / "picture.png", title)
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_columns_stay_bounded_and_keep_peaks():
    picture = module.Picture(8000, ("mixture",))
    for i in range(40):
        wave = np.zeros((2, 200_000), np.float32)
        wave[:, 777] = 0.5 if i == 20 else 0
        picture.add(wave)
    assert 256 < len(picture._power) <= module._COLUMNS
    assert max(part.max() for part in picture._high) == 0.5


@pytest.mark.parametrize("rate_hz", (4000, 44100, 192000))
def test_every_band_sees_some_of_the_spectrum(rate_hz):
    bands = module._bands(rate_hz)
    assert np.allclose(bands.sum(axis=0), 1)
    assert np.isfinite(bands).all()


@pytest.mark.parametrize("length", (1, 100, 5000))
def test_short_sounds(tmp_path, length):
    pytest.importorskip("matplotlib")
    picture = module.Picture(44100, ("mixture",))
    picture.add(noise(1, length))
    picture.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_the_command_draws_it(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(engines, "load", lambda *_: loaded(StandIn()))
    monkeypatch.chdir(tmp_path)
    audio.write("song.wav", noise(2, 50_000), 44100)
    assert main(["separate", "song.wav", "--plot"]) == 0
    assert (tmp_path / "separated/song/picture.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_one_line_tells(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(HyperstemError, match=r"pip install 'hyperstem\[plot\]'"):
        module.require_matplotlib()
    monkeypatch.chdir(tmp_path)
    assert main(["separate", "song.wav", "--plot"]) == 1
    assert capsys.readouterr().err == "hyperstem: pictures need matplotlib: pip install 'hyperstem[plot]'\n"
    assert "matplotlib.pyplot" not in sys.modules
