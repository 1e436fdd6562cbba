// What the page remembers of a song in this browser: its mix, loop, zoom, speed and pitch.

const PREFIX = "song:";
const MOST_SONGS = 200;

/** What was remembered of a song, or null. */
export function recall(id) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + id));
  } catch {
    return null; // no storage, or another program's words in it
  }
}

export function remember(id, state) {
  try {
    localStorage.setItem(PREFIX + id, JSON.stringify({ ...state, at: Date.now() }));
    prune();
  } catch { /* a private window, or a full one: it holds for this page only */ }
}

export function forget(id) {
  try { localStorage.removeItem(PREFIX + id); } catch { /* there is none */ }
}

function prune() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  if (keys.length <= MOST_SONGS) return;
  const age = (key) => recall(key.slice(PREFIX.length))?.at ?? 0;
  for (const key of keys.sort((a, b) => age(a) - age(b)).slice(0, keys.length - MOST_SONGS)) localStorage.removeItem(key);
}
