/**
 * `VectorTable`: the encoded vectors of an index in memory, one vector per row. The GPU holds a copy of the
 * table (`gpuRows.ts`).
 */
import { decodeInto, encodedBytes, f16Numbers } from './codec.js';
import type { VectorStorage } from './journal.js';

/** Size in bytes of a block of rows. Memory grows by whole blocks, so growing copies no rows. */
const BLOCK_BYTES = 1 << 20;

interface Block {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The vector components of all rows in the block, row after row. A view of `bytes`. */
  readonly numbers: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Int8Array<ArrayBuffer>;
  /** Scale of each row; undefined unless the storage is int8. */
  readonly scales: Float32Array<ArrayBuffer> | undefined;
}

/** A table of vectors without empty rows: when a row is removed, the last row moves into its place. */
export class VectorTable {
  readonly dim: number;
  readonly storage: VectorStorage;
  readonly rowsPerBlock: number;
  readonly #blocks: Block[] = [];
  #count = 0;
  #moves = 0;
  #largestNorm = 0;
  /**
   * Numbers of the rows that existed at the last call of `takeChanged` and have been written since. If a row
   * was removed since and then appended anew, its number is listed too.
   */
  readonly #changed = new Set<number>();
  /** Number of rows at the last call of `takeChanged`. */
  #countAtTake = 0;

  constructor(dim: number, storage: VectorStorage) {
    this.dim = dim;
    this.storage = storage;
    this.rowsPerBlock = Math.max(1, Math.floor(BLOCK_BYTES / encodedBytes(dim, storage)));
  }

  get count(): number {
    return this.#count;
  }

  /**
   * Counter that increases when an existing row gets a different vector: by a replacement, or because a row
   * was removed. If the counter increased during a computation, the computation may have used a mixture of
   * old and new vectors, and must start over.
   */
  get moves(): number {
    return this.#moves;
  }

  /** Upper bound of the lengths of all vectors. Removing rows does not lower it. */
  get largestNorm(): number {
    return this.#largestNorm;
  }

  /** Adds a vector as the last row, and returns the number of the row. */
  append(encoded: Uint8Array<ArrayBuffer>): number {
    const row = this.#count;
    if (row % this.rowsPerBlock === 0 && row / this.rowsPerBlock === this.#blocks.length)
      this.#blocks.push(this.#newBlock());
    this.#count += 1;
    this.#write(row, encoded);
    if (row < this.#countAtTake) this.#changed.add(row);
    return row;
  }

  replace(row: number, encoded: Uint8Array<ArrayBuffer>): void {
    this.#moves += 1;
    this.#write(row, encoded);
    this.#changed.add(row);
  }

  /** Removes a row. The last row moves into its place. */
  remove(row: number): void {
    this.#moves += 1;
    const last = this.#count - 1;
    if (row !== last) {
      this.#write(row, this.encoded(last));
      this.#changed.add(row);
    }
    this.#changed.delete(last);
    this.#count = last;
    if (last % this.rowsPerBlock === 0) this.#blocks.length = last / this.rowsPerBlock;
  }

  /** Returns the numbers of the rows that existed at the last call and have been written since. */
  takeChanged(): number[] {
    const rows = [...this.#changed];
    this.#changed.clear();
    this.#countAtTake = this.#count;
    return rows;
  }

  /** Returns a copy of the encoded vector in a row. */
  encoded(row: number): Uint8Array<ArrayBuffer> {
    const { bytes, numbers, scales } = this.#blocks[Math.floor(row / this.rowsPerBlock)]!;
    const at = row % this.rowsPerBlock;
    const length = this.dim * numbers.BYTES_PER_ELEMENT;
    const numberBytes = bytes.subarray(at * length, (at + 1) * length);
    if (!scales) return numberBytes.slice();
    const encoded = new Uint8Array(length + 4);
    encoded.set(numberBytes);
    encoded.set(new Uint8Array(scales.buffer, 4 * at, 4), length);
    return encoded;
  }

  /** Decodes the vector in a row, and writes its numbers to `out`. */
  decode(
    row: number,
    out: Float32Array<ArrayBuffer> = new Float32Array(this.dim),
  ): Float32Array<ArrayBuffer> {
    const { numbers, scales } = this.#blocks[Math.floor(row / this.rowsPerBlock)]!;
    const at = row % this.rowsPerBlock;
    const begin = at * this.dim;
    if (numbers instanceof Float32Array) {
      out.set(numbers.subarray(begin, begin + this.dim));
    } else if (numbers instanceof Uint16Array) {
      const values = f16Numbers();
      for (let i = 0; i < this.dim; i++) out[i] = values[numbers[begin + i]!]!;
    } else {
      const scale = scales![at]!;
      for (let i = 0; i < this.dim; i++) out[i] = numbers[begin + i]! * scale;
    }
    return out;
  }

  /**
   * Returns the stored numbers of a row without copying them: the row begins at index `begin` of `numbers`.
   * `scale` is the row's scale for int8, and 1 for other number formats.
   */
  view(row: number): { numbers: Block['numbers']; begin: number; scale: number } {
    const { numbers, scales } = this.#blocks[Math.floor(row / this.rowsPerBlock)]!;
    const at = row % this.rowsPerBlock;
    return { numbers, begin: at * this.dim, scale: scales ? scales[at]! : 1 };
  }

  /**
   * Returns the score of one row: the dot product of its vector and `query`, summed in float64 in the order
   * of the dimensions.
   */
  score(query: Float64Array, row: number): number {
    const { numbers, scales } = this.#blocks[Math.floor(row / this.rowsPerBlock)]!;
    const at = row % this.rowsPerBlock;
    const begin = at * this.dim;
    let sum = 0;
    if (numbers instanceof Float32Array) {
      for (let i = 0; i < this.dim; i++) sum += query[i]! * numbers[begin + i]!;
    } else if (numbers instanceof Uint16Array) {
      const values = f16Numbers();
      for (let i = 0; i < this.dim; i++) sum += query[i]! * values[numbers[begin + i]!]!;
    } else {
      const scale = scales![at]!;
      for (let i = 0; i < this.dim; i++) sum += query[i]! * Math.fround(numbers[begin + i]! * scale);
    }
    return sum;
  }

  /**
   * Computes the scores of rows `begin` … `end - 1`, and writes them to `out`, from index 0. Each score
   * equals the result of `score`. Four rows are computed at once, because with a single sum every addition
   * would wait for the previous addition, which is half as fast.
   */
  scores(query: Float64Array, begin: number, end: number, out: Float64Array): void {
    const { dim, rowsPerBlock } = this;
    let row = begin;
    while (row < end) {
      const block = this.#blocks[Math.floor(row / rowsPerBlock)]!;
      const first = row % rowsPerBlock;
      const count = Math.min(end - row, rowsPerBlock - first);
      const to = row - begin;
      let done = 0;
      for (; done + 4 <= count; done += 4) scoreFour(query, block, first + done, dim, out, to + done);
      for (; done < count; done++) out[to + done] = this.score(query, row + done);
      row += count;
    }
  }

  #newBlock(): Block {
    const { dim, storage, rowsPerBlock } = this;
    if (storage === 'f32') {
      const numbers = new Float32Array(rowsPerBlock * dim);
      return { bytes: new Uint8Array(numbers.buffer), numbers, scales: undefined };
    }
    if (storage === 'f16') {
      const numbers = new Uint16Array(rowsPerBlock * dim);
      return { bytes: new Uint8Array(numbers.buffer), numbers, scales: undefined };
    }
    const numbers = new Int8Array(rowsPerBlock * dim);
    return { bytes: new Uint8Array(numbers.buffer), numbers, scales: new Float32Array(rowsPerBlock) };
  }

  #write(row: number, encoded: Uint8Array<ArrayBuffer>): void {
    const { bytes, numbers, scales } = this.#blocks[Math.floor(row / this.rowsPerBlock)]!;
    const at = row % this.rowsPerBlock;
    const length = this.dim * numbers.BYTES_PER_ELEMENT;
    bytes.set(encoded.subarray(0, length), at * length);
    if (scales) scales[at] = new DataView(encoded.buffer, encoded.byteOffset + length, 4).getFloat32(0, true);
    const values = new Float32Array(this.dim);
    decodeInto(encoded, 0, this.storage, values);
    let squares = 0;
    for (let i = 0; i < values.length; i++) squares += values[i]! ** 2;
    this.#largestNorm = Math.max(this.#largestNorm, Math.sqrt(squares));
  }
}

function scoreFour(
  query: Float64Array,
  { numbers, scales }: Block,
  row: number,
  dim: number,
  out: Float64Array,
  to: number,
): void {
  let [a, b, c, d] = [0, 0, 0, 0];
  const at = row * dim;
  const at1 = at + dim;
  const at2 = at1 + dim;
  const at3 = at2 + dim;
  if (numbers instanceof Float32Array) {
    for (let i = 0; i < dim; i++) {
      const x = query[i]!;
      a += x * numbers[at + i]!;
      b += x * numbers[at1 + i]!;
      c += x * numbers[at2 + i]!;
      d += x * numbers[at3 + i]!;
    }
  } else if (numbers instanceof Uint16Array) {
    const values = f16Numbers();
    for (let i = 0; i < dim; i++) {
      const x = query[i]!;
      a += x * values[numbers[at + i]!]!;
      b += x * values[numbers[at1 + i]!]!;
      c += x * values[numbers[at2 + i]!]!;
      d += x * values[numbers[at3 + i]!]!;
    }
  } else {
    const [r, s, t, u] = [scales![row]!, scales![row + 1]!, scales![row + 2]!, scales![row + 3]!];
    for (let i = 0; i < dim; i++) {
      const x = query[i]!;
      a += x * Math.fround(numbers[at + i]! * r);
      b += x * Math.fround(numbers[at1 + i]! * s);
      c += x * Math.fround(numbers[at2 + i]! * t);
      d += x * Math.fround(numbers[at3 + i]! * u);
    }
  }
  out[to] = a;
  out[to + 1] = b;
  out[to + 2] = c;
  out[to + 3] = d;
}
