// Two ways to play the lanes: straight on the audio clock, or through a time stretcher.
//
// A deck has a clock of its own, `time`, in seconds of song: of the straight one it is the audio clock.

import SignalsmithStretch from "../vendor/signalsmith-stretch/SignalsmithStretch.mjs";
import { ORIGINAL } from "./sound.js";

const LEAD_S = 0.04;
const STRETCH_LEAD_S = 0.2; // the stretcher looks that far ahead
const CHANGE_LEAD_S = 0.12;
const KEEP_S = 1;
const MOST_CHANNELS = 32; // of one node

SignalsmithStretch.moduleUrl = new URL("../vendor/signalsmith-stretch/SignalsmithStretch.mjs", import.meta.url).href;

/** Each piece of each lane is an AudioBufferSourceNode; all lanes of a piece start at one sample of the audio clock. */
export class StraightDeck {
  constructor(graph, rate) {
    this.graph = graph;
    this.context = graph.context;
    this.rate = rate;
  }

  get time() { return this.context.currentTime; }
  audioTime(time) { return time; }

  /** `time` moved up to the next sample of the audio clock. */
  #onSample(time) {
    const rate = this.context.sampleRate;
    return Math.ceil(time * rate) / rate;
  }

  /** The time at which what is added next begins, `delay` seconds later than at once. */
  begin(delay = 0) { return this.#onSample(this.context.currentTime + LEAD_S + delay); }

  /** Plays `count` frames of `chunk` from `offset` on at `time`; gives the sources, to be stopped. */
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
    if (chunk.original) play(chunk.original, chunk.stems ? this.graph.original : this.graph.standIn);
    return sources;
  }

  #buffer(planes, offset, count) {
    const buffer = this.context.createBuffer(planes.length, count, this.rate);
    planes.forEach((plane, channel) => buffer.copyToChannel(plane.subarray(offset, offset + count), channel));
    return buffer;
  }

  /** Ends what was added at `time`; gives the moment of the audio clock at which it ends. */
  stop(segments, time = this.context.currentTime + LEAD_S) {
    for (const one of segments) for (const source of one.sources) source.stop(time);
    return time;
  }
}

/** All lanes at another speed or pitch: one stretcher for the channels of all lanes, so that they stay together. */
export class StretchDeck {
  /** Loads the stretcher. Throws an Error with words where there can be none. */
  static async load(graph, stems, rate) {
    const width = Math.max(2, graph.channels);
    const channels = width * (stems.length + 1);
    if (!graph.context.audioWorklet) throw new Error("Speed and pitch need a secure page: https, or the studio's own computer.");
    if (channels > MOST_CHANNELS) throw new Error("This song has too many channels for another speed or pitch.");
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
    this.pace = { tempo: 1, semitones: 0 };
    this.compare = false;
    this.map = [{ output: 0, input: 0, tempo: 1 }]; // from audio time to the deck's time
    this.#connect();
  }

  #connect() {
    const { context, width } = this;
    const splitter = context.createChannelSplitter(this.lanes.length * width);
    this.node.connect(splitter);
    this.lanes.forEach((lane, number) => {
      const merger = context.createChannelMerger(width);
      for (let channel = 0; channel < width; channel++) splitter.connect(merger, number * width + channel, channel);
      merger.connect(lane === ORIGINAL ? this.graph.standIn : this.graph.lane(lane).gain);
    });
  }

  #at(audioTime) {
    const piece = this.map.findLast((one) => one.output <= audioTime) ?? this.map[0];
    return piece.input + (audioTime - piece.output) * piece.tempo;
  }

  get time() { return this.#at(this.context.currentTime); }

  audioTime(time) {
    const piece = this.map.findLast((one) => one.input <= time) ?? this.map[0];
    return piece.output + (time - piece.input) / piece.tempo;
  }

  /** Empties the deck and starts it anew, its time 0 at what is added next. */
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

  /** Another speed (1 is the song's) or pitch (semitones) from a moment on; gives it, of the audio clock. */
  setPace(pace) {
    this.pace = { ...pace };
    const output = this.context.currentTime + CHANGE_LEAD_S;
    const input = this.#at(output);
    this.map = [...this.map.filter((one) => one.output < output).slice(-1), { output, input, tempo: pace.tempo }];
    this.#schedule(output, input);
    return output;
  }

  add(chunk, offset, count) {
    const wanted = (lane) => {
      if (lane === ORIGINAL) return this.compare || !chunk.stems ? chunk.original : null;
      return this.compare ? null : chunk.stems?.get(lane);
    };
    const channels = this.lanes.flatMap((lane) => {
      const planes = wanted(lane);
      return Array.from({ length: this.width }, (_, i) => (planes ? planes[i].slice(offset, offset + count) : new Float32Array(count)));
    });
    this.node.addBuffers(channels, channels.map((plane) => plane.buffer)); // handed over, not copied
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
