"""What separation gives: blocks and stems by name, and files of them."""

import numpy as np
import pytest

from hyperstem import audio
from hyperstem.errors import AudioError
from hyperstem.separation.stems import Block, Stems

NAMES = ("vocals", "drums")
WAVES = np.stack([np.full((2, 600), value, np.float32) for value in (0.25, -0.5)])


@pytest.fixture
def stems():
    return Stems(NAMES, WAVES, WAVES.sum(axis=0), 44_100, {"title": "A Song"})


def test_stems_are_a_mapping_of_names_in_the_models_order(stems):
    assert list(stems) == list(NAMES)
    assert (len(stems), dict(stems).keys(), "bass" in stems) == (2, set(NAMES), False)
    np.testing.assert_array_equal(stems["drums"], WAVES[1])
    assert repr(stems) == "Stems(vocals, drums: 2 x 0.01 s at 44100 Hz)"


def test_a_block_gives_its_stems_by_name():
    block = Block(5, 44_100, NAMES, WAVES.sum(axis=0), WAVES)
    np.testing.assert_array_equal(block["vocals"], WAVES[0])
    assert list(block.stems) == list(NAMES)
    np.testing.assert_array_equal(block.stems["drums"], block["drums"])


@pytest.mark.parametrize("of", ["stems", "block"])
def test_a_stem_that_is_not_there_is_named_with_those_that_are(stems, of):
    given = stems if of == "stems" else Block(0, 44_100, NAMES, stems.mixture, WAVES)
    with pytest.raises(KeyError, match="no stem 'bass'; there are vocals, drums"):
        given["bass"]


def test_saved_stems_are_files_of_their_names(stems, tmp_path):
    output = stems.save(tmp_path / "new" / "folder", "flac")
    assert {name: path.name for name, path in output.paths.items()} == {name: f"{name}.flac" for name in NAMES}
    for name in NAMES:
        wave, rate_hz = audio.read(output.paths[name])
        assert rate_hz == 44_100
        np.testing.assert_allclose(wave, stems[name], atol=1e-4)
    assert audio.probe(output.paths["vocals"]).tags.get("title") == "A Song (vocals)"


def test_peaks_above_full_scale_bring_all_stems_down_by_one_gain(tmp_path):
    loud = Stems(NAMES, 4 * WAVES, 4 * WAVES.sum(axis=0), 44_100)
    output = loud.save(tmp_path)
    assert output.gain == pytest.approx(0.5, rel=1e-3)
    assert np.abs(audio.read(output.paths["drums"])[0]).max() == pytest.approx(1, abs=1e-3)
    assert np.abs(audio.read(output.paths["vocals"])[0]).max() == pytest.approx(0.5, abs=1e-3)


def test_a_multitrack_format_is_one_file(stems, tmp_path):
    output = stems.save(tmp_path, "stem.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["stems.stem.mp4"]
    assert list(output.paths) == ["stems"]


def test_formats_that_do_not_exist_are_refused_before_a_folder_is_made(stems, tmp_path):
    with pytest.raises(AudioError, match="midi"):
        stems.save(tmp_path / "out", "midi")
    assert not (tmp_path / "out").exists()
