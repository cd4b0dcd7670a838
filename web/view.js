// A picture on a canvas that is zoomed and moved, alone or together with others that have the same camera.

const MOST_SCALE = 32; // screen pixels for one of the picture
const WHEEL_STEP = 1.0015;
const CHECK = 8; // screen pixels of a square behind what is transparent

/** What part of a picture all views show. scale: screen pixels for one of the picture; x, y: what lies in the middle. */
export class Camera {
  constructor() {
    Object.assign(this, { width: 1, height: 1, scale: 0, x: 0, y: 0, views: [], changed: () => {} });
  }

  /** Takes a picture of that size and shows all of it. */
  open(width, height) {
    Object.assign(this, { width, height });
    this.fit();
  }

  /** Shows the whole picture. */
  fit() {
    Object.assign(this, { scale: this.fitting(), x: this.width / 2, y: this.height / 2 });
    this.draw();
  }

  /** Returns the scale at which all of the picture is seen, of its own size at most. */
  fitting() {
    const { width, height } = this.views[0].canvas;
    return Math.min(width / this.width, height / this.height, Math.max(1, devicePixelRatio));
  }

  /** Changes the scale; what lies at a place of the canvas stays there. */
  zoom(factor, atX, atY) {
    const scale = Math.min(Math.max(this.scale * factor, this.fitting()), MOST_SCALE);
    this.x += atX / this.scale - atX / scale;
    this.y += atY / this.scale - atY / scale;
    this.scale = scale;
    this.draw();
  }

  /** Moves the picture by screen pixels. */
  move(right, down) {
    this.x -= right / this.scale;
    this.y -= down / this.scale;
    this.draw();
  }

  /** Returns the part of the picture that is seen, [top, left, bottom, right]; null if that is all of it. */
  region() {
    const { width, height } = this.views[0].canvas;
    const [wide, high] = [width / this.scale / 2, height / this.scale / 2];
    const edges = [this.y - high, this.x - wide, this.y + high, this.x + wide].map(Math.round);
    const [top, left] = [Math.max(edges[0], 0), Math.max(edges[1], 0)];
    const [bottom, right] = [Math.min(edges[2], this.height), Math.min(edges[3], this.width)];
    return bottom - top >= this.height && right - left >= this.width ? null : [top, left, bottom, right];
  }

  /** Draws all views. */
  draw() {
    this.x = Math.min(Math.max(this.x, 0), this.width);
    this.y = Math.min(Math.max(this.y, 0), this.height);
    for (const view of this.views) view.draw();
    this.changed();
  }
}

/** A canvas with a picture. */
export class View {
  constructor(canvas, camera) {
    Object.assign(this, { canvas, camera });
    this.picture = document.createElement("canvas"); // as it was decoded
    this.seen = null; // in other colors, where these are meant otherwise
    this.checks = canvas.getContext("2d").createPattern(checks(), "repeat");
    camera.views.push(this);
    canvas.addEventListener("wheel", (event) => this._zoom(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) camera.move(event.movementX * devicePixelRatio, event.movementY * devicePixelRatio);
    });
    canvas.addEventListener("dblclick", () => camera.fit());
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Begins a picture of that size, of which nothing is known. */
  clear(width, height) {
    Object.assign(this.picture, { width, height }); // which empties it
    this.seen = null;
    this.draw();
  }

  /** Puts pixels (Uint8ClampedArray, four bytes each) in their place; bitmap: what they look like, if that is something else. */
  put(pixels, { top, left, height, width }, bitmap = null) {
    this.picture.getContext("2d").putImageData(new ImageData(pixels, width, height), left, top);
    if (bitmap) this._see(bitmap, left, top);
    this.draw();
  }

  /** Puts a whole picture in place, whose colors are those of a color space. */
  async image(bitmap, colors) {
    const { width, height } = bitmap;
    this.clear(width, height);
    const context = this.picture.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const seen = await colors.bitmap(context.getImageData(0, 0, width, height).data, height, width);
    if (seen) this._see(seen, 0, 0);
    this.draw();
  }

  _see(bitmap, left, top) {
    const { width, height } = this.picture;
    this.seen ??= Object.assign(document.createElement("canvas"), { width, height });
    const context = this.seen.getContext("2d");
    context.clearRect(left, top, bitmap.width, bitmap.height);
    context.drawImage(bitmap, left, top);
    bitmap.close();
  }

  /** Fits the canvas to its place on the screen. */
  resize() {
    const { canvas, camera } = this;
    const whole = camera.scale === 0 || camera.region() === null;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    if (whole) camera.fit();
    else camera.draw();
  }

  draw() {
    const { canvas, camera } = this;
    const picture = this.seen ?? this.picture;
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!picture.width || !camera.scale) return;
    context.imageSmoothingEnabled = camera.scale < 2;
    context.imageSmoothingQuality = "high";
    const { scale, x, y } = camera;
    context.setTransform(scale, 0, 0, scale, canvas.width / 2 - x * scale, canvas.height / 2 - y * scale);
    context.fillStyle = this.checks;
    this.checks.setTransform(new DOMMatrix([1 / scale, 0, 0, 1 / scale, 0, 0]));
    context.fillRect(0, 0, picture.width, picture.height);
    context.drawImage(picture, 0, 0);
  }

  _zoom(event) {
    event.preventDefault();
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const [right, down] = [event.clientX - left - width / 2, event.clientY - top - height / 2];
    this.camera.zoom(WHEEL_STEP ** -event.deltaY, right * devicePixelRatio, down * devicePixelRatio);
  }
}

/** Returns four squares, as a canvas. */
function checks() {
  const squares = document.createElement("canvas");
  Object.assign(squares, { width: 2 * CHECK, height: 2 * CHECK });
  const context = squares.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, 2 * CHECK, 2 * CHECK);
  context.fillStyle = "#ddd";
  context.fillRect(0, 0, CHECK, CHECK);
  context.fillRect(CHECK, CHECK, CHECK, CHECK);
  return squares;
}
