// The audio graph: gain, pan and meter of each lane, and the buses.

const RAMP_S = 0.008;
const BUSES = ["mix", "original", "fallback", "click"]; // fallback: the original, until the stems are ready

/** Songs with more than two channels have no pan: Web Audio's panner would make them stereo. */
function laneNodes(context, channels, out) {
  const gain = context.createGain();
  const meter = context.createAnalyser();
  meter.fftSize = 1024;
  if (channels > 2) {
    gain.connect(meter).connect(out);
    return { gain, meter, pan: null };
  }
  const pan = context.createStereoPanner();
  gain.connect(pan).connect(meter).connect(out);
  return { gain, meter, pan };
}

export function openContext(rate) {
  try {
    return new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
  } catch {
    return new AudioContext(); // an unsupported rate: the browser resamples each chunk
  }
}

export class Graph {
  constructor(context, channels) {
    this.context = context;
    this.channels = channels;
    this.lanes = new Map(); // stem -> {gain, meter, pan}
    this.out = context.createGain();
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.out.connect(this.analyser).connect(context.destination);
    for (const bus of BUSES) {
      this[bus] = context.createGain();
      this[bus].connect(this.out);
    }
  }

  /** The nodes of a lane, created on first use. */
  lane(stem) {
    if (!this.lanes.has(stem)) this.lanes.set(stem, laneNodes(this.context, this.channels, this.mix));
    return this.lanes.get(stem);
  }

  /** Sets all gains and pans: `levels` has out, the buses, and lanes(stem) -> {gain, pan}. */
  apply(levels, atOnce = false) {
    const now = this.context.currentTime;
    const set = (param, value) => (atOnce ? param.setValueAtTime(value, now) : param.setTargetAtTime(value, now, RAMP_S));
    for (const bus of ["out", ...BUSES]) set(this[bus].gain, levels[bus]);
    for (const [stem, node] of this.lanes) {
      const { gain, pan } = levels.lanes(stem);
      set(node.gain.gain, gain);
      if (node.pan) set(node.pan.pan, pan);
    }
  }

  /** Dips to silence around `time`, to hide a discontinuity. */
  dip(level, time) {
    const { gain } = this.out;
    const now = this.context.currentTime;
    gain.cancelScheduledValues(now);
    gain.setTargetAtTime(0, now, RAMP_S);
    gain.setTargetAtTime(level, time, RAMP_S);
  }
}
