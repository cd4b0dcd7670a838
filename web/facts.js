// What is said of what is shown, in words.

import { MODEL } from "./header.js";

/** Returns what is said of the picture: its size, what it was coded with, its colors, and the time that it took. */
export function about({ width, height, model = "" }, { colors, seconds }) {
  const time = seconds < 0.05 ? "" : `decoded here in ${seconds.toFixed(1)} s`;
  const coded = model && (model === MODEL ? "stored as a whole" : `model ${model}`);
  return [`${width}×${height}`, coded, colors, time].filter((part) => part).join(", ");
}

/** Returns how much of the picture is shown. */
export function amount({ width, height, numLevels }, { shown, more, exact, bytes, name, share, isDeep }) {
  const rate = ((8 * bytes) / (width * height)).toFixed(3);
  const level = `level ${shown}${more ? ` and a part of ${shown + 1}` : ""} of ${numLevels}`;
  const whole = () => (exact ? kept(name, isDeep) : begun(name, share));
  const said = name !== undefined ? whole() : exact ? "lossless" : level;
  return `${said}: ${bytes.toLocaleString("en")} bytes, ${rate} bits a pixel`;
}

function kept(name, isDeep) {
  return `lossless, ${name}${isDeep ? ", shown as 8 bits" : ""}`;
}

function begun(name, share) {
  const percent = Math.floor(100 * share);
  return share ? `${percent} % of the pixels${name && `, ${name}`}` : "a preview";
}
