// To practise with: speed, pitch, click, count-in, and what is known of tempo, key and chords.

import * as api from "./api.js";
import { Beats } from "./metronome.js";
import { pretty, semitones, transposed } from "./music.js";
import { PLAIN } from "./player.js";

const $ = (id) => document.getElementById(id);
const SMALL = "(max-width: 620px), (max-height: 520px)"; // the tools are then behind a line of their own
const TEMPO_STEP = 0.05;
const [SLOWEST, FASTEST] = [0.5, 1.5];
const MOST_SEMITONES = 12;

/** Beats as they were found, and changed by hand: `octave` doublings (or halvings, below 0), bars from `first` on. */
function changed(analysis, { octave, first }) {
  let beats = analysis.beats;
  for (let i = 0; i < octave; i++) {
    beats = beats.flatMap((time, number) => (number + 1 < beats.length ? [time, (time + beats[number + 1]) / 2] : [time]));
  }
  const start = analysis.first_downbeat;
  if (octave < 0) beats = beats.filter((_, number) => (number - start) % 2 ** -octave === 0);
  const found = octave < 0 ? Math.floor(start / 2 ** -octave) : start * 2 ** octave;
  return { beats, beats_per_bar: analysis.beats_per_bar, first_downbeat: first ?? found };
}

/** Dispatches "change" when something was changed by hand. */
export class Practice extends EventTarget {
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

  /** Starts with a song's player, as `remembered`. */
  open(player, remembered) {
    this.player = player;
    this.analysis = this.beats = this.asked = null;
    this.hand = { octave: 0, first: null, ...remembered?.hand };
    player.addEventListener("pace", () => this.#show());
    if (remembered?.pace) player.setPace(remembered.pace);
    if (remembered?.click) player.setClick(remembered.click);
    this.#show();
  }

  close() {
    this.player = this.analysis = this.beats = null;
    this.board.setMusic({ chords: [], beats: null, semitones: 0 });
  }

  /** What is to be remembered of the song. */
  get state() {
    const { pace, click, clickLevel, countIn } = this.player;
    return { pace, click: { on: click, level: clickLevel, countIn }, hand: this.hand };
  }

  /** Takes in the job's newest state: fetches its analysis once there is one. */
  async update(job) {
    if (!job.analysed) { if (this.analysis) this.#take(null); this.asked = null; return; }
    if (this.asked === job.id) return;
    this.asked = job.id;
    const { player } = this;
    const analysis = await api.getJson(`api/jobs/${job.id}/analysis`).catch(() => null);
    if (this.player === player) this.#take(analysis);
  }

  #take(analysis) {
    this.analysis = analysis;
    const known = analysis ? changed(analysis, this.hand) : null;
    this.beats = known?.beats.length > 1 ? new Beats(known) : null;
    this.player.setBeats(this.beats);
    this.#show();
  }

  #changeBeats(change) {
    Object.assign(this.hand, change);
    this.#take(this.analysis);
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event("change")); }

  // What can be done

  setTempo(tempo) {
    this.player?.setPace({ tempo: Math.min(Math.max(Math.round(tempo / TEMPO_STEP) * TEMPO_STEP, SLOWEST), FASTEST) });
    this.#changed();
  }

  setSemitones(count) {
    this.player?.setPace({ semitones: Math.min(Math.max(count, -MOST_SEMITONES), MOST_SEMITONES) });
    this.#changed();
  }

  changeTempo(steps) { if (this.player) this.setTempo(this.player.pace.tempo + steps * TEMPO_STEP); }
  changeSemitones(steps) { if (this.player) this.setSemitones(this.player.pace.semitones + steps); }

  setClick(change) {
    if (!this.beats) return;
    this.player.setClick(change);
    this.#changed();
  }

  toggleClick() { this.setClick({ on: !this.player?.click }); }
  toggleCountIn() { this.setClick({ countIn: !this.player?.countIn }); }

  #buttons() {
    const on = (id, kind, action) => $(id).addEventListener(kind, () => { if (this.player) action($(id)); });
    on("tempo", "input", ({ value }) => this.setTempo(value / 100));
    on("pitch", "input", ({ value }) => this.setSemitones(Number(value)));
    on("tempo", "dblclick", () => this.setTempo(1));
    on("pitch", "dblclick", () => this.setSemitones(0));
    on("pace-reset", "click", () => { this.player.setPace(PLAIN); this.#changed(); });
    on("click", "click", () => this.toggleClick());
    on("count-in", "click", () => this.toggleCountIn());
    on("click-level", "input", ({ value }) => this.setClick({ level: value / 100 }));
    on("beats-half", "click", () => this.#changeBeats({ octave: Math.max(-2, this.hand.octave - 1), first: null }));
    on("beats-double", "click", () => this.#changeBeats({ octave: Math.min(2, this.hand.octave + 1), first: null }));
    on("bar-here", "click", () => this.#barHere());
  }

  /** The bar begins at the beat nearest to the playhead. */
  #barHere() {
    if (!this.beats) return;
    const { beats, player } = this;
    const seconds = player.position / player.rate;
    const after = Math.min(beats.after(seconds), beats.times.length - 1);
    const nearer = after > 0 && seconds - beats.times[after - 1] < beats.times[after] - seconds ? after - 1 : after;
    this.#changeBeats({ first: nearer % beats.bar });
  }

  // What is shown

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
    $("click").setAttribute("aria-pressed", String(player.click));
    $("count-in").setAttribute("aria-pressed", String(player.countIn));
    $("click-level").value = Math.round(player.clickLevel * 100);
    $("facts").hidden = !analysis;
    const bpm = this.beats ? analysis.tempo_bpm * 2 ** this.hand.octave * tempo : null;
    $("fact-tempo").textContent = bpm ? `${Math.round(bpm)} BPM` : "free";
    $("fact-key").textContent = analysis?.key ? pretty(transposed(analysis.key, up)) : "–";
    this.board.setMusic({ chords: analysis?.chords ?? [], beats: this.beats, semitones: up });
    this.showTime(player.position / player.rate);
  }

  /** Shows the chord that sounds at a moment. */
  showTime(seconds) {
    const chord = this.analysis?.chords.find((one) => one.start_s <= seconds && seconds < one.end_s);
    const text = chord ? pretty(transposed(chord.name, this.player.pace.semitones)) : "–";
    if ($("fact-chord").textContent !== text) $("fact-chord").textContent = text;
  }
}
