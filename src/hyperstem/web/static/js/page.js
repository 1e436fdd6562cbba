// Small helpers for elements, events, colours and the browser's storage.

export const $ = (id) => document.getElementById(id);

export class Emitter extends EventTarget {
  emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
  on(name, handler) { this.addEventListener(name, (event) => handler(event.detail)); }
}

export function create(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Sets the text only if it changes: screen readers announce every change. */
export function setText(element, text) { if (element.textContent !== text) element.textContent = text; }

export function setPressed(button, pressed) { button.setAttribute("aria-pressed", String(pressed)); }

/** Gives a link its address, or disables it. */
export function setLink(link, address) {
  link.setAttribute("aria-disabled", String(!address));
  if (address) link.href = address; else link.removeAttribute("href");
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Red, green and blue, 0 to 255, of any CSS colour. */
export function rgb(color) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data.slice(0, 3);
}

/** Text kept in this browser; in a private window, or one whose storage is full, nothing is kept. */
export const storage = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, text) { try { localStorage.setItem(key, text); } catch { /* not kept */ } },
  remove(key) { try { localStorage.removeItem(key); } catch { /* not kept */ } },
  keys() { try { return Object.keys(localStorage); } catch { return []; } },
};
