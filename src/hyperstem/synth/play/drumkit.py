"""The drum kit: pieces synthesised from modes and noise, in several takes, placed in time and in a stereo room."""

import numpy as np

from hyperstem.synth import dsp
from hyperstem.synth.compose.score import Hit, stream

_MIX = {  # panning of each piece, from -1 to 1, and its level in dB
    "kick": (0.0, -2.5),
    "snare": (0.08, 0.0),
    "rim": (0.1, -9.0),
    "clap": (0.0, -6.0),
    "hat": (0.45, -17.0),
    "open": (0.45, -16.0),
    "ride": (-0.5, -17.0),
    "crash": (-0.35, -11.0),
    "china": (0.6, -12.0),
    "tom": (0.35, -4.0),
    "mid": (0.0, -4.0),
    "floor": (-0.4, -3.0),
    "shaker": (0.55, -20.0),
    "tambourine": (-0.5, -18.0),
    "cowbell": (0.3, -15.0),
    "conga": (-0.3, -9.0),
}


class Kit:
    """One kit: a piece keeps its sound through the song, with small differences between strokes."""

    def __init__(self, seed: int, kind: str, rate_hz: int) -> None:
        self.kind, self.rate_hz = kind, rate_hz
        self.rng = stream(seed, 10)
        draw = self.rng.uniform
        electro, soft = kind == "electro", kind in ("brush", "jazz")
        self.kick_hz = float(draw(45, 62) if not soft else draw(55, 80))
        self.kick_s = float(draw(0.25, 0.9) if electro else draw(0.18, 0.4))
        self.kick_sweep = float(draw(2.0, 6.0) if electro else draw(1.2, 3.0))
        self.click_db = float(draw(-18, -4)) if not soft else -22.0
        self.snare_hz = float(draw(160, 240))
        self.snare_s = float(draw(0.12, 0.35))
        self.wires = float(draw(0.6, 1.6))
        self.wire_hz = float(draw(200, 600))
        self.snare_tone_hz = float(draw(2500, 7000))
        self.hat_hz = float(draw(3500, 8500))
        self.tom_hz = float(draw(95, 140))
        self.metal = np.sort(2.0 ** draw(np.log2(280), np.log2(11000), 46))
        self.takes: dict[tuple[str, int], list[np.ndarray]] = {}

    def piece(self, name: str, velocity: float) -> np.ndarray:
        """One stroke, float32 (time,); strokes of similar velocity rotate through three takes."""
        layer = min(3, int(velocity * 4))
        takes = self.takes.setdefault((name, layer), [])
        if len(takes) < 3:
            make = getattr(self, f"_{name}")
            wave = make((layer + 0.7) / 4)
            wave *= dsp.envelope(len(wave), 0.0, min(0.02, 0.2 * len(wave) / self.rate_hz), self.rate_hz)
            peak = float(np.max(np.abs(wave))) + 1e-9
            takes.append(wave / np.float32(peak))
        else:
            takes.append(takes.pop(0))
        return takes[-1]

    def _noise(self, seconds: float, response: dsp.Response) -> np.ndarray:
        return dsp.noise_burst(int(seconds * self.rate_hz), response, self.rate_hz, self.rng)

    def _modes(
        self, seconds: float, hz: list[float], levels: list[float], decays_s: list[float], bend: float = 0.0
    ) -> np.ndarray:
        """Decaying sines; `bend` raises the pitch at the start, as that of a struck drumhead."""
        samples = int(seconds * self.rate_hz)
        time_s = np.arange(samples) / self.rate_hz
        slide = time_s + bend * 0.02 * (1 - np.exp(-time_s / 0.02))
        wave = np.zeros(samples, np.float32)
        for frequency, level, decay_s in zip(hz, levels, decays_s, strict=True):
            if frequency < 0.45 * self.rate_hz:
                start = self.rng.uniform(0, 0.1) * 2 * np.pi
                tone = np.sin(2 * np.pi * frequency * slide + start).astype(np.float32)
                wave += np.float32(level) * tone * dsp.decay(samples, decay_s, self.rate_hz)
        return wave

    def _kick(self, strength: float) -> np.ndarray:
        decay_s = self.kick_s * self.rng.uniform(0.95, 1.05)
        body = self._modes(
            decay_s * 1.2,
            [self.kick_hz, self.kick_hz * 1.7],
            [1.0, 0.25 * (self.kind != "electro")],
            [decay_s, decay_s * 0.5],
            self.kick_sweep * (0.7 + 0.3 * strength),
        )
        slap = self._noise(0.05, dsp.band(3500, 1.6)) * dsp.decay(int(0.05 * self.rate_hz), 0.03, self.rate_hz)
        thud = self._noise(0.12, dsp.band(300, 3.0)) * dsp.decay(int(0.12 * self.rate_hz), 0.09, self.rate_hz)
        body[: len(slap)] += slap[: len(body)] * dsp.db(self.click_db) * strength * 3
        body[: len(thud)] += thud[: len(body)] * (0.8 if self.kind != "electro" else 0.1)
        return dsp.saturate(body, 1.5)

    def _snare(self, strength: float) -> np.ndarray:
        decay_s = self.snare_s * self.rng.uniform(0.93, 1.07)
        base = self.snare_hz * self.rng.uniform(0.99, 1.01)
        body = self._modes(
            decay_s * 1.6,
            [base, base * 1.6, base * 2.2, base * 2.9],
            [0.7, 0.55, 0.4, 0.3],
            [decay_s, decay_s * 0.7, decay_s * 0.5, decay_s * 0.4],
            0.5,
        )
        tone_hz = self.snare_tone_hz * (0.6 + 0.6 * strength)
        response = dsp.product(dsp.high_pass(self.wire_hz, 1.2), dsp.low_pass(tone_hz, 1.0))
        wires = self._noise(decay_s * 1.6, response)
        wires /= np.std(wires) + 1e-6
        wires *= dsp.decay(len(wires), decay_s * (1.3 if self.kind != "tight" else 0.9), self.rate_hz)
        return dsp.saturate(body * (0.3 + 0.5 * strength) + 0.28 * self.wires * wires[: len(body)], 1.2)

    def _rim(self, strength: float) -> np.ndarray:
        levels = [0.4, 1.0, 0.5 + 0.4 * strength, 0.2 + 0.3 * strength]
        return self._modes(0.12, [420.0, 980.0, 1730.0, 2650.0], levels, [0.08, 0.06, 0.05, 0.03])

    def _clap(self, strength: float) -> np.ndarray:
        wave = self._noise(0.35, dsp.product(dsp.band(1300, 2.2), dsp.high_pass(500)))
        shape = 0.5 * dsp.decay(len(wave), 0.28, self.rate_hz)
        for i in range(4):
            start = int((0.011 * i + self.rng.uniform(0, 0.003)) * self.rate_hz)
            dsp.add_at(shape, dsp.decay(int(0.02 * self.rate_hz), 0.025, self.rate_hz), start, 0.8 + 0.2 * strength)
        return wave * shape

    def _cymbal(self, seconds: float, bright_hz: float, wash: float, strength: float, ping: float = 0.0) -> np.ndarray:
        hz = self.metal * self.rng.uniform(0.995, 1.005, len(self.metal))
        response = dsp.product(dsp.high_pass(bright_hz * 0.4, 1.0), dsp.low_pass(11000, 1))
        levels = self.rng.uniform(0.3, 1.0, len(hz)) * response(hz)
        keep = np.argsort(-levels)[:18]
        decays_s = seconds * self.rng.uniform(0.3, 1.0, len(keep))
        tones = self._modes(seconds, list(hz[keep]), list(levels[keep]), list(decays_s))
        hop = int(0.004 * self.rate_hz)
        frames = int(seconds * self.rate_hz) // hop + 2
        frequency = np.linspace(0, self.rate_hz / 2, 129)
        decay_s = np.maximum(seconds / (1.0 + (frequency / 9000.0) ** 2), 0.02)
        fade = np.exp(-6.9 * np.arange(frames)[:, None] * (hop / self.rate_hz) / decay_s)
        magnitudes = dsp.product(dsp.high_pass(bright_hz, 1.3), dsp.low_pass(9000 + 7000 * strength, 1.5))(frequency)
        noise = dsp.shaped_noise(fade * magnitudes, hop, len(tones), self.rng)
        noise /= np.std(noise[: int(0.03 * self.rate_hz)]) + 1e-6
        wave = 0.25 * tones / (np.std(tones[: int(0.03 * self.rate_hz)]) + 1e-6) + wash * noise
        if ping:
            stick = self._noise(0.02, dsp.band(5200, 1.5))
            wave[: len(stick)] += ping * 4 * stick * dsp.decay(len(stick), 0.015, self.rate_hz)
        return wave * dsp.envelope(len(wave), 0.001 if wash < 0.8 else 0.004, 0.0, self.rate_hz)

    def _hat(self, strength: float) -> np.ndarray:
        return self._cymbal(self.rng.uniform(0.05, 0.09) * (0.7 + 0.6 * strength), self.hat_hz, 0.6, strength)

    def _open(self, strength: float) -> np.ndarray:
        return self._cymbal(self.rng.uniform(0.28, 0.5), self.hat_hz * 0.9, 0.7, strength)

    def _ride(self, strength: float) -> np.ndarray:
        return self._cymbal(1.6, 1500, 0.3, strength, 0.6)

    def _crash(self, strength: float) -> np.ndarray:
        return self._cymbal(2.8, 900, 0.9, strength)

    def _china(self, strength: float) -> np.ndarray:
        return self._cymbal(1.5, 800, 1.1, strength)

    def _drum(self, hz: float, strength: float) -> np.ndarray:
        decay_s = float(self.rng.uniform(0.35, 0.5)) * (110.0 / hz) ** 0.4
        body = self._modes(
            decay_s * 1.3,
            [hz, hz * 1.59, hz * 2.14],
            [1.0, 0.35, 0.2],
            [decay_s, decay_s * 0.6, decay_s * 0.4],
            0.6 * strength,
        )
        stick = self._noise(0.03, dsp.band(2400, 2.0)) * dsp.decay(int(0.03 * self.rate_hz), 0.02, self.rate_hz)
        body[: len(stick)] += 1.2 * strength * stick[: len(body)]
        return body

    def _tom(self, strength: float) -> np.ndarray:
        return self._drum(self.tom_hz * 1.6, strength)

    def _mid(self, strength: float) -> np.ndarray:
        return self._drum(self.tom_hz * 1.15, strength)

    def _floor(self, strength: float) -> np.ndarray:
        return self._drum(self.tom_hz * 0.75, strength)

    def _conga(self, strength: float) -> np.ndarray:
        return self._drum(float(self.rng.choice([205.0, 270.0])), strength)

    def _shaker(self, strength: float) -> np.ndarray:
        wave = self._noise(0.11, dsp.product(dsp.high_pass(4500, 2), dsp.low_pass(13000)))
        return wave * dsp.envelope(len(wave), 0.03, 0.07, self.rate_hz) * (0.7 + 0.3 * strength)

    def _tambourine(self, strength: float) -> np.ndarray:
        jingle = self._modes(0.25, [float(f) for f in self.rng.uniform(5000, 11000, 12)], [0.5] * 12, [0.2] * 12)
        noise = self._noise(0.25, dsp.high_pass(6000)) * dsp.decay(int(0.25 * self.rate_hz), 0.12, self.rate_hz)
        return jingle + 3 * strength * noise

    def _cowbell(self, strength: float) -> np.ndarray:
        bell = self._modes(0.35, [545.0, 815.0, 1620.0, 2430.0], [1.0, 0.9, 0.3, 0.2], [0.2, 0.25, 0.1, 0.08])
        return bell * np.float32(0.5 + strength)


def render_drums(hits: list[Hit], seed: int, kind: str, samples: int, rate_hz: int) -> np.ndarray:
    """All strokes in stereo with a room: float32 (2, samples)."""
    kit = Kit(seed, kind, rate_hz)
    rng = stream(seed, 11)
    width = float(rng.choice([-1, 1])) * float(rng.uniform(0.3, 1.0))
    gains = {piece: dsp.db(level_db + float(rng.normal(0, 1.5))) for piece, (_, level_db) in _MIX.items()}
    dry, kick = np.zeros((2, samples), np.float32), np.zeros((1, samples), np.float32)
    hats_s = [hit.start_s for hit in hits if hit.piece == "hat"]
    for hit in hits:
        start = int(hit.start_s * rate_hz)
        if start >= samples:
            continue
        wave = kit.piece(hit.piece, hit.velocity)
        if hit.piece == "open" and (after := np.searchsorted(hats_s, hit.start_s + 0.02)) < len(hats_s):
            length = int((hats_s[after] - hit.start_s) * rate_hz)
            if length < len(wave):
                wave = wave[:length] * dsp.envelope(length, 0.0, 0.01, rate_hz)
        gain = gains[hit.piece] * hit.velocity**1.3
        if hit.piece == "kick":
            dsp.add_at(kick, wave[None], start, gain)
        else:
            dsp.add_at(dry, dsp.pan(wave, _MIX[hit.piece][0] * width), start, gain)
    size_s = float(rng.choice([0.15, 0.3, 0.5, 0.9])) * (0.6 if kind in ("tight", "electro", "dusty") else 1.0)
    wet = dsp.convolve(dry + 0.35 * kick, dsp.room(size_s, rate_hz, rng, float(rng.uniform(0.3, 0.9)), 0.002))
    return dry + kick + np.float32(rng.uniform(0.08, 0.4)) * wet
