// WebP and PNG files inside of a file of ours, which the browser decodes: alpha channels and stored pictures.

import { FormatError } from "./bytes.js";

const PNG_START = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52];
const [PNG_GRAY, PNG_RGB] = [0, 2]; // color types
const MAX_PREVIEW = 1024; // of a side
const FILE = 2; // form of a stored picture: 0 gray samples, 1 RGB samples, 2 a file

/** Returns a promise of the samples of an alpha channel, Uint8Array (height * width). Throws FormatError. */
export async function decodeAlpha(payload, height, width) {
  if (payload.length === 1) return new Uint8Array(height * width).fill(payload[0]);
  const pixels = await decodeFile(payload, height, width, [PNG_GRAY]);
  return Uint8Array.from({ length: height * width }, (_, i) => pixels[4 * i]);
}

/** Returns a promise of a stored picture, the next of a cursor: pixels of four bytes, opaque. Throws FormatError, NeedMore. */
export function decodeStored(cursor, height, width) {
  return decodeForm(cursor.byte("form of a stored picture", 0, FILE), cursor, height, width);
}

/** Returns likewise the rest of a stored picture, whose form is known. */
export function decodeForm(form, cursor, height, width) {
  if (form === FILE) return decodeFile(cursor.take(cursor.varint("length", 1, 2 ** 31)), height, width, [PNG_GRAY, PNG_RGB]);
  return Promise.resolve(opaque(cursor.take((form ? 3 : 1) * height * width), form ? 3 : 1));
}

/** Returns pixels of four bytes from samples of one channel or of three. */
export function opaque(samples, channels) {
  const pixels = new Uint8ClampedArray((4 * samples.length) / channels).fill(255);
  for (let i = 0; i < samples.length / channels; i++) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = samples[i * channels + (c % channels)];
  }
  return pixels;
}

/** Returns a promise of the pixels of a file, four bytes each, as they are: no conversion of colors. */
async function decodeFile(bytes, height, width, colorTypes) {
  const size = sizeOf(bytes, colorTypes);
  if (size?.width !== width || size?.height !== height) throw new FormatError("a stored picture has another size or form");
  return drawn(bytes, height, width, "a stored picture is damaged");
}

/** Returns a promise of the pixels of a preview, a small lossy WebP file, enlarged. Throws FormatError. */
export async function decodePreview(bytes, height, width) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isLossy = bytes.length >= 30 && String.fromCharCode(...bytes.subarray(12, 16)) === "VP8 ";
  const isSmall = isLossy && [26, 28].every((place) => (view.getUint16(place, true) & 0x3fff) <= MAX_PREVIEW);
  if (!isSmall) throw new FormatError("the preview is damaged");
  return drawn(bytes, height, width, "the preview is damaged");
}

/** Returns a promise of the pixels of a file that the browser decodes, as large as is said, four bytes each. */
async function drawn(bytes, height, width, fault) {
  const as = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([bytes]), as).catch(() => {
    throw new FormatError(fault);
  });
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "low"; // which is linear
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height).data;
}

/** Returns width and height as the first bytes tell; null if it is neither of the two forms. */
function sizeOf(bytes, colorTypes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length > 26 && PNG_START.every((byte, i) => bytes[i] === byte)) {
    if (bytes[24] !== 8 || !colorTypes.includes(bytes[25])) return null;
    return { width: view.getUint32(16), height: view.getUint32(20) };
  }
  if (bytes.length > 25 && String.fromCharCode(...bytes.subarray(0, 4), ...bytes.subarray(8, 16)) === "RIFFWEBPVP8L") {
    const sides = view.getUint32(21, true);
    return { width: (sides & 0x3fff) + 1, height: ((sides >>> 14) & 0x3fff) + 1 };
  }
  return null;
}
