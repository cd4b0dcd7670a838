// Rectangles of a picture in pixels, and the windows that it is coded in. FORMAT.md, "Windows".

const EDGE = 1024; // longest edge of a window
const STEP = 64; // windows begin at multiples of it

/** A part of a picture: rows top to bottom, columns left to right, the ends excluded. */
export class Rectangle {
  constructor(top, left, bottom, right) {
    Object.assign(this, { top, left, bottom, right });
  }

  get height() {
    return this.bottom - this.top;
  }

  get width() {
    return this.right - this.left;
  }

  get isEmpty() {
    return this.height <= 0 || this.width <= 0;
  }

  /** Returns whether another one lies in it. */
  holds(other) {
    return this.top <= other.top && this.left <= other.left && this.bottom >= other.bottom && this.right >= other.right;
  }

  /** Returns it with a margin on all sides, within a picture of that size. */
  grown(margin, height, width) {
    const top = Math.max(this.top - margin, 0);
    const left = Math.max(this.left - margin, 0);
    return new Rectangle(top, left, Math.min(this.bottom + margin, height), Math.min(this.right + margin, width));
  }

  /** Returns what lies in both; it may be empty. */
  shared(other) {
    const [top, left] = [Math.max(this.top, other.top), Math.max(this.left, other.left)];
    return new Rectangle(top, left, Math.min(this.bottom, other.bottom), Math.min(this.right, other.right));
  }

  /** Returns the same place as seen from the upper left corner of another one. */
  within(other) {
    const { top, left } = other;
    return new Rectangle(this.top - top, this.left - left, this.bottom - top, this.right - left);
  }

  /** Returns it with its edges moved outward to those of cells of a stride. */
  onCells(stride) {
    const [out, down] = [(edge) => Math.ceil(edge / stride) * stride, (edge) => Math.floor(edge / stride) * stride];
    return new Rectangle(down(this.top), down(this.left), out(this.bottom), out(this.right));
  }

  /** Returns the cells of a stride that it has pixels in, as a rectangle of a map; its corner lies on a cell's. */
  cells(stride) {
    const edges = [this.top, this.left, this.bottom, this.right];
    return new Rectangle(...edges.map((edge) => Math.ceil(edge / stride)));
  }
}

/** Returns how many windows a picture has. */
export function countWindows(height, width) {
  return Math.ceil(height / EDGE) * Math.ceil(width / EDGE);
}

/** Returns the windows of a picture in coding order, row by row. */
export function windows(height, width) {
  const rows = parts(height);
  const columns = parts(width);
  return rows.flatMap(([top, bottom]) => columns.map(([left, right]) => new Rectangle(top, left, bottom, right)));
}

function parts(edge) {
  const length = Math.ceil(edge / (STEP * Math.ceil(edge / EDGE))) * STEP;
  const found = [];
  for (let start = 0; start < edge; start += length) found.push([start, Math.min(start + length, edge)]);
  return found;
}
