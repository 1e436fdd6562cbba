// Keyboard shortcuts; a focused control keeps the keys that it needs itself.

const NEEDS_SPACE = "button, a, input:not([type=range]), select, textarea, label, summary";
const NEEDS_ARROWS = "input, select, textarea";

/** Key -> [action, selector of the controls that keep the key]; letters in lower case. */
function shortcuts({ shiftKey }, mixer) {
  const { practice } = mixer;
  const step = shiftKey ? 1 : 5;
  return {
    " ": [() => mixer.toggle(), NEEDS_SPACE],
    arrowleft: [() => mixer.seekBy(-step), NEEDS_ARROWS],
    arrowright: [() => mixer.seekBy(step), NEEDS_ARROWS],
    home: [() => mixer.seek(0), NEEDS_ARROWS],
    end: [() => mixer.seek(Infinity), NEEDS_ARROWS],
    a: [() => mixer.listenToOriginal(), "select"],
    l: [() => mixer.toggleLoop(), "select"],
    g: [() => mixer.setSpectrogram(), "select"],
    t: [() => mixer.setTrueLevels(), "select"],
    c: [() => practice.toggleClick(), "select"],
    i: [() => practice.toggleCountIn(), "select"],
    ...(shiftKey && {
      arrowdown: [() => practice.changeSemitones(-1), NEEDS_ARROWS],
      arrowup: [() => practice.changeSemitones(1), NEEDS_ARROWS],
    }),
    "<": [() => practice.changeTempo(-1)],
    ">": [() => practice.changeTempo(1)],
    ",": [() => mixer.changeHeight(-1)],
    ".": [() => mixer.changeHeight(1)],
    "[": [() => mixer.setLoopEdge("start")],
    "]": [() => mixer.setLoopEdge("end")],
    "+": [() => mixer.zoom(2)],
    "=": [() => mixer.zoom(2)],
    "-": [() => mixer.zoom(0.5)],
    0: [() => mixer.zoom(0)],
    "?": [() => document.getElementById("keys").showModal()],
  };
}

export function listen(mixer) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.matches("input:not([type=range]):not([type=file]), textarea")) return;
    const digit = /^Digit([1-9])$/.exec(event.code);
    const [action, keeps] = digit ? [() => mixer.flip(Number(digit[1]), event.shiftKey ? "solo" : "mute")]
      : shortcuts(event, mixer)[event.key.toLowerCase()] ?? [];
    if (!action || (keeps && target.matches(keeps))) return;
    event.preventDefault();
    action();
  });
  // A button clicked with the pointer loses the focus, so that Space plays; one reached by keyboard keeps it.
  addEventListener("click", (event) => {
    if (event.detail && event.target instanceof Element) event.target.closest("#mixer button")?.blur();
  });
}
