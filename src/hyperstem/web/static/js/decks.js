// Two ways to play segments of the song: unchanged, or through a time stretcher.
//
// Each deck has its own clock, `time`, in seconds of song; that of the straight deck is the audio clock.

import SignalsmithStretch from "../vendor/signalsmith-stretch/SignalsmithStretch.mjs";
import { ORIGINAL } from "./sound.js";

export const PLAIN = Object.freeze({ tempo: 1, semitones: 0 }); // the song's own speed and pitch

const LEAD_S = 0.04;
const STRETCH_LEAD_S = 0.2; // the stretcher looks that far ahead
const CHANGE_LEAD_S = 0.12;
const KEEP_S = 1;
const MAX_CHANNELS = 32; // of one node

SignalsmithStretch.moduleUrl = new URL("../vendor/signalsmith-stretch/SignalsmithStretch.mjs", import.meta.url).href;

/** Plays each segment of each lane as an AudioBufferSourceNode; all lanes start at the same sample of the audio clock. */
export class StraightDeck {
  constructor(graph, rate) {
    this.graph = graph;
    this.context = graph.context;
    this.rate = rate;
  }

  get time() { return this.context.currentTime; }
  audioTime(time) { return time; }

  /** The start time, at a whole sample, of the segment that is added next, after `delay` seconds. */
  begin(delay = 0) {
    const rate = this.context.sampleRate;
    return Math.ceil((this.context.currentTime + LEAD_S + delay) * rate) / rate;
  }

  /** Plays `count` frames of `chunk` from `offset` on at `time`; returns the source nodes. */
  add(chunk, offset, count, time) {
    const sources = [];
    const play = (planes, target) => {
      const source = this.context.createBufferSource();
      source.buffer = this.#buffer(planes, offset, count);
      source.connect(target);
      source.start(time);
      sources.push(source);
    };
    if (chunk.stems) for (const [stem, planes] of chunk.stems) play(planes, this.graph.lane(stem).gain);
    if (chunk.original) play(chunk.original, chunk.stems ? this.graph.original : this.graph.fallback);
    return sources;
  }

  #buffer(planes, offset, count) {
    const buffer = this.context.createBuffer(planes.length, count, this.rate);
    planes.forEach((plane, channel) => buffer.copyToChannel(plane.subarray(offset, offset + count), channel));
    return buffer;
  }

  /** Stops the segments at `time`, and returns it. */
  stop(segments, time = this.context.currentTime + LEAD_S) {
    for (const one of segments) for (const source of one.sources) source.stop(time);
    return time;
  }
}

/** Plays all lanes at another speed or pitch, with one stretcher for the channels of all lanes, so that they stay in sync. */
export class StretchDeck {
  /** Loads the stretcher; throws an Error if the page or the song does not support it. */
  static async load(graph, stems, rate) {
    const width = Math.max(2, graph.channels);
    const channels = width * (stems.length + 1);
    if (!graph.context.audioWorklet) throw new Error("Speed and pitch need a secure page: https, or the studio's own computer.");
    if (channels > MAX_CHANNELS) throw new Error("This song has too many channels for another speed or pitch.");
    const node = await SignalsmithStretch(graph.context, { numberOfInputs: 1, numberOfOutputs: 1, outputChannelCount: [channels] });
    return new StretchDeck(graph, node, stems, width, rate);
  }

  constructor(graph, node, stems, width, rate) {
    this.graph = graph;
    this.context = graph.context;
    this.node = node;
    this.lanes = [...stems, ORIGINAL];
    this.width = width;
    this.ratio = rate / graph.context.sampleRate; // not 1 only where the browser refused the song's rate
    this.pace = { ...PLAIN };
    this.original = false; // whether the original plays instead of the mix
    this.map = [{ output: 0, input: 0, tempo: 1 }]; // from the audio clock to the deck's
    this.#connect();
  }

  #connect() {
    const { context, width } = this;
    const splitter = context.createChannelSplitter(this.lanes.length * width);
    this.node.connect(splitter);
    this.lanes.forEach((lane, number) => {
      const merger = context.createChannelMerger(width);
      for (let channel = 0; channel < width; channel++) splitter.connect(merger, number * width + channel, channel);
      merger.connect(lane === ORIGINAL ? this.graph.fallback : this.graph.lane(lane).gain);
    });
  }

  #at(audioTime) {
    const part = this.map.findLast((one) => one.output <= audioTime) ?? this.map[0];
    return part.input + (audioTime - part.output) * part.tempo;
  }

  get time() { return this.#at(this.context.currentTime); }

  audioTime(time) {
    const part = this.map.findLast((one) => one.input <= time) ?? this.map[0];
    return part.output + (time - part.input) / part.tempo;
  }

  /** Empties the deck; the segment that is added next starts at its time 0, after `delay` seconds. */
  begin(delay = 0) {
    const output = this.context.currentTime + STRETCH_LEAD_S + delay;
    this.node.dropBuffers();
    this.map = [{ output, input: 0, tempo: this.pace.tempo }];
    this.#schedule(output, 0);
    return 0;
  }

  #schedule(output, input) {
    const { tempo, semitones } = this.pace;
    this.node.schedule({
      active: true, output, input: input * this.ratio, rate: tempo * this.ratio, semitones: semitones + 12 * Math.log2(this.ratio),
    });
  }

  /** Changes speed (1 is the song's) and pitch (semitones) soon. */
  setPace(pace) {
    this.pace = { ...pace };
    const output = this.context.currentTime + CHANGE_LEAD_S;
    const input = this.#at(output);
    this.map = [...this.map.filter((one) => one.output < output).slice(-1), { output, input, tempo: pace.tempo }];
    this.#schedule(output, input);
  }

  add(chunk, offset, count) {
    const wanted = (lane) => {
      if (lane === ORIGINAL) return this.original || !chunk.stems ? chunk.original : null;
      return this.original ? null : chunk.stems?.get(lane);
    };
    const channels = this.lanes.flatMap((lane) => {
      const planes = wanted(lane);
      return Array.from({ length: this.width }, (_, i) => (planes ? planes[i].slice(offset, offset + count) : new Float32Array(count)));
    });
    this.node.addBuffers(channels, channels.map((plane) => plane.buffer)); // transferred, not copied
    this.node.dropBuffers(Math.max(0, this.time - KEEP_S) * this.ratio);
    return [];
  }

  stop() {
    const now = this.context.currentTime;
    this.node.schedule({ active: false, output: now });
    this.node.dropBuffers();
    return now + LEAD_S;
  }
}
