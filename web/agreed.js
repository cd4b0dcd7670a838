// The agreed path: states, prior means and scale indices, on integers alone. FORMAT.md, "The agreed path".

import { STATE_LIMIT } from "./integers.js";
import { CellMap } from "./maps.js";

const MEAN_LIMIT = 2 ** 18;
const MEAN_STEPS = 256; // of a prior mean, in a quantization step
const NUM_SCALES = 80;

/** The agreed path of a model. integers: those of its weights file; config: what shapes it. */
export class Agreed {
  constructor(integers, config) {
    Object.assign(this, { integers, config });
    const pairs = config.levels.flatMap((latents, level) => latents.map(([stride, channels]) => [level + 1, stride, channels]));
    this.latents = pairs.map(([level, stride, channels], index) => ({ index, level, stride, channels }));
  }

  /** Returns the state that every picture of that size begins with. */
  begin(height, width) {
    const { data } = this.integers.tensor("start");
    const state = new CellMap(Math.ceil(height / 64), Math.ceil(width / 64), data.length);
    for (let cell = 0; cell < state.cells; cell++) state.data.set(data, cell * data.length);
    return { state, stride: 64, height, width, index: 0 };
  }

  /** Returns the position with its state brought to a finer stride. */
  atStride(position, stride) {
    let { state, stride: reached } = position;
    while (reached > stride) {
      reached /= 2;
      const found = this.integers.wide(`up.${reached}`, state).children(2);
      const [bottom, right] = [Math.ceil(position.height / reached), Math.ceil(position.width / reached)];
      state = found.cut({ top: 0, left: 0, bottom, right });
    }
    return { ...position, state, stride: reached };
  }

  /** Returns the refined state, and prior mean (Float32Array) and scale index (Uint8Array) of every symbol of a latent. */
  prior({ index, stride, channels }, state) {
    for (let j = 0; j < this.config.refine_blocks[stride]; j++) {
      ({ state } = this.integers.block(`latents.${index}.refine.${j}`, state));
    }
    const found = this.integers.block(`latents.${index}.block`, state, true);
    const mean = new Float32Array(state.cells * channels);
    const scale = new Uint8Array(state.cells * channels);
    for (let cell = 0; cell < state.cells; cell++) {
      for (let c = 0; c < channels; c++) {
        const from = 2 * cell * channels + c;
        mean[cell * channels + c] = Math.min(Math.max(found.heads[from], -MEAN_LIMIT), MEAN_LIMIT);
        scale[cell * channels + c] = Math.min(Math.max(found.heads[from + channels], 0), NUM_SCALES - 1);
      }
    }
    return { state: found.state, mean, scale };
  }

  /** Returns the state with a latent added; symbols: a number for each mean. */
  advance({ index, channels }, state, mean, symbols) {
    const latent = new CellMap(state.rows, state.columns, channels, mean.map((value, i) => value + MEAN_STEPS * symbols[i]));
    const added = this.integers.wide(`latents.${index}.project`, latent).data;
    const data = state.data.map((value, i) => Math.min(Math.max(value + added[i], -STATE_LIMIT), STATE_LIMIT));
    return new CellMap(state.rows, state.columns, state.channels, data);
  }
}
