/**
 * What a page does to an index in one life, as plain data that follows from a seed: so Node knows every state
 * that may be found after its death.
 */
import { Random } from '../../random.ts';

/** Versions of the items by id. */
export type State = Readonly<Record<string, number>>;
/** One commit: ids with the version that is put, or undefined where the item is removed. */
export type Operation = Readonly<Record<string, number | null>>;

/** Endless. The same for the same life and the same state at its begin. */
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
 * How many operations of a life lead from `begin` to a state that `isIt`, at least `acknowledged`; undefined
 * if none does.
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
    if (count > acknowledged + 50) return undefined; // what was not acknowledged is little
    applyTo(state, operation);
    count += 1;
  }
  return undefined;
}

export function isSame(found: State): (state: State) => boolean {
  const text = textOf(found);
  return (state) => textOf(state) === text;
}

/** Nothing that is not in it, and no other version. */
export const isPart =
  (found: State) =>
  (state: State): boolean =>
    Object.entries(found).every(([id, version]) => state[id] === version);

const textOf = (state: State): string =>
  JSON.stringify(Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1)));
