/** `Groups`: disjoint sets of rows, joined by pairs (union-find). */
export class Groups {
  readonly #parent: Uint32Array<ArrayBuffer>;
  #joins = 0;

  constructor(count: number) {
    this.#parent = Uint32Array.from({ length: count }, (_, row) => row);
  }

  /** The representative of a row's group: the lowest row of the group. */
  find(row: number): number {
    const parent = this.#parent;
    while (parent[row] !== row) {
      parent[row] = parent[parent[row]!]!;
      row = parent[row]!;
    }
    return row;
  }

  /** Number of joins that merged two groups. */
  get joins(): number {
    return this.#joins;
  }

  /** Merges the groups of two rows. */
  join(a: number, b: number): void {
    const [from, to] = [this.find(a), this.find(b)];
    if (from === to) return;
    this.#parent[Math.max(from, to)] = Math.min(from, to);
    this.#joins += 1;
  }

  /** The representative of each row's group. */
  labels(): Uint32Array<ArrayBuffer> {
    return this.#parent.map((_, row) => this.find(row));
  }

  /** All groups with two or more rows. */
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
