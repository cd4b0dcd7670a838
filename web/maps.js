// Maps: for each cell of a grid, numbers for some channels. Rows, then columns, then channels, in a Float32Array.

/** A map. data: Float32Array of rows * columns * channels. */
export class CellMap {
  constructor(rows, columns, channels, data = new Float32Array(rows * columns * channels)) {
    Object.assign(this, { rows, columns, channels, data });
  }

  get cells() {
    return this.rows * this.columns;
  }

  /** Returns a map of zeros with the same channels. */
  empty(rows, columns) {
    return new CellMap(rows, columns, this.channels);
  }

  /** Returns a copy of the cells in a rectangle of them. */
  cut({ top, left, bottom, right }) {
    if (top === 0 && left === 0 && bottom === this.rows && right === this.columns) return this;
    const part = this.empty(bottom - top, right - left);
    part.paste(this, -top, -left);
    return part;
  }

  /** Copies from another map, whose corner is to lie at a row and a column of this one, what fits into this one. */
  paste(other, row, column) {
    const [first, last] = [Math.max(0, row), Math.min(this.rows, row + other.rows)];
    const [left, right] = [Math.max(0, column), Math.min(this.columns, column + other.columns)];
    for (let y = first; y < last; y++) {
      const from = ((y - row) * other.columns + left - column) * this.channels;
      this.data.set(other.data.subarray(from, from + (right - left) * this.channels), (y * this.columns + left) * this.channels);
    }
  }

  /** Returns a map of `size` times the rows and columns: the channels of a cell are those of its children, row by row. */
  children(size) {
    const channels = this.channels / (size * size);
    const out = new CellMap(this.rows * size, this.columns * size, channels);
    const length = size * channels; // of a row of children, which lie side by side
    for (let cell = 0, from = 0; cell < this.cells; cell++) {
      const [row, column] = [Math.floor(cell / this.columns), cell % this.columns];
      for (let y = 0; y < size; y++, from += length) {
        const to = ((row * size + y) * out.columns + column * size) * channels;
        out.data.set(this.data.subarray(from, from + length), to);
      }
    }
    return out;
  }

  /** Returns the inverse: a cell has the channels of `size` times `size` cells of this map, row by row. */
  parents(size) {
    const out = new CellMap(this.rows / size, this.columns / size, this.channels * size * size);
    const length = size * this.channels;
    for (let cell = 0, to = 0; cell < out.cells; cell++) {
      const [row, column] = [Math.floor(cell / out.columns), cell % out.columns];
      for (let y = 0; y < size; y++, to += length) {
        const from = ((row * size + y) * this.columns + column * size) * this.channels;
        out.data.set(this.data.subarray(from, from + length), to);
      }
    }
    return out;
  }
}

/** Returns a map with the channels of several. */
export function sideBySide(maps) {
  const channels = maps.reduce((sum, map) => sum + map.channels, 0);
  const out = new CellMap(maps[0].rows, maps[0].columns, channels);
  let first = 0;
  for (const { data, channels: count } of maps) {
    for (let cell = 0; cell < out.cells; cell++) {
      for (let c = 0; c < count; c++) out.data[cell * channels + first + c] = data[cell * count + c];
    }
    first += count;
  }
  return out;
}
