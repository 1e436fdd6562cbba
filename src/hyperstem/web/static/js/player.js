// Plays all lanes of a song in sample-accurate sync.
//
// The player schedules segments of the song ahead of time, each at the sample after the previous one; a loop ends a
// segment too. One deck plays them unchanged, the other with another speed or pitch.

import { PLAIN, StraightDeck, StretchDeck } from "./decks.js";
import { Graph, openContext } from "./graph.js";
import { Metronome } from "./metronome.js";
import { Mix } from "./mix.js";
import { clamp, Emitter } from "./page.js";
import { CHUNK, ORIGINAL } from "./sound.js";

const AHEAD_S = 5; // scheduled ahead: enough for a page in the background, whose timers are slow
const HURRY_S = 0.5;
const MIN_LOOP_S = 0.02; // each repetition needs its own source nodes, so a shorter loop would need thousands

/** Emits "state", "seek", "loop", "pace", and "error" (message). */
export class Player extends Emitter {
  /** `makeContext(rate)` creates the audio context. */
  constructor(sound, makeContext = openContext) {
    super();
    this.sound = sound;
    this.makeContext = makeContext;
    this.mix = new Mix(sound);
    this.loop = null; // {start, end} in frames
    this.pace = { ...PLAIN };
    this.looping = this.click = this.countIn = this.playing = this.waiting = false;
    this.beats = this.graph = this.deck = null;
    this.scheduled = []; // {time, frame, count, index, stems, sources}, in the deck's time
    this.cursor = 0; // the next frame to schedule
    this.anchor = null; // {time, frames}: the deck's time of the first scheduled frame, and frames scheduled since
    this.mix.on("change", () => this.mix.apply(this.graph));
    sound.addEventListener("chunk", (event) => this.#chunkLoaded(event.detail));
  }

  get job() { return this.sound.job; }
  get rate() { return this.job.rate_hz; }
  get frames() { return this.job.frames ?? this.job.takes[ORIGINAL] ?? 0; }
  get context() { return this.graph?.context ?? null; }
  get analyser() { return this.graph?.analyser ?? null; }
  get nodes() { return this.graph?.lanes ?? new Map(); }

  /** Plays the original instead of the mix, or the mix again. */
  setOriginal(original) {
    this.mix.set({ original });
    if (this.deck === this.stretched) this.#restart();
    this.emit("state");
  }

  /** Changes any of: whether the click is `on`, its `level`, `countIn`. */
  setClick({ on = this.click, level = this.mix.clickLevel, countIn = this.countIn }) {
    if (on !== this.click) this.metronome?.reset();
    Object.assign(this, { click: on, countIn });
    this.mix.set({ clickLevel: level });
    this.emit("pace");
  }

  /** Sets the song's beats (see metronome.js), or null. */
  setBeats(beats) {
    this.beats = beats;
    this.metronome?.reset();
  }

  // Position

  #currentSegment() {
    const now = this.deck.time;
    return this.scheduled.find((one) => now < one.time + one.count / this.rate);
  }

  get position() {
    if (!this.playing || !this.deck) return this.cursor;
    const segment = this.#currentSegment() ?? this.scheduled.at(-1);
    if (!segment) return this.cursor;
    return segment.frame + clamp(Math.round((this.deck.time - segment.time) * this.rate), 0, segment.count);
  }

  /** Whether the original plays because the stems of this part are not ready. */
  get usesFallback() {
    if (!this.playing || !this.deck) return false;
    const segment = this.#currentSegment();
    return Boolean(segment) && !segment.stems;
  }

  /** Whether the count-in is playing. */
  get countsIn() { return this.playing && Boolean(this.startsAt) && this.context.currentTime < this.startsAt; }

  async play() {
    if (this.playing) return;
    this.#open();
    this.playing = true;
    if (this.cursor >= this.frames && this.job.frames) this.cursor = 0;
    this.countInNext = this.countIn && this.beats !== null;
    this.timer = setInterval(() => this.#scheduleAhead(), 60);
    this.emit("state");
    if (this.#plain) {
      this.deck = this.straight;
      this.#scheduleAhead();
    } else {
      this.#chooseDeck();
    }
    await this.context.resume();
  }

  pause() { if (this.playing) this.#halt(this.position); }

  #halt(frame) {
    this.#stop();
    clearInterval(this.timer);
    this.playing = this.waiting = false;
    this.cursor = frame;
    this.emit("state");
  }

  toggle() { return this.playing ? this.pause() : this.play(); }

  seek(frame) {
    const target = Math.round(clamp(frame, 0, Math.max(0, this.frames - 1)));
    if (this.playing) this.#stop();
    this.cursor = target;
    if (this.playing) this.#scheduleAhead();
    this.emit("seek");
  }

  /** Continues from the current position with a new schedule. */
  #restart() {
    if (this.playing) this.seek(this.position);
  }

  /** Loops {start, end} in frames; null, or a loop that is too short, ends the loop. */
  setLoop(loop, looping = true) {
    this.loop = loop && loop.end - loop.start >= MIN_LOOP_S * this.rate ? loop : null;
    this.looping = looping && Boolean(this.loop);
    if (this.playing) this.#reschedule();
    this.emit("loop");
  }

  close() {
    this.pause();
    clearInterval(this.timer);
    this.context?.close();
    this.graph = this.deck = this.stretched = null;
    this.sound.close();
  }

  // Speed and pitch

  /** Changes the `tempo` (1 is the song's) or the pitch (`semitones`). */
  async setPace(change) {
    this.pace = { ...this.pace, ...change };
    this.emit("pace");
    if (this.playing) await this.#chooseDeck();
  }

  get #plain() { return this.pace.tempo === 1 && this.pace.semitones === 0; }

  async #chooseDeck() {
    try {
      if (!this.#plain && !this.stretched) {
        this.loading ??= StretchDeck.load(this.graph, this.job.stems, this.rate);
        this.stretched = await this.loading;
        this.mix.apply(this.graph, true);
      }
    } catch (error) {
      this.loading = null;
      this.pace = { ...PLAIN };
      this.emit("pace");
      this.emit("error", error.message);
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
      this.#scheduleAhead();
    } else if (wanted === this.stretched) {
      if (this.anchor) wanted.setPace(this.pace); else wanted.pace = { ...this.pace };
      this.metronome.reset();
      this.#scheduleAhead();
    }
  }

  #open() {
    if (this.graph) return;
    this.graph = new Graph(this.makeContext(this.rate), this.job.channels);
    this.straight = this.deck = new StraightDeck(this.graph, this.rate);
    this.metronome = new Metronome(this.graph);
    this.mix.apply(this.graph, true);
  }

  // Scheduling

  #end() { return this.looping && this.cursor < this.loop.end ? this.loop.end : this.frames; }

  #scheduleAhead() {
    if (!this.playing || !this.deck || (!this.#plain && this.deck !== this.stretched && !this.scheduled.length)) return;
    const now = this.deck.time;
    this.scheduled = this.scheduled.filter((one) => one.time + one.count / this.rate > now - 0.5);
    while (this.#scheduleNext(now));
    if (this.click && this.beats) this.metronome.follow(this.beats, this.scheduled, this.deck, this.rate);
  }

  /** Schedules the next segment; false if none can be scheduled now. */
  #scheduleNext(now) {
    if (this.looping && this.cursor === this.loop.end) this.cursor = this.loop.start;
    if (this.cursor >= this.frames) {
      if (this.job.frames && this.#nextTime(now) <= now) this.#halt(this.frames);
      return false;
    }
    const next = this.#nextTime(now);
    const index = Math.floor(this.cursor / CHUNK);
    const chunk = this.sound.get(index);
    if (next > now + AHEAD_S) return false;
    const hurry = this.anchor !== null && next < now + HURRY_S; // then the original replaces stems that are still loading
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

  #nextTime(now) { return this.anchor ? this.anchor.time + this.anchor.frames / this.rate : now; }

  /** Starts the deck at the cursor, after a bar of clicks if requested. */
  #begin() {
    const countIn = this.countInNext;
    this.countInNext = false;
    if (this.deck === this.stretched) this.deck.original = this.mix.original;
    if (!countIn) return this.deck.begin();
    const [seconds, { tempo }] = [this.cursor / this.rate, this.pace];
    const start = this.deck.begin(this.metronome.leadIn(this.beats, seconds, tempo));
    this.startsAt = this.deck.audioTime(start);
    this.metronome.countIn(this.beats, seconds, this.startsAt, tempo);
    return start;
  }

  #setWaiting(waiting) {
    if (this.waiting === waiting) return;
    this.waiting = waiting;
    this.emit("state");
  }

  #schedule(index, chunk) {
    const offset = this.cursor - index * CHUNK;
    const length = (chunk.original ?? chunk.stems.values().next().value)[0].length;
    const count = Math.min(length, this.#end() - index * CHUNK) - offset;
    const time = this.#nextTime();
    const known = this.graph.lanes.size;
    const sources = this.deck.add(chunk, offset, count, time);
    if (this.graph.lanes.size > known) this.mix.apply(this.graph, true);
    this.scheduled.push({ time, frame: this.cursor, count, index, stems: Boolean(chunk.stems), sources });
    this.cursor += count;
    this.anchor.frames += count;
  }

  /** Stops all scheduled segments with a short fade. */
  #stop() {
    const time = this.deck.stop(this.scheduled);
    this.graph.dip(this.mix.outputGain, time);
    this.metronome.reset();
    this.startsAt = null;
    this.scheduled = [];
    this.anchor = null;
  }

  /** Reschedules without a gap: after a change of the loop, or when stems replace the original. */
  #reschedule() {
    if (!this.anchor) return;
    if (this.deck === this.stretched) { this.#restart(); return; }
    const at = this.deck.begin();
    const segment = this.scheduled.find((one) => at < one.time + one.count / this.rate);
    if (!segment || segment.time > at) return;
    let frame = segment.frame + Math.round((at - segment.time) * this.rate);
    if (this.looping && frame >= this.loop.end) frame = this.loop.start; // the loop now ends before this frame
    const current = this.scheduled.filter((one) => one.time < at);
    this.deck.stop(this.scheduled, at);
    this.metronome.reset();
    this.scheduled = current.map((one) => ({ ...one, count: Math.min(one.count, Math.round((at - one.time) * this.rate)), sources: [] }));
    this.anchor = { time: at, frames: 0 };
    this.cursor = frame;
    this.#scheduleAhead();
  }

  #chunkLoaded(index) {
    if (!this.playing) return;
    const replaceable = this.scheduled.some((one) => one.index === index && !one.stems);
    if (replaceable && this.sound.get(index)?.stems && !this.countsIn) this.#reschedule();
    this.#scheduleAhead();
  }
}
