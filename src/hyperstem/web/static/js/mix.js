// The mix of a song: volume, pan, mute and solo of each lane, and the listening levels.

import { Emitter } from "./page.js";

/** Emits "change". */
export class Mix extends Emitter {
  constructor(sound) {
    super();
    this.sound = sound;
    this.lanes = new Map(); // stem -> {volume, pan, mute, solo}
    this.original = false; // whether the original plays instead of the mix
    this.level = 0.85;
    this.clickLevel = 0.7;
  }

  lane(stem) {
    if (!this.lanes.has(stem)) this.lanes.set(stem, { volume: 1, pan: 0, mute: false, solo: false });
    return this.lanes.get(stem);
  }

  setLane(stem, change) {
    Object.assign(this.lane(stem), change);
    this.emit("change");
  }

  /** Changes any of `original`, `level` and `clickLevel`. */
  set(change) {
    Object.assign(this, change);
    this.emit("change");
  }

  reset() {
    this.lanes.clear();
    this.emit("change");
  }

  /** The lane's volume with mute and solo applied. */
  gain(stem) {
    const lane = this.lane(stem);
    const anySolo = this.sound.job.stems.some((other) => this.lane(other).solo);
    return lane.mute || (anySolo && !lane.solo) ? 0 : lane.volume;
  }

  get outputGain() { return this.level * this.level; }

  /** Sets all gains and pans of a graph. */
  apply(graph, atOnce = false) {
    const { gain } = this.sound.job;
    graph?.apply({
      out: this.outputGain,
      mix: this.original ? 0 : 1,
      original: this.original ? gain : 0,
      fallback: gain,
      click: this.clickLevel,
      lanes: (stem) => ({ gain: this.gain(stem), pan: this.lane(stem).pan }),
    }, atOnce);
  }
}
