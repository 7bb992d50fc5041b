/** `Groups`: disjoint sets of rows (union-find). Each call of `join` merges the sets of two rows. */
export class Groups {
  readonly #parent: Uint32Array<ArrayBuffer>;
  #joins = 0;

  constructor(count: number) {
    this.#parent = Uint32Array.from({ length: count }, (_, row) => row);
  }

  /** Returns the representative of a row's group, which is the lowest row number in the group. */
  find(row: number): number {
    const parent = this.#parent;
    while (parent[row] !== row) {
      parent[row] = parent[parent[row]!]!;
      row = parent[row]!;
    }
    return row;
  }

  /** Number of calls of `join` that merged two groups. */
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

  /** Returns, for each row, the representative of its group. */
  labels(): Uint32Array<ArrayBuffer> {
    return this.#parent.map((_, row) => this.find(row));
  }

  /** Returns all groups that have two or more rows. */
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
