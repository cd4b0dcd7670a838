// How far what is shown is from what it was made of.

/** Returns the PSNR of two canvases of one size in dB, as text to add; nothing where a picture is not opaque. */
export function decibels(canvas, other) {
  const [a, b] = [canvas, other].map((one) => one.getContext("2d").getImageData(0, 0, one.width, one.height).data);
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    if (i % 4 === 3 && a[i] !== 255) return "";
    sum += (a[i] - b[i]) ** 2;
  }
  const mse = sum / ((3 * a.length) / 4);
  return mse ? `, ${(10 * Math.log10(255 ** 2 / mse)).toFixed(2)} dB` : ", no difference";
}

/** Returns a promise of a canvas with the picture at an address, its colors as they are; null if there is none. */
export async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) return null;
  const bitmap = await createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  return canvas;
}
