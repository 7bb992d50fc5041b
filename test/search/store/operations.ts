/**
 * The operations of a page on an index, generated from a seed as plain data. Node can therefore compute every
 * state that may be found after a kill.
 */
import { Random } from '../../random.ts';

/** Versions of the items, by id. */
export type State = Readonly<Record<string, number>>;
/** One commit: ids with the version to put, or null to remove the item. */
export type Operation = Readonly<Record<string, number | null>>;

/** An endless sequence of operations, determined by `life` and the initial state. */
export function* operations(life: number, begin: State): Generator<Operation> {
  const random = new Random(life);
  const state: Record<string, number> = { ...begin };
  for (let n = 0; ; n++) {
    const ids = Object.keys(state).sort();
    const operation: Record<string, number | null> = {};
    const kind = random.integer(0, 9);
    if (kind < 3 || ids.length < 20) operation[`life ${life}, ${n}`] = 0;
    else if (kind < 6) for (let k = 0; k < 20; k++) operation[`life ${life}, ${n}, ${k}`] = 0;
    else if (kind < 8)
      for (let k = 0; k < 3; k++) {
        const id = random.pick(ids);
        operation[id] = state[id]! + 1;
      }
    else for (let k = 0; k < (ids.length > 400 ? 60 : 15); k++) operation[random.pick(ids)] = null;
    yield operation;
    applyTo(state, operation);
  }
}

export function applyTo(state: Record<string, number>, operation: Operation): void {
  for (const [id, version] of Object.entries(operation)) {
    if (version === null) delete state[id];
    else state[id] = version;
  }
}

/**
 * The number of operations of a life, at least `acknowledged`, that lead from `begin` to a state for which
 * `isIt` is true; undefined if there is none.
 */
export function operationsUntil(
  life: number,
  begin: State,
  acknowledged: number,
  isIt: (state: State) => boolean,
): number | undefined {
  const state: Record<string, number> = { ...begin };
  let count = 0;
  for (const operation of operations(life, begin)) {
    if (count >= acknowledged && isIt(state)) return count;
    if (count > acknowledged + 50) return undefined; // only a few commits can be unacknowledged
    applyTo(state, operation);
    count += 1;
  }
  return undefined;
}

export function isSame(found: State): (state: State) => boolean {
  const text = textOf(found);
  return (state) => textOf(state) === text;
}

/** Matches states that contain every found item in the same version. */
export const isPart =
  (found: State) =>
  (state: State): boolean =>
    Object.entries(found).every(([id, version]) => state[id] === version);

const textOf = (state: State): string =>
  JSON.stringify(Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1)));
