// Practice tools: speed, pitch, click, count-in; and the display of tempo, key and chords.

import * as api from "./api.js";
import { PLAIN } from "./decks.js";
import { Beats } from "./metronome.js";
import { pretty, semitones, transposed } from "./music.js";
import { $, clamp, Emitter, setPressed, setText } from "./page.js";

const SMALL = "(max-width: 620px), (max-height: 520px)"; // the tools are then collapsed
const TEMPO_STEP = 0.05;
const [SLOWEST, FASTEST] = [0.5, 1.5];
const MAX_SEMITONES = 12;

/** The analysed beats with the user's corrections: `octave` doublings (or halvings, below 0), `first` downbeat. */
function corrected(analysis, { octave, first }) {
  let beats = analysis.beats;
  for (let i = 0; i < octave; i++) {
    beats = beats.flatMap((time, number) => (number + 1 < beats.length ? [time, (time + beats[number + 1]) / 2] : [time]));
  }
  const start = analysis.first_downbeat;
  if (octave < 0) beats = beats.filter((_, number) => (number - start) % 2 ** -octave === 0);
  const found = octave < 0 ? Math.floor(start / 2 ** -octave) : start * 2 ** octave;
  return { beats, beats_per_bar: analysis.beats_per_bar, first_downbeat: first ?? found };
}

/** Emits "change" when the user changes something. */
export class Practice extends Emitter {
  constructor(board) {
    super();
    this.board = board;
    this.player = null;
    this.analysis = null;
    this.beats = null;
    this.#buttons();
    const small = matchMedia(SMALL);
    const fold = () => { $("practice").open = !small.matches; };
    small.addEventListener("change", fold);
    fold();
  }

  /** Starts with a song's player and its saved state. */
  open(player, remembered) {
    this.player = player;
    this.analysis = this.beats = this.loadedId = null;
    this.corrections = { octave: 0, first: null, ...remembered?.hand };
    player.addEventListener("pace", () => this.#show());
    if (remembered?.pace) player.setPace(remembered.pace);
    if (remembered?.click) player.setClick(remembered.click);
    this.#show();
  }

  close() {
    this.player = this.analysis = this.beats = null;
    this.board.setMusic({ chords: [], beats: null, semitones: 0 });
  }

  /** The state to save. */
  get state() {
    const { pace, click, countIn, mix } = this.player;
    return { pace, click: { on: click, level: mix.clickLevel, countIn }, hand: this.corrections };
  }

  /** Updates the job, and loads its analysis once it is available. */
  async update(job) {
    if (!job.analysed) {
      if (this.analysis) this.#setAnalysis(null);
      this.loadedId = null;
      return;
    }
    if (this.loadedId === job.id) return;
    this.loadedId = job.id;
    const { player } = this;
    const analysis = await api.getJson(`api/jobs/${job.id}/analysis`).catch(() => null);
    if (this.player === player) this.#setAnalysis(analysis);
  }

  #setAnalysis(analysis) {
    this.analysis = analysis;
    const beats = analysis ? corrected(analysis, this.corrections) : null;
    this.beats = beats?.beats.length > 1 ? new Beats(beats) : null;
    this.player.setBeats(this.beats);
    this.#show();
  }

  #changeBeats(change) {
    Object.assign(this.corrections, change);
    this.#setAnalysis(this.analysis);
    this.emit("change");
  }

  // Commands

  setTempo(tempo) {
    this.player?.setPace({ tempo: clamp(Math.round(tempo / TEMPO_STEP) * TEMPO_STEP, SLOWEST, FASTEST) });
    this.emit("change");
  }

  setSemitones(count) {
    this.player?.setPace({ semitones: clamp(count, -MAX_SEMITONES, MAX_SEMITONES) });
    this.emit("change");
  }

  changeTempo(steps) { if (this.player) this.setTempo(this.player.pace.tempo + steps * TEMPO_STEP); }
  changeSemitones(steps) { if (this.player) this.setSemitones(this.player.pace.semitones + steps); }

  setClick(change) {
    if (!this.beats) return;
    this.player.setClick(change);
    this.emit("change");
  }

  toggleClick() { this.setClick({ on: !this.player?.click }); }
  toggleCountIn() { this.setClick({ countIn: !this.player?.countIn }); }

  #buttons() {
    const on = (id, kind, action) => $(id).addEventListener(kind, () => { if (this.player) action($(id)); });
    on("tempo", "input", ({ value }) => this.setTempo(value / 100));
    on("pitch", "input", ({ value }) => this.setSemitones(Number(value)));
    on("tempo", "dblclick", () => this.setTempo(1));
    on("pitch", "dblclick", () => this.setSemitones(0));
    on("pace-reset", "click", () => { this.player.setPace(PLAIN); this.emit("change"); });
    on("click", "click", () => this.toggleClick());
    on("count-in", "click", () => this.toggleCountIn());
    on("click-level", "input", ({ value }) => this.setClick({ level: value / 100 }));
    const scaleBeats = (by) => this.#changeBeats({ octave: clamp(this.corrections.octave + by, -2, 2), first: null });
    on("beats-half", "click", () => scaleBeats(-1));
    on("beats-double", "click", () => scaleBeats(1));
    on("bar-here", "click", () => this.#barHere());
  }

  /** Makes the beat nearest to the playhead a downbeat. */
  #barHere() {
    if (!this.beats) return;
    const { beats, player } = this;
    const seconds = player.position / player.rate;
    const after = Math.min(beats.after(seconds), beats.times.length - 1);
    const nearer = after > 0 && seconds - beats.times[after - 1] < beats.times[after] - seconds ? after - 1 : after;
    this.#changeBeats({ first: nearer % beats.bar });
  }

  // Display

  #show() {
    const { player, analysis } = this;
    const { tempo, semitones: up } = player.pace;
    const percent = Math.round(tempo * 100);
    $("tempo").value = percent;
    $("tempo-value").textContent = `${percent} %`;
    $("tempo").setAttribute("aria-valuetext", `${percent} percent`);
    $("pitch").value = up;
    $("pitch-value").textContent = up ? semitones(up).replace(/ .*/, "") : "0";
    $("pitch").setAttribute("aria-valuetext", up ? semitones(up) : "as recorded");
    $("pace-reset").hidden = tempo === 1 && up === 0;
    $("beat-tools").hidden = !this.beats;
    setPressed($("click"), player.click);
    setPressed($("count-in"), player.countIn);
    $("click-level").value = Math.round(player.mix.clickLevel * 100);
    $("facts").hidden = !analysis;
    const bpm = this.beats ? analysis.tempo_bpm * 2 ** this.corrections.octave * tempo : null;
    $("fact-tempo").textContent = bpm ? `${Math.round(bpm)} BPM` : "free";
    $("fact-key").textContent = analysis?.key ? pretty(transposed(analysis.key, up)) : "–";
    this.board.setMusic({ chords: analysis?.chords ?? [], beats: this.beats, semitones: up });
    this.showTime(player.position / player.rate);
  }

  /** Shows the chord at a time. */
  showTime(seconds) {
    const chord = this.analysis?.chords.find((one) => one.start_s <= seconds && seconds < one.end_s);
    setText($("fact-chord"), chord ? pretty(transposed(chord.name, this.player.pace.semitones)) : "–");
  }
}
