// The state of each song's page kept in this browser: mix, loop, zoom, speed and pitch.

import { storage } from "./page.js";

const PREFIX = "song:";
const MAX_SONGS = 200;

/** The saved state of a song, or null. */
export function recall(id) {
  try {
    return JSON.parse(storage.get(PREFIX + id));
  } catch {
    return null; // another program's text
  }
}

export function remember(id, state) {
  storage.set(PREFIX + id, JSON.stringify({ ...state, at: Date.now() }));
  const ids = storage.keys().filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length));
  if (ids.length <= MAX_SONGS) return;
  const savedAt = (song) => recall(song)?.at ?? 0;
  for (const song of ids.sort((a, b) => savedAt(a) - savedAt(b)).slice(0, ids.length - MAX_SONGS)) storage.remove(PREFIX + song);
}
