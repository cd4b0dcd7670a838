// The lossless layer of a window: every sample as it was. FORMAT.md, "The lossless layer".

import { Cursor, FormatError, NeedMore } from "./bytes.js";
import { decodeStored } from "./image_file.js";

const STORED = 0; // method of a piece; 1: coded

/** Returns a promise of the exact pixels of a window, four bytes each, from its piece. Throws FormatError. */
export async function exactPixels(decoder, index) {
  const { height, width } = decoder.windows[index];
  const piece = decoder.reader.lossless[index];
  try {
    const cursor = new Cursor(piece);
    const method = cursor.byte("method of the lossless layer", 0, 1);
    if (method === STORED) return await decodeStored(piece.subarray(1), height, width);
  } catch (error) {
    throw error instanceof NeedMore ? new FormatError("the lossless layer ends too early") : error;
  }
  throw new FormatError("this viewer does not decode the coded lossless layer; it shows the last level");
}
