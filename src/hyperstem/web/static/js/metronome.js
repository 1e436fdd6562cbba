// Clicks on the beats of the song, and the count-in.

const AHEAD_S = 1.2; // timers of a page in the background run once a second
const CLICK_S = 0.04;
const TOLERANCE = 0.15; // of a beat: the count-in leads to a beat that is this little past
const PITCH_HZ = { first: 1600, other: 1060 };

function click(context, hertz) {
  const rate = context.sampleRate;
  const buffer = context.createBuffer(1, Math.round(CLICK_S * rate), rate);
  const samples = buffer.getChannelData(0);
  for (let i = 0; i < samples.length; i++) {
    samples[i] = 0.7 * Math.sin((2 * Math.PI * hertz * i) / rate) * Math.exp(-i / rate / 0.008) * Math.min(1, i / 16);
  }
  return buffer;
}

/** Beat times in seconds; every `bar`-th from number `first` on is a downbeat. */
export class Beats {
  constructor({ beats, beats_per_bar: bar, first_downbeat: first }) {
    this.times = beats;
    this.bar = bar;
    this.first = first;
  }

  /** Number of the first beat at or after a time. */
  after(seconds) {
    let [low, high] = [0, this.times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < seconds) low = middle + 1; else high = middle;
    }
    return low;
  }

  isDownbeat(number) { return (((number - this.first) % this.bar) + this.bar) % this.bar === 0; }

  /** Seconds between beats near a time. */
  period(seconds) {
    const number = Math.min(Math.max(1, this.after(seconds)), this.times.length - 1);
    return this.times[number] - this.times[number - 1];
  }
}

export class Metronome {
  constructor(graph) {
    this.graph = graph;
    this.sounds = { first: click(graph.context, PITCH_HZ.first), other: click(graph.context, PITCH_HZ.other) };
    this.playing = []; // {time, source}
    this.reset();
  }

  /** Cancels all scheduled clicks. */
  reset() {
    const now = this.graph.context.currentTime;
    for (const one of this.playing) if (one.time > now) one.source.stop(now);
    this.playing = [];
    this.until = now;
  }

  /** Plays one click at a time of the audio clock. */
  play(time, first) {
    const source = this.graph.context.createBufferSource();
    source.buffer = first ? this.sounds.first : this.sounds.other;
    source.connect(this.graph.click);
    source.start(time);
    this.playing.push({ time, source });
  }

  /** Schedules the clicks of the segments that play soon. */
  follow(beats, segments, deck, rate) {
    const now = this.graph.context.currentTime;
    const until = now + AHEAD_S;
    this.playing = this.playing.filter((one) => one.time > now - CLICK_S);
    for (const one of segments) {
      const [start, end] = [one.frame / rate, (one.frame + one.count) / rate];
      for (let number = beats.after(start); beats.times[number] < end; number++) {
        const time = deck.audioTime(one.time + beats.times[number] - start);
        if (time >= this.until && time < until) this.play(time, beats.isDownbeat(number));
      }
    }
    this.until = Math.max(this.until, until);
  }

  /** Seconds of song from a time to the beat after the count-in: the next one, or one that is just past. */
  #wait(beats, seconds) {
    const number = beats.after(seconds - beats.period(seconds) * TOLERANCE);
    return number < beats.times.length ? beats.times[number] - seconds : 0;
  }

  /** Duration of a count-in of one bar before `seconds` at `tempo`, aligned with the beats that follow. */
  leadIn(beats, seconds, tempo) {
    return Math.max(0, beats.bar * beats.period(seconds) - this.#wait(beats, seconds)) / tempo;
  }

  /** Schedules the count-in before the song starts at `start` (audio clock). */
  countIn(beats, seconds, start, tempo) {
    const first = start + this.#wait(beats, seconds) / tempo;
    const period = beats.period(seconds) / tempo;
    const now = this.graph.context.currentTime;
    for (let back = beats.bar; back > 0; back--) {
      const time = first - back * period;
      if (time > now && time < start - 1e-3) this.play(time, back === beats.bar);
    }
    this.until = start - 1e-3;
  }
}
