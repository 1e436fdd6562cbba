from fractions import Fraction

import av
import numpy as np
import pytest

import hyperstem
from hyperstem import Separator, audio
from hyperstem.errors import AudioError
from separation_standin import noise, separator


def film(path, marked: int | None = None):
    """Sound in English, German and of a commentator, each of another level."""
    with av.open(str(path), "w") as file:
        streams = []
        for i, (language, title) in enumerate((("eng", "Original"), ("ger", "Synchron"), ("eng", "Comments"))):
            stream = file.add_stream("flac", rate=48_000)
            stream.codec_context.layout, stream.codec_context.format = "stereo", "s16"
            stream.metadata.update({"language": language, "title": title})
            default = i == marked
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
            streams.append(stream)
        for i, stream in enumerate(streams):
            steps = np.rint(noise(2, 48_000, 0.01 * (i + 1)).T * 32768).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(steps, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            file.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def taken(path, stream=None) -> int:
    return round(float(audio.read(path, stream=stream)[0].std()) * 100) - 1


@pytest.mark.parametrize(("marked", "expected"), [(None, 0), (0, 0), (1, 1), (2, 2)])
def test_the_default_stream_is_read(tmp_path, marked, expected):
    assert taken(film(tmp_path / "a.mkv", marked)) == expected


@pytest.mark.parametrize(
    ("stream", "expected"), [(0, 0), (2, 2), ("de", 1), ("GER", 1), ("deu", 1), ("en", 0), ("comments", 2)]
)
def test_a_stream_is_chosen(tmp_path, stream, expected):
    path = film(tmp_path / "a.mkv", 2)
    assert taken(path, stream) == expected
    assert audio.probe(path, stream).channels == 2


@pytest.mark.parametrize("stream", [3, -1, "fr", "nonsense"])
def test_streams_that_are_not_there(tmp_path, stream):
    with pytest.raises(AudioError, match="has no sound stream") as error:
        audio.read(film(tmp_path / "a.mkv"), stream=stream)
    assert isinstance(stream, int) or "1 (ger, synchron)" in str(error.value)


def test_a_stream_of_a_wav(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 100), 8000)
    assert audio.read(tmp_path / "a.wav", stream=0)[0].shape == (1, 100)
    with pytest.raises(AudioError, match="no sound stream 1; it has 1"):
        audio.read(tmp_path / "a.wav", stream=1)


def test_separating_takes_the_stream_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(Separator, "load", lambda *_: separator(2))
    path = film(tmp_path / "a.mkv", 0)
    levels = [sum(hyperstem.separate(path, stream=stream).values()).std() for stream in (None, 2, "ger")]
    np.testing.assert_allclose(levels, [0.01, 0.03, 0.02], rtol=0.05)
    with pytest.raises(AudioError, match="has no sound stream"):
        hyperstem.separate(path, stream="fr")
