// Plays the lanes of a song in sync to the sample.
//
// Pieces of the song are given to a deck ahead of time, each beginning at the sample after the last one; a loop's seam is
// the end of a piece too. The straight deck plays them as they are, the other one slower, faster, higher or lower.

import { StraightDeck, StretchDeck } from "./decks.js";
import { Graph } from "./graph.js";
import { Metronome } from "./metronome.js";
import { CHUNK, ORIGINAL } from "./sound.js";

const AHEAD_S = 5; // scheduled ahead: enough for a page in the background, whose timers are slow
const HURRY_S = 0.5;
const SHORTEST_LOOP_S = 0.02; // each round is sources of its own: very short ones would be thousands

export const PLAIN = Object.freeze({ tempo: 1, semitones: 0 });

function openContext(rate) {
  try {
    return new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
  } catch {
    return new AudioContext(); // a rate the browser does not take: it resamples each chunk
  }
}

/** Dispatches "state", "seek", "mix", "loop", "pace", and "error" with words. */
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
    this.pace = { ...PLAIN };
    this.beats = null;
    this.click = false;
    this.clickLevel = 0.7;
    this.countIn = false;
    this.playing = false;
    this.waiting = false;
    this.graph = null;
    this.deck = null;
    this.scheduled = []; // {time, frame, count, index, stems, sources}, times of the deck
    this.cursor = 0; // the next frame to schedule
    this.anchor = null; // {time, frames}: the deck's time of the first scheduled frame, and frames scheduled since
    sound.addEventListener("chunk", (event) => this.#arrived(event.detail));
  }

  get job() { return this.sound.job; }
  get rate() { return this.job.rate_hz; }
  get frames() { return this.job.frames ?? this.job.takes[ORIGINAL] ?? 0; }
  get context() { return this.graph?.context ?? null; }
  get analyser() { return this.graph?.analyser ?? null; }
  get nodes() { return this.graph?.lanes ?? new Map(); }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  // The mix

  lane(stem) {
    if (!this.lanes.has(stem)) this.lanes.set(stem, { volume: 1, pan: 0, mute: false, solo: false });
    return this.lanes.get(stem);
  }

  setLane(stem, change) {
    Object.assign(this.lane(stem), change);
    this.#applyGains();
    this.#emit("mix");
  }

  resetLanes() {
    this.lanes.clear();
    this.#applyGains();
    this.#emit("mix");
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
    if (this.deck === this.stretched) this.#again();
    this.#emit("state");
  }

  setLevel(level) {
    this.level = level;
    this.#applyGains();
  }

  /** `on`, `level` of the click, `countIn`: whatever is given. */
  setClick({ on = this.click, level = this.clickLevel, countIn = this.countIn }) {
    if (on !== this.click) this.metronome?.reset();
    Object.assign(this, { click: on, clickLevel: level, countIn });
    this.#applyGains();
    this.#emit("pace");
  }

  /** Where the song's beats are (see metronome.js), or null. */
  setBeats(beats) {
    this.beats = beats;
    this.metronome?.reset();
  }

  #applyGains(atOnce = false) {
    const { graph } = this;
    graph?.apply({
      out: this.#outLevel,
      mix: this.compare ? 0 : 1,
      original: this.compare ? this.job.gain : 0,
      standIn: this.job.gain,
      click: this.clickLevel,
      lanes: (stem) => ({ gain: this.heard(stem), pan: this.lane(stem).pan }),
    }, atOnce);
  }

  get #outLevel() { return this.level * this.level; }

  // Position

  #segmentNow() {
    const now = this.deck.time;
    return this.scheduled.find((one) => now < one.time + one.count / this.rate);
  }

  get position() {
    if (!this.playing || !this.deck) return this.cursor;
    const segment = this.#segmentNow() ?? this.scheduled.at(-1);
    if (!segment) return this.cursor;
    const done = Math.min(segment.count, Math.max(0, Math.round((this.deck.time - segment.time) * this.rate)));
    return segment.frame + done;
  }

  /** Whether what sounds now is the original because its stems are still being made. */
  get standsIn() {
    if (!this.playing || !this.deck) return false;
    const segment = this.#segmentNow();
    return Boolean(segment) && !segment.stems;
  }

  /** Whether the clicks before the song are heard. */
  get countsIn() { return this.playing && Boolean(this.startsAt) && this.context.currentTime < this.startsAt; }

  async play() {
    if (this.playing) return;
    this.#open();
    this.playing = true;
    if (this.cursor >= this.frames && this.job.frames) this.cursor = 0;
    this.countsSoon = this.countIn && this.beats !== null;
    this.timer = setInterval(() => this.#pump(), 60);
    this.#emit("state");
    if (this.#plain) {
      this.deck = this.straight;
      this.#pump();
    } else {
      this.#chooseDeck();
    }
    await this.context.resume();
  }

  pause() {
    if (!this.playing) return;
    const here = this.position;
    this.#stop();
    clearInterval(this.timer);
    this.playing = this.waiting = false;
    this.cursor = here;
    this.#emit("state");
  }

  toggle() { return this.playing ? this.pause() : this.play(); }

  seek(frame) {
    const target = Math.round(Math.min(Math.max(0, frame), Math.max(0, this.frames - 1)));
    if (this.playing) this.#stop();
    this.cursor = target;
    if (this.playing) this.#pump();
    this.#emit("seek");
  }

  /** Goes on from where it is, with all that is scheduled made anew. */
  #again() {
    if (this.playing) this.seek(this.position);
  }

  /** Loops {start, end} in frames; null, or a stretch too short to be heard as one, ends the loop. */
  setLoop(loop, looping = true) {
    this.loop = loop && loop.end - loop.start >= SHORTEST_LOOP_S * this.rate ? loop : null;
    this.looping = looping && Boolean(this.loop);
    if (this.playing) this.#reschedule();
    this.#emit("loop");
  }

  close() {
    this.pause();
    clearInterval(this.timer);
    this.context?.close();
    this.graph = this.deck = this.stretched = null;
    this.sound.close();
  }

  // Speed and pitch

  /** Another `tempo` (1 is the song's) or pitch (`semitones`). */
  async setPace(change) {
    this.pace = { ...this.pace, ...change };
    this.#emit("pace");
    if (this.playing) await this.#chooseDeck();
  }

  get #plain() { return this.pace.tempo === 1 && this.pace.semitones === 0; }

  async #chooseDeck() {
    try {
      if (!this.#plain && !this.stretched) {
        this.loading ??= StretchDeck.load(this.graph, this.job.stems, this.rate);
        this.stretched = await this.loading;
        this.#applyGains(true);
      }
    } catch (error) {
      this.loading = null;
      this.pace = { ...PLAIN };
      this.#emit("pace");
      this.#emit("error", error.message);
    }
    if (!this.playing) return;
    const wanted = this.#plain ? this.straight : this.stretched;
    if (!wanted) return; // another call loads it
    if (wanted !== this.deck) {
      const here = this.position;
      this.#stop();
      this.deck = wanted;
      this.cursor = here;
      if (wanted === this.stretched) wanted.pace = { ...this.pace };
      this.#pump();
    } else if (wanted === this.stretched) {
      if (this.anchor) wanted.setPace(this.pace); else wanted.pace = { ...this.pace };
      this.metronome.reset();
      this.#pump();
    }
  }

  // The graph

  #open() {
    if (this.graph) return;
    this.graph = new Graph(this.makeContext(this.rate), this.job.channels);
    this.straight = this.deck = new StraightDeck(this.graph, this.rate);
    this.metronome = new Metronome(this.graph);
    this.#applyGains(true);
  }

  // Scheduling

  #end() { return this.looping && this.cursor < this.loop.end ? this.loop.end : this.frames; }

  #pump() {
    if (!this.playing || !this.deck || (!this.#plain && this.deck !== this.stretched && !this.scheduled.length)) return;
    const now = this.deck.time;
    this.scheduled = this.scheduled.filter((one) => one.time + one.count / this.rate > now - 0.5);
    while (this.#scheduleNext(now));
    if (this.click && this.beats) this.metronome.follow(this.beats, this.scheduled, this.deck, this.rate);
  }

  /** Schedules one more piece; false when there is none to be scheduled now. */
  #scheduleNext(now) {
    if (this.looping && this.cursor === this.loop.end) this.cursor = this.loop.start;
    if (this.cursor >= this.frames) {
      if (this.job.frames && this.#next(now) <= now) this.#finish();
      return false;
    }
    const next = this.#next(now);
    const index = Math.floor(this.cursor / CHUNK);
    const chunk = this.sound.get(index);
    if (next > now + AHEAD_S) return false;
    const hurry = this.anchor !== null && next < now + HURRY_S; // then the original must do for stems on their way
    if (!chunk || (!chunk.stems && (!chunk.original || (chunk.loading && !hurry)))) {
      if (this.anchor && next <= now) this.anchor = null; // ran dry
      this.#setWaiting(this.anchor === null);
      return false;
    }
    if (!this.anchor || next < now) this.anchor = { time: this.#begin(), frames: 0 };
    this.#schedule(index, chunk);
    this.#setWaiting(false);
    return true;
  }

  #next(now) { return this.anchor ? this.anchor.time + this.anchor.frames / this.rate : now; }

  /** Begins at the cursor, after a bar of clicks where one is wished. */
  #begin() {
    const counts = this.countsSoon;
    this.countsSoon = false;
    if (this.deck === this.stretched) this.deck.compare = this.compare;
    if (!counts) return this.deck.begin();
    const [seconds, { tempo }] = [this.cursor / this.rate, this.pace];
    const begun = this.deck.begin(this.metronome.leadIn(this.beats, seconds, tempo));
    this.startsAt = this.deck.audioTime(begun);
    this.metronome.countIn(this.beats, seconds, this.startsAt, tempo);
    return begun;
  }

  #setWaiting(waiting) {
    if (this.waiting === waiting) return;
    this.waiting = waiting;
    this.#emit("state");
  }

  #schedule(index, chunk) {
    const offset = this.cursor - index * CHUNK;
    const length = (chunk.original ?? chunk.stems.values().next().value)[0].length;
    const count = Math.min(length, this.#end() - index * CHUNK) - offset;
    const time = this.anchor.time + this.anchor.frames / this.rate;
    const known = this.graph.lanes.size;
    const sources = this.deck.add(chunk, offset, count, time);
    if (this.graph.lanes.size > known) this.#applyGains(true);
    this.scheduled.push({ time, frame: this.cursor, count, index, stems: Boolean(chunk.stems), sources });
    this.cursor += count;
    this.anchor.frames += count;
  }

  /** Ends all that is scheduled, with a short fade. */
  #stop() {
    const time = this.deck.stop(this.scheduled);
    this.graph.dip(this.#outLevel, time);
    this.metronome.reset();
    this.startsAt = null;
    this.scheduled = [];
    this.anchor = null;
  }

  /** Schedules again from a moment on, without a gap: after a change of the loop, or when stems replace the original. */
  #reschedule() {
    if (!this.anchor) return;
    if (this.deck === this.stretched) { this.#again(); return; }
    const at = this.deck.begin();
    const segment = this.scheduled.find((one) => at < one.time + one.count / this.rate);
    if (!segment || segment.time > at) return;
    let frame = segment.frame + Math.round((at - segment.time) * this.rate);
    if (this.looping && frame >= this.loop.end) frame = this.loop.start; // its end was set here, or before
    const current = this.scheduled.filter((one) => one.time < at);
    this.deck.stop(this.scheduled, at);
    this.metronome.reset();
    this.scheduled = current.map((one) => ({ ...one, count: Math.min(one.count, Math.round((at - one.time) * this.rate)), sources: [] }));
    this.anchor = { time: at, frames: 0 };
    this.cursor = frame;
    this.#pump();
  }

  #arrived(index) {
    if (!this.playing) return;
    const standIn = this.scheduled.some((one) => one.index === index && !one.stems);
    if (standIn && this.sound.get(index)?.stems && !this.countsIn) this.#reschedule();
    this.#pump();
  }

  #finish() {
    clearInterval(this.timer);
    this.playing = this.waiting = false;
    this.anchor = null;
    this.scheduled = [];
    this.cursor = this.frames;
    if (this.deck === this.stretched) this.deck.stop();
    this.#emit("state");
  }
}
