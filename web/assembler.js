// A small assembler for WebAssembly: what `kernels.js` is written in. Every operation is a list of bytes.

const TYPES = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };
const FUNCTION = 0x60;
const BLOCK_OF_NOTHING = 0x40;

function unsigned(value) {
  const bytes = [];
  do {
    bytes.push((value & 127) | (value > 127 ? 128 : 0));
    value >>>= 7;
  } while (value);
  return bytes;
}

function signed(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; ) {
    const low = Number(rest & 127n);
    rest >>= 7n;
    const done = (rest === 0n && low < 64) || (rest === -1n && low >= 64);
    bytes.push(done ? low : low | 128);
    if (done) return bytes;
  }
}

/** Returns an operation that takes its operands from the stack, which are given as operations. */
const plain = (code) => (...operands) => [...operands.flat(), ...code];
const vector = (number) => plain([0xfd, ...unsigned(number)]);
const access = (number) => (address, offset = 0) => [...address, 0xfd, ...unsigned(number), 0, ...unsigned(offset)];
const loads = (code) => (address, offset = 0) => [...address, code, 0, ...unsigned(offset)];
const stores = (code) => (address, value, offset = 0) => [...address, ...value, code, 0, ...unsigned(offset)];

export const i32 = {
  constant: (value) => [0x41, ...signed(value)],
  add: plain([0x6a]),
  multiply: plain([0x6c]),
  shiftLeft: plain([0x74]),
  isLess: plain([0x48]),
  load: loads(0x28),
  store: stores(0x36),
  lower: plain([0xa7]), // half of an i64
};

/** Numbers of 64 bits without a sign; comparisons give an i32. */
export const i64 = {
  constant: (value) => [0x42, ...signed(BigInt.asIntN(64, BigInt(value)))],
  add: plain([0x7c]),
  subtract: plain([0x7d]),
  multiply: plain([0x7e]),
  divide: plain([0x80]),
  and: plain([0x83]),
  or: plain([0x84]),
  xor: plain([0x85]),
  shiftLeft: plain([0x86]),
  shiftRight: plain([0x88]),
  isLess: plain([0x54]),
  load: loads(0x29),
  load16: loads(0x33),
  load32: loads(0x35),
  store: stores(0x37),
  of: plain([0xad]), // an i32
};

/** Returns one of two values, by a condition. */
export const select = (condition, value, other) => [...value, ...other, ...condition, 0x1b];

/** Returns operations that are done if a condition is true, and others that are done if not. */
export const when = (condition, then, otherwise) => {
  return [...condition, 0x04, BLOCK_OF_NOTHING, ...then.flat(), 0x05, ...otherwise.flat(), 0x0b];
};

export const load = access(0x00);
export const store = (address, value, offset = 0) => [...address, ...value, 0xfd, 0x0b, 0, ...unsigned(offset)];
export const zero = [0xfd, 0x0c, ...new Array(16).fill(0)];

/** Vectors of floats: of four of 32 bits, or of two of 64. nearest rounds halves to even; multiplyAdd may round once or twice. */
export const f32 = {
  name: "f32",
  bytes: 4,
  repeated: access(0x09),
  splat: vector(0x13),
  nearest: vector(0x6a),
  add: vector(0xe4),
  multiply: vector(0xe6),
  min: vector(0xe8),
  max: vector(0xe9),
  multiplyAdd: vector(0x105),
};
export const f64 = {
  name: "f64",
  bytes: 8,
  repeated: access(0x0a),
  splat: vector(0x14),
  nearest: vector(0x94),
  add: vector(0xf0),
  multiply: vector(0xf2),
  min: vector(0xf4),
  max: vector(0xf5),
  multiplyAdd: vector(0x107),
};

/** A function of a module: its parameters and local variables, and the bytes of its body. */
export class Body {
  constructor(...types) {
    this.types = types;
    this.numParameters = types.length;
    this.parameters = types.map((_, index) => variable(index));
  }

  /** Returns a new local variable. */
  local(type) {
    this.types.push(type);
    return variable(this.types.length - 1);
  }

  /** Returns a loop: counter = 0; do body, counter += step while counter < end. So it is done once at least. */
  repeat(end, step, body) {
    const counter = this.local("i32");
    const again = [...counter.add(i32.constant(step)), ...i32.isLess(counter.get, end), 0x0d, 0];
    return [...counter.set(i32.constant(0)), 0x03, BLOCK_OF_NOTHING, ...body.flat(), ...again, 0x0b];
  }

  /** Returns the bytes of the function's type. */
  get type() {
    return [FUNCTION, ...counted(this.types.slice(0, this.numParameters).map((type) => [TYPES[type]])), 0];
  }

  /** Returns the bytes of the function, given its operations. */
  of(operations) {
    const locals = this.types.slice(this.numParameters).map((type) => [1, TYPES[type]]);
    return { type: this.type, code: sized([...counted(locals), ...operations.flat(), 0x0b]) };
  }
}

function variable(index) {
  const number = unsigned(index);
  const get = [0x20, ...number];
  const set = (value) => [...value, 0x21, ...number];
  return { get, set, add: (value) => set(i32.add(get, value)) };
}

const counted = (items) => [...unsigned(items.length), ...items.flat()];
const sized = (bytes) => [...unsigned(bytes.length), ...bytes];
const section = (id, bytes) => [id, ...sized(bytes)];
const text = (string) => sized([...new TextEncoder().encode(string)]);

/** Returns the bytes of a module that takes its memory from outside and exports these functions, name -> {type, code}. */
export function assemble(functions, isShared, mostPages) {
  const found = Object.values(functions);
  const limits = isShared ? [3, 1, ...unsigned(mostPages)] : [1, 1, ...unsigned(mostPages)];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, counted(found.map(({ type }) => type))),
    ...section(2, counted([[...text("from"), ...text("memory"), 2, ...limits]])),
    ...section(3, counted(found.map((_, index) => unsigned(index)))),
    ...section(7, counted(Object.keys(functions).map((name, index) => [...text(name), 0, ...unsigned(index)]))),
    ...section(10, counted(found.map(({ code }) => code))),
  ]);
}
