// Names of notes, chords and keys.

const NAMES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];

/** A chord or key transposed by some semitones: ("F#m", 2) -> "Abm", ("A minor", -2) -> "G minor". */
export function transposed(name, semitones) {
  const [, root, rest] = /^([A-G][#b]?)(.*)$/.exec(name) ?? [null, null, null];
  const number = NAMES.indexOf(root);
  return number < 0 ? name : NAMES[(((number + semitones) % 12) + 12) % 12] + rest;
}

/** With typographic accidentals: "Ebm" -> "E♭m". */
export function pretty(name) { return name.replace("#", "♯").replace(/^([A-G])b/, "$1♭"); }

/** -3 -> "−3 semitones". */
export function semitones(count) {
  const sign = count > 0 ? "+" : count < 0 ? "−" : "";
  return `${sign}${Math.abs(count)} semitone${Math.abs(count) === 1 ? "" : "s"}`;
}
