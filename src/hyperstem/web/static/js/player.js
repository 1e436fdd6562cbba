// Plays the lanes of a song in sync to the sample.
//
// Each chunk of each lane is an AudioBufferSourceNode; all lanes of a chunk start at one and the same sample of the audio
// clock, and each chunk starts at the sample after the last one. A loop's seam is a chunk border too.

import { CHUNK, ORIGINAL } from "./sound.js";

const AHEAD_S = 5; // scheduled ahead: enough for a page in the background, whose timers are slow
const HURRY_S = 0.5;
const LEAD_S = 0.04;
const RAMP_S = 0.008;
const SHORTEST_LOOP_S = 0.02; // each round is sources of its own: very short ones would be thousands

/** Web Audio's pan stays out of songs with more than two channels. */
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

function openContext(rate) {
  try {
    return new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
  } catch {
    return new AudioContext(); // a rate the browser does not take: it resamples each chunk
  }
}

export class Player extends EventTarget {
  /** `makeContext(rate)` makes the audio context; the browser's own unless told otherwise. */
  constructor(sound, makeContext = openContext) {
    super();
    this.sound = sound;
    this.makeContext = makeContext;
    this.lanes = new Map(); // stem -> {volume, pan, mute, solo}
    this.compare = false;
    this.level = 0.85;
    this.loop = null; // {start, end} in frames
    this.looping = false;
    this.playing = false;
    this.waiting = false;
    this.context = null;
    this.analyser = null;
    this.nodes = new Map();
    this.scheduled = []; // {time, frame, count, index, stems, sources}
    this.cursor = 0; // the next frame to schedule
    this.anchor = null; // {time, frames}: audio time of the first scheduled frame, and frames scheduled since
    sound.addEventListener("chunk", (event) => this.#arrived(event.detail));
  }

  get job() { return this.sound.job; }
  get rate() { return this.job.rate_hz; }
  get frames() { return this.job.frames ?? this.job.takes[ORIGINAL] ?? 0; }

  lane(stem) {
    if (!this.lanes.has(stem)) this.lanes.set(stem, { volume: 1, pan: 0, mute: false, solo: false });
    return this.lanes.get(stem);
  }

  setLane(stem, change) {
    Object.assign(this.lane(stem), change);
    this.#applyGains();
    this.dispatchEvent(new Event("mix"));
  }

  resetLanes() {
    this.lanes.clear();
    this.#applyGains();
    this.dispatchEvent(new Event("mix"));
  }

  /** The gain at which a lane is heard, mute and solo counted in. */
  heard(stem) {
    const lane = this.lane(stem);
    const anySolo = this.job.stems.some((other) => this.lane(other).solo);
    return lane.mute || (anySolo && !lane.solo) ? 0 : lane.volume;
  }

  setCompare(original) {
    this.compare = original;
    this.#applyGains();
    this.dispatchEvent(new Event("state"));
  }

  setLevel(level) {
    this.level = level;
    this.#applyGains();
  }

  // Position

  get position() {
    if (!this.playing || !this.context) return this.cursor;
    const now = this.context.currentTime;
    const segment = this.scheduled.find((one) => now < one.time + one.count / this.rate) ?? this.scheduled.at(-1);
    if (!segment) return this.cursor;
    const done = Math.min(segment.count, Math.max(0, Math.round((now - segment.time) * this.rate)));
    return segment.frame + done;
  }

  /** Whether what sounds now is the original because its stems are still being made. */
  get standsIn() {
    if (!this.playing || !this.context) return false;
    const now = this.context.currentTime;
    const segment = this.scheduled.find((one) => now < one.time + one.count / this.rate);
    return Boolean(segment) && !segment.stems;
  }

  async play() {
    if (this.playing) return;
    this.#open();
    this.playing = true;
    if (this.cursor >= this.frames && this.job.frames) this.cursor = 0;
    this.timer = setInterval(() => this.#pump(), 60);
    this.dispatchEvent(new Event("state"));
    this.#pump();
    await this.context.resume();
  }

  pause() {
    if (!this.playing) return;
    const here = this.position;
    this.#stopSources(this.context.currentTime + LEAD_S, true);
    clearInterval(this.timer);
    this.playing = this.waiting = false;
    this.anchor = null;
    this.cursor = here;
    this.dispatchEvent(new Event("state"));
  }

  toggle() { return this.playing ? this.pause() : this.play(); }

  seek(frame) {
    const target = Math.round(Math.min(Math.max(0, frame), Math.max(0, this.frames - 1)));
    if (this.playing) {
      this.#stopSources(this.context.currentTime + LEAD_S, true);
      this.anchor = null;
    }
    this.cursor = target;
    if (this.playing) this.#pump();
    this.dispatchEvent(new Event("seek"));
  }

  /** Loops {start, end} in frames; null, or a stretch too short to be heard as one, ends the loop. */
  setLoop(loop, looping = true) {
    this.loop = loop && loop.end - loop.start >= SHORTEST_LOOP_S * this.rate ? loop : null;
    this.looping = looping && Boolean(this.loop);
    if (this.playing) this.#reschedule();
    this.dispatchEvent(new Event("loop"));
  }

  close() {
    this.pause();
    clearInterval(this.timer);
    this.context?.close();
    this.context = null;
    this.sound.close();
  }

  // The graph

  #open() {
    if (this.context) return;
    const context = this.context = this.makeContext(this.rate);
    this.out = context.createGain();
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.out.connect(this.analyser).connect(context.destination);
    this.mixBus = context.createGain();
    this.originalBus = context.createGain();
    this.standInBus = context.createGain();
    for (const bus of [this.mixBus, this.originalBus, this.standInBus]) bus.connect(this.out);
    this.#applyGains(true);
  }

  #node(stem) {
    if (!this.nodes.has(stem)) {
      this.nodes.set(stem, laneNodes(this.context, this.job.channels, this.mixBus));
      this.#applyGains(true);
    }
    return this.nodes.get(stem);
  }

  #applyGains(atOnce = false) {
    if (!this.context) return;
    const now = this.context.currentTime;
    const set = (param, value) => (atOnce ? param.setValueAtTime(value, now) : param.setTargetAtTime(value, now, RAMP_S));
    set(this.out.gain, this.level * this.level);
    set(this.mixBus.gain, this.compare ? 0 : 1);
    set(this.originalBus.gain, this.compare ? this.job.gain : 0);
    set(this.standInBus.gain, this.job.gain);
    for (const [stem, node] of this.nodes) {
      set(node.gain.gain, this.heard(stem));
      if (node.pan) set(node.pan.pan, this.lane(stem).pan);
    }
  }

  // Scheduling

  /** `time` moved up to the next sample of the audio clock. */
  #onSample(time) {
    const rate = this.context.sampleRate;
    return Math.ceil(time * rate) / rate;
  }

  #end() { return this.looping && this.cursor < this.loop.end ? this.loop.end : this.frames; }

  #pump() {
    if (!this.playing || !this.context) return;
    const now = this.context.currentTime;
    this.scheduled = this.scheduled.filter((one) => one.time + one.count / this.rate > now - 0.5);
    for (;;) {
      if (this.looping && this.cursor === this.loop.end) this.cursor = this.loop.start;
      if (this.cursor >= this.frames) {
        if (this.job.frames && this.#next(now) <= now) this.#finish();
        return;
      }
      const next = this.#next(now);
      if (next > now + AHEAD_S) break;
      const index = Math.floor(this.cursor / CHUNK);
      const chunk = this.sound.get(index);
      const hurry = this.anchor !== null && next < now + HURRY_S; // then the original must do for stems on their way
      if (!chunk || (!chunk.stems && (!chunk.original || (chunk.loading && !hurry)))) {
        if (this.anchor && next <= now) this.anchor = null; // ran dry
        this.#setWaiting(this.anchor === null);
        return;
      }
      if (!this.anchor || next < now) this.anchor = { time: this.#onSample(now + LEAD_S), frames: 0 };
      this.#schedule(index, chunk);
      this.#setWaiting(false);
    }
    this.sound.get(Math.floor(this.cursor / CHUNK));
  }

  #next(now) { return this.anchor ? this.anchor.time + this.anchor.frames / this.rate : now; }

  #setWaiting(waiting) {
    if (this.waiting === waiting) return;
    this.waiting = waiting;
    this.dispatchEvent(new Event("state"));
  }

  #schedule(index, chunk) {
    const offset = this.cursor - index * CHUNK;
    const length = (chunk.original ?? chunk.stems.values().next().value)[0].length;
    const count = Math.min(length, this.#end() - index * CHUNK) - offset;
    const time = this.anchor.time + this.anchor.frames / this.rate;
    const sources = [];
    const add = (planes, target) => {
      const source = this.context.createBufferSource();
      source.buffer = this.#buffer(planes, offset, count);
      source.connect(target);
      source.start(time);
      sources.push(source);
    };
    if (chunk.stems) for (const [stem, planes] of chunk.stems) add(planes, this.#node(stem).gain);
    if (chunk.original) add(chunk.original, chunk.stems ? this.originalBus : this.standInBus);
    this.scheduled.push({ time, frame: this.cursor, count, index, stems: Boolean(chunk.stems), sources });
    this.cursor += count;
    this.anchor.frames += count;
  }

  #buffer(planes, offset, count) {
    const buffer = this.context.createBuffer(planes.length, count, this.rate);
    planes.forEach((plane, channel) => buffer.copyToChannel(plane.subarray(offset, offset + count), channel));
    return buffer;
  }

  /** Ends what is scheduled at `time`, with a short fade if asked. */
  #stopSources(time, fade) {
    if (fade) {
      const gain = this.out.gain;
      const now = this.context.currentTime;
      gain.cancelScheduledValues(now);
      gain.setTargetAtTime(0, now, RAMP_S);
      gain.setTargetAtTime(this.level * this.level, time, RAMP_S);
    }
    for (const one of this.scheduled) for (const source of one.sources) source.stop(time);
    this.scheduled = [];
  }

  /** Schedules again from a moment on, without a gap: after a change of the loop, or when stems replace the original. */
  #reschedule() {
    if (!this.anchor) return;
    const at = this.#onSample(this.context.currentTime + LEAD_S);
    const segment = this.scheduled.find((one) => at < one.time + one.count / this.rate);
    if (!segment || segment.time > at) return;
    let frame = segment.frame + Math.round((at - segment.time) * this.rate);
    if (this.looping && frame >= this.loop.end) frame = this.loop.start; // its end was set here, or before
    const current = this.scheduled.filter((one) => one.time < at);
    this.#stopSources(at, false);
    this.scheduled = current.map((one) => ({ ...one, count: Math.min(one.count, Math.round((at - one.time) * this.rate)), sources: [] }));
    this.anchor = { time: at, frames: 0 };
    this.cursor = frame;
    this.#pump();
  }

  #arrived(index) {
    if (!this.playing) return;
    const standIn = this.scheduled.some((one) => one.index === index && !one.stems);
    if (standIn && this.sound.get(index)?.stems) this.#reschedule();
    this.#pump();
  }

  #finish() {
    clearInterval(this.timer);
    this.playing = this.waiting = false;
    this.anchor = null;
    this.scheduled = [];
    this.cursor = this.frames;
    this.dispatchEvent(new Event("state"));
  }
}
