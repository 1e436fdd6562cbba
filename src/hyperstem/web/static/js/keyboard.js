// Keys for everything; a key goes to the control that has the focus where that control needs it.

const NEEDS_SPACE = "button, a, input:not([type=range]), select, textarea, label, summary";
const NEEDS_ARROWS = "input, select, textarea";

export function listen(mixer) {
  const { practice } = mixer;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const at = event.target instanceof Element ? event.target : document.body;
    if (at.matches("input:not([type=range]):not([type=file]), textarea")) return;
    const action = find(event, at, mixer, practice);
    if (!action) return;
    event.preventDefault();
    action();
  });
  // A button clicked with the pointer lets go of the focus, so that Space plays; one reached by keyboard keeps it.
  addEventListener("click", (event) => {
    if (event.detail && event.target instanceof Element) event.target.closest("#mixer button")?.blur();
  });
}

function find(event, at, mixer, practice) {
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (digit) return () => mixer.flip(Number(digit[1]), event.shiftKey ? "solo" : "mute");
  const step = event.shiftKey ? 1 : 5;
  switch (event.key) {
    case " ": return at.matches(NEEDS_SPACE) ? null : () => mixer.toggle();
    case "ArrowLeft": return at.matches(NEEDS_ARROWS) ? null : () => mixer.seekBy(-step);
    case "ArrowRight": return at.matches(NEEDS_ARROWS) ? null : () => mixer.seekBy(step);
    case "Home": return at.matches(NEEDS_ARROWS) ? null : () => mixer.seek(0);
    case "End": return at.matches(NEEDS_ARROWS) ? null : () => mixer.seek(Infinity);
    case "a": case "A": return at.matches("select") ? null : () => mixer.compare();
    case "l": case "L": return at.matches("select") ? null : () => mixer.toggleLoop();
    case "g": case "G": return at.matches("select") ? null : () => mixer.setSpectrogram();
    case "t": case "T": return at.matches("select") ? null : () => mixer.setTrueLevels();
    case "c": case "C": return at.matches("select") ? null : () => practice.toggleClick();
    case "i": case "I": return at.matches("select") ? null : () => practice.toggleCountIn();
    case "<": return () => practice.changeTempo(-1);
    case ">": return () => practice.changeTempo(1);
    case ",": return () => mixer.changeHeight(-1);
    case ".": return () => mixer.changeHeight(1);
    case "ArrowDown": return event.shiftKey && !at.matches(NEEDS_ARROWS) ? () => practice.changeSemitones(-1) : null;
    case "ArrowUp": return event.shiftKey && !at.matches(NEEDS_ARROWS) ? () => practice.changeSemitones(1) : null;
    case "[": return () => mixer.setLoopEdge("start");
    case "]": return () => mixer.setLoopEdge("end");
    case "+": case "=": return () => mixer.zoom(2);
    case "-": return () => mixer.zoom(0.5);
    case "0": return () => mixer.zoom(0);
    case "?": return () => document.getElementById("keys").showModal();
    default: return null;
  }
}
