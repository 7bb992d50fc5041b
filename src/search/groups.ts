/** Groups of rows that are joined by pairs (union-find). */
export class Groups {
  readonly #parent: Uint32Array<ArrayBuffer>;
  #joins = 0;

  constructor(count: number) {
    this.#parent = Uint32Array.from({ length: count }, (_, row) => row);
  }

  /** The row that stands for a row's group. */
  find(row: number): number {
    const parent = this.#parent;
    while (parent[row] !== row) {
      parent[row] = parent[parent[row]!]!;
      row = parent[row]!;
    }
    return row;
  }

  /** How often two groups have become one. */
  get joins(): number {
    return this.#joins;
  }

  join(a: number, b: number): void {
    const [from, to] = [this.find(a), this.find(b)];
    if (from === to) return;
    this.#parent[Math.max(from, to)] = Math.min(from, to);
    this.#joins += 1;
  }

  /** For each row the row that stands for its group. */
  labels(): Uint32Array<ArrayBuffer> {
    return this.#parent.map((_, row) => this.find(row));
  }

  /** Groups of two rows and more. */
  rows(): number[][] {
    const groups = new Map<number, number[]>();
    for (let row = 0; row < this.#parent.length; row++) {
      const group = groups.get(this.find(row));
      if (group) group.push(row);
      else groups.set(this.find(row), [row]);
    }
    return [...groups.values()].filter(({ length }) => length > 1);
  }
}
